"""Groups of tiles that move alike, by the definition: what a chain of joins reaches."""

import math


def groups(column, row, vx, vy, alike):
    n = len(column)

    def joined(a, b):
        near = max(abs(int(column[a]) - int(column[b])), abs(int(row[a]) - int(row[b]))) == 1
        apart = math.hypot(vx[a] - vx[b], vy[a] - vy[b])
        return near and apart <= alike * max(math.hypot(vx[a], vy[a]), math.hypot(vx[b], vy[b]))

    group = [None] * n
    for first in range(n):
        if group[first] is not None:
            continue
        number = max((one for one in group if one is not None), default=-1) + 1
        reached = {first}
        while True:
            more = {b for a in reached for b in range(n) if joined(a, b)} - reached
            if not more:
                break
            reached |= more
        for one in reached:
            group[one] = number
    return group
