"""Camera formats, word by word, as their documentation tells."""


def turn(last, low, full, wraps):
    """How a clock's wraps change from one value to the next."""
    if last is None:
        return 0
    if last - low > full // 2:
        return 1
    return -1 if wraps > 0 and low - last > full * 7 // 8 else 0


def evt2(words, t_zero=0):
    """(events, triggers) of 32-bit words; times before the first TIME_HIGH are unknown."""
    events, high, wraps, triggers = [], None, 0, 0
    for word in words:
        kind = word >> 28
        if kind in (0, 1):
            if high is not None:
                t = (wraps * 2**28 + high) * 64 + (word >> 22) % 64
                events.append((t_zero + t, (word >> 11) % 2048, word % 2048, kind == 1))
        elif kind == 8:
            new = word % 2**28
            wraps += turn(high, new, 2**28, wraps)
            high = new
        elif kind == 10:
            triggers += 1
    return events, triggers


def evt21(words, t_zero=0):
    """(events, triggers) of 64-bit words."""
    events, high, wraps, triggers = [], None, 0, 0
    for word in words:
        kind, upper = word >> 60, word >> 32
        if kind in (0, 1):
            if high is not None:
                t = t_zero + (wraps * 2**28 + high) * 64 + (upper >> 22) % 64
                x, y = (upper >> 11) % 2048, upper % 2048
                events += [(t, x + bit, y, kind == 1) for bit in range(32) if word >> bit & 1]
        elif kind == 8:
            new = upper % 2**28
            wraps += turn(high, new, 2**28, wraps)
            high = new
        elif kind == 10:
            triggers += 1
    return events, triggers


def evt3(words, t_zero=0):
    """(events, triggers) of 16-bit words."""
    events, high, low, wraps, triggers = [], None, 0, 0, 0
    row = column = 0
    sign = False
    for word in words:
        kind, value = word >> 12, word % 4096
        t = None if high is None else t_zero + (wraps * 4096 + high) * 4096 + low
        if kind == 0:
            row = value % 2048
        elif kind == 2 and t is not None:
            events.append((t, value % 2048, row, value >= 2048))
        elif kind == 3:
            column, sign = value % 2048, value >= 2048
        elif kind in (4, 5):
            width = 12 if kind == 4 else 8
            if t is not None:
                events += [(t, column + bit, row, sign) for bit in range(width) if value >> bit & 1]
            column = min(column + width, 4096)
        elif kind == 6:
            low = value
        elif kind == 8:
            wraps += turn(high, value, 4096, wraps)
            if high != value:
                low = 0
            high = value
        elif kind == 10:
            triggers += 1
    return events, triggers


def aer40(data):
    """Events of the 40-bit format."""
    events, wraps, before = [], 0, None
    for i in range(0, len(data), 5):
        word = int.from_bytes(data[i : i + 5], "big")
        wraps += turn(before, word & 0x7FFFFF, 2**23, wraps)
        before = word & 0x7FFFFF
        events.append((wraps * 2**23 + before, word >> 32, (word >> 24) & 255, bool(word >> 23 & 1)))
    return events
