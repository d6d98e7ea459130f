"""Sums of rows, one number at a time."""


def sum_rows(table, codes, start, stop, base, acc, at, width):
    for code in codes[start:stop]:
        for lane in range(width):
            acc[at + lane] += table[(code + base) * width + lane]
