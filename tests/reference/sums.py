"""Sums of rows, one number at a time."""


def sum_rows(table, codes, start, stop, base, acc, at, width):
    for code in codes[start:stop]:
        for lane in range(width):
            acc[at + lane] += table[(code + base) * width + lane]


def sum_short(table, codes, n, base, acc, at, width):
    """As :func:`kernels.motifs._sums16.sum_short`."""
    rows = table.reshape(-1, width)
    acc[at : at + width] = sum((rows[int(codes[j]) + base].astype(int) for j in range(n)), start=0)


def decide(on, off, bias, classes, flip):
    """(logits, winner) as :func:`kernels.motifs._sums16.decide` has them."""
    on, off = on.astype(int), off.astype(int)
    logits = []
    for c in range(classes):
        total = on[c] + off[c]
        if flip:
            total = max(on[c] + off[classes + c], off[c] + on[classes + c])
        logits.append(int(bias[c]) + int(total))
    return logits, logits.index(max(logits))
