"""Filtering a tile's entries, one by one."""


def collect(entries, start, stop, now, dx, dy, window, on, off, counts):
    """As :func:`kernels.motifs._windows.collect`; what lies behind the counted places is left as it is."""
    width, height, delays, r2 = window
    n = [counts >> 32, counts & 0xFFFFFFFF]
    for entry in map(int, entries[start:stop]):
        age, polarity = (now - (entry >> 9)) % 128, entry >> 8 & 1
        x, y = (entry & 15) + dx, (entry >> 4 & 15) + dy
        if (
            0 <= x < width
            and 0 <= y < height
            and age < delays
            and (x - width // 2) ** 2 + (y - height // 2) ** 2 <= r2
        ):
            (off, on)[polarity][n[polarity]] = (y * width + x) * delays + age
            n[polarity] += 1
    return n[1] | n[0] << 32
