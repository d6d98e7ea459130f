"""Heterogeneous-delay motif detection on addresses: any inputs, any delays, no neighbourhood.

Grimaldi & Perrinet, ICANN 2023 and Biological Cybernetics 2023; with one delay per synapse it is the
inference of learned delays (DCLS: Hammouamri, Khalfaoui-Hassani & Masquelier, ICLR 2024). With A binary
presence of events per address and bin,

    B(c, t) = bias_c + sum over a, d of W(c, a, d) A(a, t - d)

is evaluated in every bin of whose window of D bins any holds an event: arrivals meet in bins that are empty
themselves. Two strategies give the same integers:

- push: an event adds each of its synapses to the bin in which it arrives, in a ring of D bins of sums. The
  work is events times synapses per address: for sparse banks.
- pull: a closed bin adds a row of all classes' weights for each active (address, delay), side by side in
  registers (:mod:`kernels.motifs._sums`). The work is active inputs: for dense banks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels._jit import kernel, trailing_zeros
from kernels.columns import F32, I64, U64, T
from kernels.motifs._sums import shape_of, sum_rows, width_for
from kernels.motifs.detection import Found
from kernels.motifs.history import MAX_DELAYS, NO_BIN

I16 = NDArray[np.int16]
I32 = NDArray[np.int32]

NEXT, LAST, BEGUN = 0, 1, 2
DENSE = 0.2
"""Share of weights that are not zero from which on pulling is faster (docs/motifs.md)."""

_ROOM = 4096


class Synapses(NamedTuple):
    """A bank as the kernel reads it.

    Attributes:
        push: the strategy.
        offsets: [address + 1] int64: where the synapses of each address begin.
        delay: int32 per synapse; so are ``neuron`` and ``weight``.
        neuron: see above.
        weight: see above.
        table: flat int16 rows [pass, address, delay, lane]; empty where pushed.
        bias: [class] int32.
        addresses: how many.
        delays: how many.
        passes: how often the table's width holds the classes.
        shape: that width; see :func:`kernels.motifs._sums.shape_of`.
    """

    push: bool
    offsets: I64
    delay: I32
    neuron: I32
    weight: I32
    table: I16
    bias: I32
    addresses: int
    delays: int
    passes: int
    shape: tuple[int, ...]


class Arrivals(NamedTuple):
    """What a detector remembers; all arrays are updated in place.

    Attributes:
        bits: [address] uint64, bit d = an event d bins before ``stamp``.
        stamp: [address] int64, the bin of each address's last event.
        recent: [address / 64] uint64, addresses that may hold an event of the last bins.
        ring: [delay, class] int32, sums of the bins to come; all zero where pulled.
        bins: int64 [NEXT to be closed, LAST that holds an event, BEGUN: the first since start or gap].
    """

    bits: U64
    stamp: I64
    recent: U64
    ring: I32
    bins: I64


def synapses(weight: F32, bias: F32, push: bool | None = None) -> Synapses:
    """Lay out a bank [class, address, delay].

    Args:
        weight: integers as float32.
        bias: [class] integers as float32.
        push: the strategy; by the density of the weights where None.

    Raises:
        ValueError: more than 64 delays, weights that are no int16 integers, or sums that float32 cannot hold.
    """
    classes, addresses, delays = weight.shape
    if delays > MAX_DELAYS:
        raise ValueError(f"a motif has at most {MAX_DELAYS} delays, not {delays}")
    if (np.abs(weight).sum(axis=(1, 2)) + np.abs(bias)).max(initial=0) >= 2**24:
        raise ValueError("sum |weight| + |bias| of a class must stay below 2^24, or sums are not exact")
    if np.abs(weight).max(initial=0) > 32767 or np.any(weight != np.rint(weight)):
        raise ValueError("weights must be integers from -32767 to 32767")
    density = np.count_nonzero(weight) / max(weight.size, 1)
    pushed = bool(density < DENSE) if push is None else push
    width = width_for(classes)
    passes = -(-classes // width)
    address, delay, neuron = np.nonzero(weight.transpose(1, 2, 0))
    table = np.zeros((passes, 0 if pushed else addresses * delays, width), np.int16)
    if not pushed:
        padded = np.zeros((addresses * delays, passes * width), np.int16)
        padded[:, :classes] = weight.transpose(1, 2, 0).reshape(-1, classes)
        table = np.ascontiguousarray(np.moveaxis(padded.reshape(-1, passes, width), 1, 0))
    return Synapses(
        pushed, np.searchsorted(address, np.arange(addresses + 1)).astype(np.int64),
        delay.astype(np.int32), neuron.astype(np.int32), weight[neuron, address, delay].astype(np.int32),
        table.reshape(-1), bias.astype(np.int32), addresses, delays, passes, shape_of(width),
    )  # fmt: skip


def new_arrivals(bank: Synapses) -> Arrivals:
    """A past in which nothing has happened."""
    made = Arrivals(
        np.zeros(bank.addresses, np.uint64), np.empty(bank.addresses, np.int64),
        np.zeros(-(-bank.addresses // 64), np.uint64),
        np.zeros((bank.delays, len(bank.bias)), np.int32), np.empty(3, np.int64),
    )  # fmt: skip
    forget(made)
    return made


def forget(arrivals: Arrivals) -> None:
    """Start anew, as after a gap."""
    for array in (arrivals.bits, arrivals.recent, arrivals.ring):
        array[:] = 0
    arrivals.stamp[:] = NO_BIN
    arrivals.bins[:] = NO_BIN


def advance(t: T, address: I64, arrivals: Arrivals, bank: Synapses, bin_us: int, until_bin: int) -> Found:
    """Take in events and evaluate every bin that closes: those before the last event's, or ``until_bin``.

    Args:
        t: times [n], never falling.
        address: [n], 0 .. addresses - 1.
        arrivals: the past, updated in place.
        bank: the motifs.
        bin_us: the width of a bin.
        until_bin: bins below this one are closed.

    Returns:
        A row a bin, with the sums of all classes; x and y are 0.
    """
    bins, evidence = np.empty(_ROOM, np.int64), np.empty((_ROOM, len(bank.bias)), np.int32)
    sums = np.zeros(bank.passes * 8 * len(bank.shape), np.int32)
    codes = np.empty(bank.addresses * bank.delays, np.int32)
    parts: list[tuple[I64, F32]] = []
    at, done = 0, False
    while not done:
        at, n, done = _advance(t, address, at, arrivals, bank, bin_us, until_bin, sums, codes, bins, evidence)
        parts.append((bins[:n].copy(), evidence[:n].astype(np.float32)))
    found = np.concatenate([part for part, _ in parts])
    total = np.concatenate([part for _, part in parts])
    nowhere = np.zeros(len(found), np.uint16)
    label = total.argmax(axis=1).astype(np.uint16) if len(found) else nowhere
    return Found(found, nowhere, nowhere.copy(), label, total[np.arange(len(found)), label], total)


@kernel
def _advance(
    t: T, address: I64, at: int, arrivals: Arrivals, bank: Synapses, bin_us: int, until_bin: int,
    sums: I32, codes: I32, out_bin: I64, out_sums: I32,
) -> tuple[int, int, bool]:  # fmt: skip
    """(events taken, bins answered, whether all is done); stops early where there is no room."""
    bins, n, i = arrivals.bins, 0, at
    while i < t.size:
        now = t[i] // bin_us
        n = _close_before(now, arrivals, bank, sums, codes, n, out_bin, out_sums)
        if n < 0:
            return i, out_bin.size, False
        if bins[BEGUN] == NO_BIN:
            bins[BEGUN] = now
        bins[NEXT], bins[LAST] = now, now
        i = _take_arrivals(t, address, i, (now + 1) * bin_us, now, arrivals, bank)
    n = _close_before(until_bin, arrivals, bank, sums, codes, n, out_bin, out_sums)
    if n < 0:
        return i, out_bin.size, False
    return i, n, True


@kernel
def _take_arrivals(
    t: T, address: I64, at: int, ends_us: int, now: int, arrivals: Arrivals, bank: Synapses
) -> int:
    """Take in the events before ``ends_us``; returns the first behind."""
    i = at
    while i < t.size and t[i] < ends_us:
        a = address[i]
        i += 1
        age = now - arrivals.stamp[a]
        if age == 0:
            continue  # several events of one address and bin count once
        arrivals.bits[a] = np.uint64(0) if age >= MAX_DELAYS else arrivals.bits[a] << np.uint64(age)
        arrivals.bits[a] |= np.uint64(1)
        arrivals.stamp[a] = now
        arrivals.recent[a >> 6] |= np.uint64(1) << np.uint64(a & 63)
        if bank.push:
            for s in range(bank.offsets[a], bank.offsets[a + 1]):
                arrivals.ring[(now + bank.delay[s]) % bank.delays, bank.neuron[s]] += bank.weight[s]
    return i


@kernel
def _close_before(
    until: int, arrivals: Arrivals, bank: Synapses, sums: I32, codes: I32, n: int, out_bin: I64, out_sums: I32
) -> int:
    """Evaluate the bins before ``until`` whose window holds an event; -1 where there is no room for all."""
    bins = arrivals.bins
    if bins[NEXT] == NO_BIN:
        return n
    while bins[NEXT] < min(until, bins[LAST] + bank.delays):
        if n == out_bin.size:
            return -1
        now = bins[NEXT]
        if bank.push:
            waiting = arrivals.ring[now % bank.delays]
            for c in range(bank.bias.size):
                out_sums[n, c] = bank.bias[c] + waiting[c]
                waiting[c] = 0
        else:
            _pull(now, arrivals, bank, sums, codes)
            for c in range(bank.bias.size):
                out_sums[n, c] = bank.bias[c] + sums[c]
        out_bin[n] = now
        bins[NEXT] += 1
        n += 1
    return n


@kernel
def _pull(now: int, arrivals: Arrivals, bank: Synapses, sums: I32, codes: I32) -> None:
    window, n = ~np.uint64(0) >> np.uint64(64 - bank.delays), 0
    for word in range(arrivals.recent.size):
        waiting = arrivals.recent[word]
        while waiting != np.uint64(0):
            a = word * 64 + trailing_zeros(waiting)
            waiting &= waiting - np.uint64(1)
            age = now - arrivals.stamp[a]
            if age >= bank.delays:
                arrivals.recent[word] &= ~(np.uint64(1) << np.uint64(a & 63))
                continue
            past = (arrivals.bits[a] << np.uint64(age)) & window
            while past != np.uint64(0):
                codes[n] = np.int32(a * bank.delays + trailing_zeros(past))
                past &= past - np.uint64(1)
                n += 1
    sums[:] = 0
    lane = sums.size // bank.passes
    for turn in range(bank.passes):
        sum_rows(bank.table, codes, 0, n, turn * bank.addresses * bank.delays, sums, turn * lane, bank.shape)
