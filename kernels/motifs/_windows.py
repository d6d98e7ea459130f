"""Which active inputs of a tile lie in a window: the inner loop of :mod:`kernels.motifs.tile_lists`.

An entry is 16 bits: ``(bin mod 128) << 9 | polarity << 8 | y in tile << 4 | x in tile``. Many entries are looked at
side by side; those inside are written one behind the other as numbers of rows of a weight table. Compressing a vector
is one instruction with AVX-512 VBMI2. AVX2 and NEON shuffle eight lanes by a table of 256 patterns; elsewhere lanes
are stored one by one, without a branch. The same numbers come out, in the same order; the plain twin is in
:mod:`tests.reference.windows`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels._jit import guarded

SIDE_BITS = 4
"""log2 of a tile's side."""
AGE_BITS = 7
"""Bits of an entry that hold its bin: ages below 128 can be told apart."""
SPARE = 32
"""Places that are read or written behind the last entry, and behind the last number."""
MOST_SIDE = 63
"""The widest kernel whose distances fit 16 bits."""

_ENTRY_BITS = 2 * SIDE_BITS + 1
_I1, _I8, _I16, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))

VECTOR, SHUFFLE_X86, SHUFFLE_ARM, ONE_BY_ONE = "vector", "x86", "arm", "one by one"


def compress_by(context: Any) -> str:
    """How the processor that is compiled for compresses a vector of 16-bit lanes."""
    triple, _, features = context.codegen().magic_tuple()
    has = set(features.split(","))
    if "+avx512vbmi2" in has and "+avx512bw" in has:
        return VECTOR
    if triple.startswith("x86_64") and has & {"+ssse3", "+avx2"}:
        return SHUFFLE_X86
    if triple.startswith("aarch64") and "+neon" in has:
        return SHUFFLE_ARM
    return ONE_BY_ONE


def _patterns() -> bytes:
    """For each set of eight lanes the 16 bytes that bring them to the front, in order."""
    out = bytearray()
    for mask in range(256):
        lanes = [lane for lane in range(8) if mask >> lane & 1]
        row = [byte for lane in lanes for byte in (2 * lane, 2 * lane + 1)]
        out += bytes(row + [255] * (16 - len(row)))
    return bytes(out)


