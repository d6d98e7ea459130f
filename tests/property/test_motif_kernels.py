import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import _jit
from kernels.motifs import _sums, _sums16, _windows, detection, tile_evidence, tile_lists
from kernels.motifs.history import NO_BIN, new_history
from kernels.motifs.targets import at_events, at_random, on_grid
from kernels.motifs.teams import Team
from tests.property.strategies import cuts, recordings
from tests.reference import motifs as naive
from tests.reference import sums as naive_sums
from tests.reference import windows as naive_windows

SIZE = 16, 12


@st.composite
def banks(draw, classes=(1, 3, 9, 40, 80)):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sides = st.sampled_from([1, 3, 5])
    shape = draw(st.sampled_from(classes)), 2, draw(st.integers(1, 5)), draw(sides), draw(sides)
    weight = rng.integers(-1000, 1000, shape) * (rng.random(shape) < draw(st.sampled_from([0.05, 0.7])))
    return weight.astype(np.float32), rng.integers(-50, 50, shape[0]).astype(np.float32)


def advance_in_cuts(columns, places, bank, bin_us, where, dense=False):
    history, lists = new_history(*SIZE, bank.width, bank.height), detection.new_lists(*SIZE, bank)
    found = []
    for a, b in itertools.pairwise(places):
        part = [np.ascontiguousarray(c[a:b]) for c in columns]
        lists.scratch.dense[0] = dense  # of the first bin that closes; later ones decide for themselves
        found.append(detection.advance(*part, history, lists, bank, bin_us, NO_BIN, True, where))
    nothing = [c[:0] for c in columns]
    found.append(detection.advance(*nothing, history, lists, bank, bin_us, 2**60, True, where))
    return found


def rows_of(found):
    return [
        (int(f.bin[i]), int(f.y[i]), int(f.x[i]), int(f.label[i]), f.evidence[i].tolist(), float(f.total[i]))
        for f in found
        for i in range(len(f.bin))
    ]


@settings(max_examples=80)
@given(
    recordings(max_events=60), banks(), st.booleans(), st.sampled_from([1, 500, 1000]),
    st.sampled_from([("events", 1), ("events", 3), ("grid", 1), ("grid", 5), ("random", 0.2, 7)]), st.data(),
)  # fmt: skip
def test_detector_equals_its_twin_however_it_is_cut(columns, bank, flip, bin_us, where, data):
    weight, bias = bank
    kind, *numbers = where
    ours = {"events": at_events, "grid": on_grid, "random": at_random}[kind](*numbers)
    places = data.draw(cuts(len(columns[0])))
    dense = data.draw(st.booleans())
    found = advance_in_cuts(columns, places, detection.taps(weight, bias, flip), bin_us, ours, dense)
    expected = naive.detect(*columns, weight, bias, bin_us, *SIZE, flip, where)
    assert rows_of(found) == [(k, y, x, c, s.tolist(), s[c]) for k, y, x, c, s in expected]


def in_turn(parts):
    for part in parts:
        part()


@settings(max_examples=60)
@given(
    recordings(16, 70, 60), banks(), st.booleans(), st.integers(2, 4), st.integers(1, 3), st.data(),
    st.sampled_from([("events", 1), ("events", 3), ("grid", 3), ("random", 0.2, 7)]), st.booleans(),
)  # fmt: skip
def test_detectors_that_share_the_voxels_answer_as_one_does(
    columns, bank, flip, members, others, data, where, evidence
):
    kind, *numbers = where
    ours = {"events": at_events, "grid": on_grid, "random": at_random}[kind](*numbers)
    made = detection.taps(*bank, flip)
    a, b = sorted((data.draw(st.integers(0, len(columns[0]))), data.draw(st.integers(0, len(columns[0])))))
    found = []
    for first, second in ((1, 1), (members, members), (members, others)):
        team, rows = Team(16, 70, made, first), []
        for n, part, until in (
            (first, slice(0, a), NO_BIN),
            (second, slice(a, b), NO_BIN),
            (second, slice(b, None), 2**60),
        ):
            if n != len(team.histories):
                kept, team = team.saved(), Team(16, 70, made, n)
                team.load(kept)
            own = [np.ascontiguousarray(c[part]) for c in columns]
            rows.append(team.advance(*own, made, 1000, until, evidence, ours, in_turn))
        found.append(rows_of_all(rows, evidence))
    assert found[0] == found[1] == found[2]


