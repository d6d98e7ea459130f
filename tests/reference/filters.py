"""Event filters, pixel by pixel in dictionaries."""


def refractory(events, period_us):
    last, kept = {}, []
    for t, x, y, _ in events:
        keep = (x, y) not in last or t - last[x, y] > period_us
        if keep:
            last[x, y] = t
        kept.append(keep)
    return kept


def background_activity(events, window_us):
    last, kept = {}, []
    for t, x, y, _ in events:
        around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
        kept.append(any(n in last and t - last[n] <= window_us for n in around))
        last[x, y] = t
    return kept


def admit(times, reorder_us, max_gap_us):
    """(kept per event, indices where a gap starts), judging in arrival order."""
    running, kept, gaps = None, [], []
    for i, t in enumerate(times):
        if running is not None and t - running > max_gap_us:
            gaps.append(i)
        kept.append(running is None or t >= running - reorder_us)
        running = t if running is None else max(running, t)
    return kept, gaps