class _Vectors:
    """Vectors of 16-bit lanes, and how they are compressed."""

    def __init__(self, context: Any, builder: Any) -> None:
        self._builder, self.how = builder, compress_by(context)
        self.lanes = 32 if self.how == VECTOR else 16
        self.type = ir.VectorType(_I16, self.lanes)
        if self.how in {SHUFFLE_X86, SHUFFLE_ARM}:
            data = ir.Constant(ir.ArrayType(_I8, 4096), bytearray(_patterns()))
            self._table = cgutils.global_constant(builder, "compress_patterns", data)

    def constant(self, values: list[int]) -> Any:
        return ir.Constant(self.type, values)

    def same(self, value: Any) -> Any:
        """One 16-bit scalar in every lane."""
        one = self._builder.insert_element(ir.Constant(self.type, ir.Undefined), value, ir.Constant(_I32, 0))
        mask = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self._builder.shuffle_vector(one, ir.Constant(self.type, ir.Undefined), mask)

    def load(self, pointer: Any) -> Any:
        return self._builder.load(self._builder.bitcast(pointer, self.type.as_pointer()), align=2)

    def append(self, values: Any, mask: Any, pointer: Any, count: Any) -> None:
        """Write the lanes of ``values`` in ``mask`` from pointer[count] on, and add them to ``count``."""
        if self.how == VECTOR:
            self._append_vector(values, mask, pointer, count)
        elif self.how == ONE_BY_ONE:
            self._append_lanes(values, mask, pointer, count)
        else:
            for half in range(self.lanes // 8):
                self._append_eight(values, mask, half, pointer, count)

    def _append_vector(self, values: Any, mask: Any, pointer: Any, count: Any) -> None:
        b = self._builder
        name = f"llvm.experimental.vector.compress.v{self.lanes}i16"
        kind = ir.FunctionType(self.type, (self.type, mask.type, self.type))
        function = cgutils.get_or_insert_function(b.module, kind, name)
        packed = b.call(function, (values, mask, ir.Constant(self.type, ir.Undefined)))
        self._put(packed, pointer, count, b.zext(b.ctpop(b.bitcast(mask, ir.IntType(self.lanes))), _I64))

    def _append_eight(self, values: Any, mask: Any, half: int, pointer: Any, count: Any) -> None:
        b = self._builder
        lanes = ir.Constant(ir.VectorType(_I32, 8), list(range(8 * half, 8 * half + 8)))
        some = b.shuffle_vector(values, ir.Constant(self.type, ir.Undefined), lanes)
        bits = b.shuffle_vector(mask, ir.Constant(mask.type, ir.Undefined), lanes)
        byte = b.bitcast(bits, _I8)
        bytes16 = ir.VectorType(_I8, 16)
        place = b.gep(self._table, [ir.Constant(_I64, 0), b.shl(b.zext(byte, _I64), ir.Constant(_I64, 4))])
        pattern = b.load(b.bitcast(place, bytes16.as_pointer()), align=1)
        name = "llvm.x86.ssse3.pshuf.b.128" if self.how == SHUFFLE_X86 else "llvm.aarch64.neon.tbl1.v16i8"
        kind = ir.FunctionType(bytes16, (bytes16, bytes16))
        packed = b.call(
            cgutils.get_or_insert_function(b.module, kind, name), (b.bitcast(some, bytes16), pattern)
        )
        self._put(packed, pointer, count, b.zext(b.ctpop(byte), _I64))

    def _append_lanes(self, values: Any, mask: Any, pointer: Any, count: Any) -> None:
        b = self._builder
        for lane in range(self.lanes):
            at = b.load(count)
            b.store(b.extract_element(values, ir.Constant(_I32, lane)), b.gep(pointer, [at]), align=2)
            b.store(b.add(at, b.zext(b.extract_element(mask, ir.Constant(_I32, lane)), _I64)), count)

    def _put(self, packed: Any, pointer: Any, count: Any, more: Any) -> None:
        b = self._builder
        at = b.load(count)
        b.store(packed, b.bitcast(b.gep(pointer, [at]), packed.type.as_pointer()), align=2)
        b.store(b.add(at, more), count)


@intrinsic
def _collect(
    _: Any, entries: Any, start: Any, stop: Any, now: Any, dx: Any, dy: Any, window: Any, on: Any, off: Any,
    counts: Any,
) -> Any:  # fmt: skip
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b, v = builder, _Vectors(context, builder)
        source, rows_on, rows_off = (
            context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 7, 8)
        )

        def short(value: Any) -> Any:
            return v.same(b.trunc(value, _I16))

        width, height, delays, r2 = (b.extract_value(args[6], i) for i in range(4))
        half_x, half_y = (b.ashr(side, ir.Constant(_I64, 1)) for side in (width, height))
        stamp = b.or_(
            b.shl(args[3], ir.Constant(_I64, _ENTRY_BITS)), ir.Constant(_I64, (1 << _ENTRY_BITS) - 1)
        )
        stamps, dxs, dys = short(stamp), short(args[4]), short(args[5])
        cxs, cys = short(b.sub(args[4], half_x)), short(b.sub(args[5], half_y))
        widths, heights, all_delays, radii = short(width), short(height), short(delays), short(r2)
        side = v.constant([(1 << SIDE_BITS) - 1] * v.lanes)
        lanes = v.constant(list(range(v.lanes)))
        zero = v.constant([0] * v.lanes)
        polarity = v.constant([1 << 2 * SIDE_BITS] * v.lanes)
        low = ir.Constant(_I64, 0xFFFFFFFF)
        n_on = cgutils.alloca_once_value(b, b.and_(args[9], low))
        n_off = cgutils.alloca_once_value(b, b.lshr(args[9], ir.Constant(_I64, 32)))
        with cgutils.for_range_slice(b, args[1], args[2], ir.Constant(_I64, v.lanes)) as (j, _):
            entry = v.load(b.gep(source, [j]))
            left = b.sub(args[2], j)
            most = ir.Constant(_I64, v.lanes)
            left = b.select(b.icmp_signed("<", left, most), left, most)
            age = b.lshr(b.sub(stamps, entry), v.constant([_ENTRY_BITS] * v.lanes))
            x = b.and_(entry, side)
            y = b.and_(b.lshr(entry, v.constant([SIDE_BITS] * v.lanes)), side)
            to_x, to_y, cx, cy = b.add(x, dxs), b.add(y, dys), b.add(x, cxs), b.add(y, cys)
            inside = b.icmp_unsigned("<", age, all_delays)
            for kind, one, other in (
                ("<", to_x, widths), ("<", to_y, heights),
                ("<=", b.add(b.mul(cx, cx), b.mul(cy, cy)), radii), ("<", lanes, short(left)),
            ):  # fmt: skip
                inside = b.and_(inside, b.icmp_unsigned(kind, one, other))
            row = b.add(b.mul(b.add(b.mul(to_y, widths), to_x), all_delays), age)
            is_on = b.icmp_unsigned("!=", b.and_(entry, polarity), zero)
            v.append(row, b.and_(inside, is_on), rows_on, n_on)
            v.append(row, b.and_(inside, b.not_(is_on)), rows_off, n_off)
        return b.or_(b.load(n_on), b.shl(b.load(n_off), ir.Constant(_I64, 32)))

    i = types.int64
    return types.int64(entries, i, i, i, i, i, types.UniTuple(i, 4), on, off, i), codegen


def _collect_fits(
    entries: Any,
    start: int,
    stop: int,
    now: int,
    dx: int,
    dy: int,
    window: Any,
    on: Any,
    off: Any,
    counts: int,
) -> bool:
    n_on, n_off, more = counts & 0xFFFFFFFF, counts >> 32, max(stop - start, 0)
    fit = (
        start >= 0
        and (start >= stop or stop + SPARE <= entries.size)
        and max(window[0], window[1]) <= MOST_SIDE
    )
    most = window[0] * window[1] * window[2]
    fit = fit and most <= 65536
    return fit and min(n_on + more, most) + SPARE <= on.size and min(n_off + more, most) + SPARE <= off.size


collect: Callable[..., int] = guarded(cast(Callable[..., int], _collect), _collect_fits)
"""``collect(entries uint16, start, stop, now, dx, dy, (width, height, delays, r2), on uint16, off uint16, counts)``:
of the entries from start to stop - 1 those with (x, y) = (x in tile + dx, y in tile + dy) inside the window of
width x height, at most sqrt(r2) from its middle and fewer than ``delays`` bins before ``now``, as
(y width + x) delays + age, behind the ones that ``on`` and ``off`` have; ``counts`` is n_on | n_off << 32, and so
is what it returns. Up to SPARE places behind the last are overwritten."""