def rows_of_all(found, evidence):
    return [
        (
            int(f.bin[i]),
            int(f.y[i]),
            int(f.x[i]),
            int(f.label[i]),
            float(f.total[i]),
            f.evidence[i].tolist() if evidence else None,
        )
        for f in found
        for i in range(len(f.bin))
    ]


def test_answers_that_do_not_fit_into_one_call_are_all_there(monkeypatch):
    rng = np.random.default_rng(0)
    n = 400
    columns = (
        np.cumsum(rng.integers(0, 300, n)), rng.integers(0, 16, n).astype(np.uint16),
        rng.integers(0, 12, n).astype(np.uint16), rng.random(n) < 0.5,
    )  # fmt: skip
    weight = rng.integers(-9, 9, (3, 2, 4, 3, 3)).astype(np.float32)
    bank = detection.taps(weight, np.zeros(3, np.float32), True)
    whole = rows_of(advance_in_cuts(columns, [0, n], bank, 1000, on_grid()))
    monkeypatch.setattr(detection, "_ROOM", 1)
    assert rows_of(advance_in_cuts(columns, [0, n], bank, 1000, on_grid())) == whole
    assert len(whole) > 16 * 12 * 4


@_jit.kernel
def _sum(table, codes, start, stop, base, acc, at, shape):
    _sums.sum_rows(table, codes, start, stop, base, acc, at, shape)


@given(st.sampled_from(_sums.WIDTHS), st.integers(0, 20), st.integers(0, 5), st.integers(0, 2**32))
def test_sums_of_rows_equal_the_twin(width, n, base, seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(-32767, 32768, 40 * width).astype(np.int16)
    codes = rng.integers(0, 35, n + 2).astype(np.int32)
    ours = rng.integers(-9, 9, 3 * width).astype(np.int32)
    twin = ours.copy()
    _sum(table, codes, 1, 1 + n, base, ours, width, _sums.shape_of(width))
    naive_sums.sum_rows(table, codes, 1, 1 + n, base, twin, width, width)
    np.testing.assert_array_equal(ours, twin)


@_jit.kernel
def _collect(entries, start, stop, now, dx, dy, window, on, off, counts):
    return _windows.collect(entries, start, stop, now, dx, dy, window, on, off, counts)


SIDES = st.integers(0, 15).map(lambda half: 2 * half + 1)


@settings(max_examples=300)
@given(
    st.integers(0, 200), st.tuples(SIDES, SIDES, st.integers(1, 64)), st.integers(0, 600),
    st.integers(-30, 30), st.integers(-30, 30), st.sampled_from([0, 5, 64, 5000]), st.integers(0, 2**32),
)  # fmt: skip
def test_filtering_a_tile_equals_the_twin(n, kernel, now, dx, dy, r2, seed):
    rng = np.random.default_rng(seed)
    # At most one entry an input and bin, so that there is room for all.
    inputs = rng.permutation(512 * 128)[: n + 5]
    entries = np.concatenate([inputs, np.zeros(_windows.SPARE, np.int64)]).astype(np.uint16)
    room = kernel[0] * kernel[1] * kernel[2] + _windows.SPARE + 3
    ours, twin = ([np.full(room, 7, np.uint16), np.full(room, 7, np.uint16)] for _ in range(2))
    window, counts = (*kernel, r2), 2 | 1 << 32
    got = _collect(entries, 5, 5 + n, now, dx, dy, window, *ours, counts)
    assert got == naive_windows.collect(entries, 5, 5 + n, now, dx, dy, window, *twin, counts)
    for a, b, k in zip(ours, twin, (got & 0xFFFFFFFF, got >> 32), strict=True):
        np.testing.assert_array_equal(a[:k], b[:k])


@_jit.kernel
def _sum_short(table, codes, n, base, zero, safe, acc, at, shape):
    _sums16.sum_short(table, codes, n, base, zero, safe, acc, at, shape)


@given(
    st.sampled_from(_sums16.WIDTHS), st.integers(0, 60), st.integers(0, 5), st.sampled_from([300, 8000, 32767]),
    st.integers(0, 2**32),
)  # fmt: skip
def test_short_sums_equal_the_twin(width, n, base, largest, seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(-largest, largest + 1, (70, width)).astype(np.int16)
    table[60 + base] = 0
    safe = _sums16.rows_that_fit(table)
    if safe < _sums16.TOGETHER:  # too large for sums in 16 bits
        return
    codes = np.concatenate([rng.permutation(60)[:n], np.full(4, 9)]).astype(np.uint16)
    ours = rng.integers(-9, 9, 3 * width).astype(np.int32)
    twin = ours.copy()
    _sum_short(table.reshape(-1), codes, n, base, 60, safe, ours, width, (0,) * (width // 32))
    naive_sums.sum_short(table, codes, n, base, twin, width, width)
    np.testing.assert_array_equal(ours, twin)


@given(st.integers(1, 40), st.sampled_from([32767, 9000, 200, 1]), st.integers(0, 2**32))
def test_rows_that_fit_never_overflow(rows, largest, seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(-largest, largest + 1, (rows, 3)).astype(np.int16)
    n = _sums16.rows_that_fit(table)
    worst = np.sort(np.abs(table.astype(int)), axis=0)[::-1][:n].sum(axis=0)
    assert n % _sums16.TOGETHER == 0
    assert n == 0 or worst.max() <= 32767


@_jit.kernel
def _decide(on, off, bias, logits, classes, flip):
    return _sums16.decide(on, off, bias, logits, classes, flip)


@given(st.integers(1, 70), st.booleans(), st.sampled_from([1, 3, 2**22]), st.integers(0, 2**32))
def test_the_winner_is_the_first_of_the_largest(classes, flip, largest, seed):
    rng = np.random.default_rng(seed)
    on, off = (rng.integers(-largest, largest + 1, 2 * classes + 16).astype(np.int32) for _ in range(2))
    bias = np.full(-(-classes // 16) * 16, -(2**30), np.int32)
    bias[:classes] = rng.integers(-largest, largest + 1, classes)
    logits = np.zeros(len(bias), np.int32)
    winner = _decide(on, off, bias, logits, classes, int(flip))
    expected, first = naive_sums.decide(on, off, bias, classes, flip)
    assert (logits[:classes].tolist(), winner) == (expected, first)


@settings(max_examples=150)
@given(recordings(max_events=80), st.integers(1, 64), st.sampled_from([1, 40, 1000]), st.data())
def test_tiles_hold_the_active_inputs_of_the_last_bins(columns, delays, bin_us, data):
    t, x, y, p = columns
    tiles = tile_lists.new_tiles(40, 40, delays)
    places = data.draw(cuts(len(t)))
    for a, b in itertools.pairwise(places):
        tiles = tile_lists.reserve(tiles, b - a)
        _note(
            t[a:b] // bin_us, x[a:b].astype(np.int64), y[a:b].astype(np.int64), p[a:b].astype(np.int64), tiles
        )
        if data.draw(st.booleans()):
            saved = tile_lists.saved(tiles)
            tiles = tile_lists.load(tile_lists.new_tiles(40, 40, delays), saved)
    assert held_by(tiles) == active_inputs(columns, delays, bin_us)


@_jit.kernel
def _note(bins, x, y, p, tiles):
    entries, meta, seen, used, across, delays = tiles
    for i in range(bins.size):
        tile_lists.note(entries, meta, seen, used, across, delays, bins[i], x[i], y[i], p[i])


def held_by(tiles):
    """(tile, bin, code) of the entries, bins from the tile's last event."""
    out = set()
    for k, (start, _, head, tail, last) in enumerate(tiles.meta.tolist()):
        for entry in tiles.entries[start + head : start + tail].tolist():
            out.add((k, last - (last - (entry >> 9)) % 128, entry & 511))
        assert len(set(tiles.entries[start + head : start + tail].tolist())) == tail - head
    return out


def active_inputs(columns, delays, bin_us):
    found, last = set(), {}
    for t, x, y, p in zip(*columns, strict=True):
        k = (int(y) >> 4) * 3 + (int(x) >> 4)
        last[k] = int(t) // bin_us
        found.add((k, int(t) // bin_us, int(p) << 8 | (int(y) & 15) << 4 | int(x) & 15))
    return {(k, b, code) for k, b, code in found if last[k] - b < delays}


@settings(max_examples=60)
@given(recordings(max_events=60), banks(), st.booleans(), st.sampled_from([1, 500]), st.data())
def test_lists_are_rebuilt_from_a_history(columns, bank, flip, bin_us, data):
    weight, bias = bank
    made = detection.taps(weight, bias, flip)
    cut = data.draw(st.integers(0, len(columns[0])))
    history, lists = new_history(*SIZE, made.width, made.height), detection.new_lists(*SIZE, made)
    whole = detection.advance(*columns, history, lists, made, bin_us, 2**60, True)
    history, lists = new_history(*SIZE, made.width, made.height), detection.new_lists(*SIZE, made)
    parts = [detection.advance(*(c[:cut] for c in columns), history, lists, made, bin_us, NO_BIN, True)]
    lists = detection.new_lists(*SIZE, made)
    detection.rebuild(lists, history)
    parts.append(detection.advance(*(c[cut:] for c in columns), history, lists, made, bin_us, 2**60, True))
    assert rows_of(parts) == rows_of([whole])


def test_dense_bins_are_summed_by_rows_with_the_same_answers():
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 12_000, 30_000))
    x, y = (rng.integers(0, n, len(t)).astype(np.uint16) for n in (64, 48))
    columns = (t, x, y, rng.random(len(t)) < 0.5)
    bank = detection.taps(
        rng.integers(-90, 90, (36, 2, 8, 13, 13)).astype(np.float32), np.zeros(36, np.float32), True
    )
    found = []
    for short in (bank.short, bank.short._replace(usable=False)):
        history, lists = new_history(64, 48, 13, 13), detection.new_lists(64, 48, bank)
        made = bank._replace(short=short)
        found.append(detection.advance(*columns, history, lists, made, 1000, 2**60, True))
        assert lists.scratch.dense[0]
    assert rows_of(found[:1]) == rows_of(found[1:])


@settings(max_examples=80)
@given(
    recordings(max_events=60), banks(), st.booleans(), st.lists(st.sampled_from([1, 125, 2000]), min_size=1, max_size=3),
    st.integers(1, 3), st.sampled_from([None, 1, 2]), st.integers(1, 2), st.data(),
)  # fmt: skip
def test_sums_of_a_tile_equal_the_twin_however_it_is_cut(
    columns, bank, flip, bins_us, every, most, parts, data
):
    weight, bias = bank
    made = detection.taps(weight, bias, flip)

    def fresh():
        return tile_evidence.new_scales(
            *SIZE, made, bins_us, every, 5, [most] * len(bins_us) if most else None, parts
        )

    def take(columns, until):
        tile_evidence.reserve(scales, len(columns[0]))
        for part in range(parts):
            tile_evidence.advance(scales, *columns, until, part, parts)

    scales = fresh()
    t, last = columns[0], int(columns[0][-1]) if len(columns[0]) else 0
    for a, b in itertools.pairwise(data.draw(cuts(len(t)))):
        take([c[a:b] for c in columns], int(t[b - 1]) if b else 0)
        if data.draw(st.booleans()):
            kept, scales = tile_evidence.saved(scales), fresh()
            tile_evidence.load(scales, kept)
    take([c[:0] for c in columns], last + max(bins_us))
    for s, bin_us in enumerate(bins_us):
        sums, rows, added = (
            np.zeros_like(scales.sums[s]),
            np.zeros_like(scales.rows[s]),
            np.zeros_like(scales.added[s]),
        )
        first = int(t[0]) // bin_us if len(t) else 0
        for k, y, x, _, logits in naive.detect(*columns, weight, bias, bin_us, *SIZE, flip, ("drawn", every)):
            if k - first >= made.delays - 1:
                tile = y // 5 * 4 + x // 5
                rows[tile] += 1
                if most is None or added[tile] < most:
                    sums[tile] += logits.astype(int)
                    added[tile] += 1
        np.testing.assert_array_equal(scales.sums[s], sums)
        np.testing.assert_array_equal(scales.rows[s], rows)
        np.testing.assert_array_equal(scales.added[s], added)


def test_banks_that_tiles_cannot_hold_are_summed_by_rows():
    rng = np.random.default_rng(1)
    for weight in (np.full((2, 2, 2, 3, 3), 30000), rng.integers(-3, 3, (1, 2, 64, 33, 33))):
        bank = detection.taps(weight.astype(np.float32), np.zeros(len(weight), np.float32), False)
        assert not bank.short.usable


@pytest.mark.parametrize("shape", [(1, 2, 65, 3, 3), (1, 2, 4, 4, 4), (1, 2, 4, 3, 2)])
def test_odd_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="odd sides"):
        detection.taps(np.zeros(shape, np.float32), np.zeros(1, np.float32), False)


def test_sums_that_float32_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"2\^24"):
        detection.taps(np.full((1, 2, 1, 1, 1), 2.0**23, np.float32), np.zeros(1, np.float32), False)


@pytest.mark.parametrize("weight", [0.5, 40_000])
def test_weights_that_are_no_int16_are_refused(weight):
    with pytest.raises(ValueError, match="-32767 to 32767"):
        detection.taps(np.full((1, 2, 1, 1, 1), weight, np.float32), np.zeros(1, np.float32), False)
