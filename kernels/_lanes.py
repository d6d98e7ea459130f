"""The inner loops of spiking layers: channels side by side, eight lanes at a time.

Written as vector instructions of LLVM, because numba cannot know that its arrays do not overlap, and so adds
a row of 16 weights one by one or asks each time. Multiplications and additions are those of the
equations, one rounding each (nothing is fused), so the plain twin gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels._jit import guarded

LANES = 8
"""Channels are padded to a multiple of this: a register of AVX2, two of NEON."""

_I64, _F32 = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_F32, LANES)


def padded(channels: int) -> int:
    """Channels and the lanes that fill up their last block."""
    return -(-channels // LANES) * LANES


class _Block:
    """Loads and stores of one block of lanes."""

    def __init__(self, builder: Any, lane: Any) -> None:
        self._builder, self._lane = builder, lane

    def _place(self, data: Any, at: Any) -> Any:
        place = self._builder.gep(data, [self._builder.add(at, self._lane)])
        return self._builder.bitcast(place, _VECTOR.as_pointer())

    def load(self, data: Any, at: Any) -> Any:
        return self._builder.load(self._place(data, at), align=4)

    def store(self, value: Any, data: Any, at: Any) -> None:
        self._builder.store(value, self._place(data, at), align=4)


def _data(context: Any, builder: Any, signature: Any, args: Any, *which: int) -> list[Any]:
    return [context.make_array(signature.args[i])(context, builder, args[i]).data for i in which]


def _splat(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)


def _blocks(builder: Any, lanes: Any) -> Any:
    return cgutils.for_range_slice(builder, ir.Constant(_I64, 0), lanes, ir.Constant(_I64, LANES))


@intrinsic
def _add_scaled(_: Any, x: Any, at: Any, table: Any, row: Any, scale: Any, lanes: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = _data(context, builder, signature, args, 0, 2)
        factor = _splat(builder, args[4])
        with _blocks(builder, args[5]) as (lane, _):
            block = _Block(builder, lane)
            product = builder.fmul(block.load(source, args[3]), factor)
            block.store(builder.fadd(block.load(target, args[1]), product), target, args[1])
        return context.get_dummy_value()

    index = types.int64
    return types.none(x, index, table, index, types.float32, index), codegen


def _add_scaled_fits(x: Any, at: int, table: Any, row: int, scale: float, lanes: int) -> bool:
    return at >= 0 and row >= 0 and at + lanes <= x.size and row + lanes <= table.size


add_scaled: Callable[..., None] = guarded(cast(Callable[..., None], _add_scaled), _add_scaled_fits)
"""``add_scaled(x, at, table, row, scale, lanes)``, float32 and flat: x[at + lane] += table[row + lane] * scale."""


@intrinsic
def _sum_scaled(
    _: Any, x: Any, at: Any, table: Any, row: Any, index: Any, value: Any, shift: Any, start: Any, stop: Any,
    lanes: Any,
) -> Any:  # fmt: skip
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source, numbers, factors = _data(context, builder, signature, args, 0, 2, 4, 5)
        at, row, shift, first, last, lanes = args[1], args[3], args[6], args[7], args[8], args[9]
        place = cgutils.alloca_once_value(builder, ir.Constant(_I64, 0))

        def through(vectors: int) -> None:
            """All rows, as many vectors of each as stay in registers, while so many are left."""
            width = ir.Constant(_I64, vectors * LANES)
            with cgutils.for_range(builder, builder.sdiv(builder.sub(lanes, builder.load(place)), width)):
                here = builder.load(place)
                blocks = [
                    _Block(builder, builder.add(here, ir.Constant(_I64, k * LANES))) for k in range(vectors)
                ]
                held = [cgutils.alloca_once(builder, _VECTOR) for _ in blocks]
                for block, register in zip(blocks, held, strict=True):
                    builder.store(block.load(target, at), register)
                with cgutils.for_range_slice(builder, first, last, ir.Constant(_I64, 1)) as (j, _):
                    number = builder.sext(builder.load(builder.gep(numbers, [j])), _I64)
                    base = builder.add(row, builder.mul(builder.add(number, shift), lanes))
                    factor = _splat(builder, builder.load(builder.gep(factors, [j])))
                    for block, register in zip(blocks, held, strict=True):
                        product = builder.fmul(block.load(source, base), factor)
                        builder.store(builder.fadd(builder.load(register), product), register)
                for block, register in zip(blocks, held, strict=True):
                    block.store(builder.load(register), target, at)
                builder.store(builder.add(here, width), place)

        for vectors in (8, 4, 2, 1):
            through(vectors)
        return context.get_dummy_value()

    i = types.int64
    return types.none(x, i, table, i, index, value, i, i, i, i), codegen


def _sum_scaled_fits(
    x: Any,
    at: int,
    table: Any,
    row: int,
    index: Any,
    value: Any,
    shift: int,
    start: int,
    stop: int,
    lanes: int,
) -> bool:
    fit = start >= stop or (start >= 0 and stop <= index.size and stop <= value.size)
    for j in range(start, stop if fit else start):
        place = row + (index[j] + shift) * lanes
        fit = fit and place >= 0 and place + lanes <= table.size
    return fit and at >= 0 and at + lanes <= x.size


sum_scaled: Callable[..., None] = guarded(cast(Callable[..., None], _sum_scaled), _sum_scaled_fits)
"""``sum_scaled(x, at, table, row, index, value, shift, start, stop, lanes)``: for j from start to stop - 1, in this
order, x[at + lane] += table[row + (index[j] + shift) lanes + lane] value[j]; sums stay in registers."""


@intrinsic
def _charge_lif(
    _: Any, v: Any, x: Any, at: Any, coefficient: Any, of: Any, stride: Any, rows: Any, late: Any, strict: Any,
    lanes: Any,
) -> Any:  # fmt: skip
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        potential, charge, values = _data(context, builder, signature, args, 0, 1, 3)
        at, of, stride = args[2], args[4], args[5]
        names = ("decay", "gain", "constant", "level", "after", "floor")

        def coefficient_at(position: Any) -> Any:
            return builder.add(of, builder.mul(stride, position))

        places = {name: coefficient_at(builder.extract_value(args[6], i)) for i, name in enumerate(names)}
        any_passing = cgutils.alloca_once_value(builder, ir.Constant(_I64, 0))
        late, strict = args[7], args[8]

        def loop(amend: Callable[..., Any]) -> None:
            with _blocks(builder, args[9]) as (lane, _):
                block = _Block(builder, lane)
                c = {name: block.load(values, place) for name, place in places.items()}
                before, arriving = block.load(potential, at), block.load(charge, at)
                u = builder.fadd(builder.fmul(before, c["decay"]), builder.fmul(arriving, c["gain"]))
                u = amend(c, before, arriving, builder.fadd(u, c["constant"]))
                u = builder.select(builder.fcmp_ordered(">=", u, c["floor"]), u, c["floor"])
                block.store(u, potential, at)
                block.store(ir.Constant(_VECTOR, [0.0] * LANES), charge, at)
                flags = builder.bitcast(builder.fcmp_ordered(">=", u, c["level"]), ir.IntType(LANES))
                bits = builder.shl(builder.zext(flags, _I64), builder.and_(lane, ir.Constant(_I64, 63)))
                builder.store(builder.or_(builder.load(any_passing), bits), any_passing)

        def reset_late(c: dict[str, Any], before: Any, arriving: Any, u: Any) -> Any:
            """Where a neuron passed its level before, one of three other values."""
            held = cgutils.alloca_once_value(builder, u)
            above = builder.fcmp_ordered(">", before, c["level"])
            at_least = builder.fcmp_ordered(">=", before, c["level"])
            is_strict = builder.icmp_signed("!=", strict, ir.Constant(_I64, 0))
            fresh = builder.fadd(builder.fmul(c["after"], c["decay"]), builder.fmul(arriving, c["gain"]))
            choices = (
                (1, builder.fsub(u, c["after"])),
                (2, c["after"]),
                (3, builder.fadd(fresh, c["constant"])),
            )
            # Without a select between vectors of flags: NEON and AVX2 have none that is cheap.
            for decides, flags in ((is_strict, above), (builder.not_(is_strict), at_least)):
                for kind, value in choices:
                    is_kind = builder.icmp_signed("==", late, ir.Constant(_I64, kind))
                    with builder.if_then(builder.and_(decides, is_kind)):
                        builder.store(builder.select(flags, value, u), held)
            return builder.load(held)

        def as_it_is(c: dict[str, Any], before: Any, arriving: Any, u: Any) -> Any:
            del c, before, arriving
            return u

        is_late = builder.icmp_signed("!=", late, ir.Constant(_I64, 0))
        with builder.if_else(is_late) as (then, otherwise):
            with then:
                loop(reset_late)
            with otherwise:
                loop(as_it_is)
        return builder.load(any_passing)

    index = types.int64
    signature = types.int64(v, x, index, coefficient, index, index, rows, index, index, index)
    return signature, codegen


def _charge_lif_fits(
    v: Any,
    x: Any,
    at: int,
    coefficient: Any,
    of: int,
    stride: int,
    rows: Any,
    late: int,
    strict: int,
    lanes: int,
) -> bool:
    fit = at >= 0 and at + lanes <= v.size and at + lanes <= x.size
    for row in rows:
        place = of + stride * row
        fit = fit and place >= 0 and place + lanes <= coefficient.size
    return fit


charge_lif: Callable[..., int] = guarded(cast(Callable[..., int], _charge_lif), _charge_lif_fits)
"""``charge_lif(v, x, at, coefficient, of, stride, rows, late, strict, lanes)``: v = max(decay v + gain x +
constant, floor), x = 0; returns which lanes reach their level. ``rows`` are the rows of decay, gain, constant,
level, after and floor; where v passed its level before, ``late`` 1 takes ``after`` from what it is now, 2 sets
it to that, 3 sets v to that first. Bit k of what it returns is of lane k, and of k + 64 ..."""


@intrinsic
def _charge_synapse(
    _: Any, i: Any, x: Any, at: Any, coefficient: Any, of: Any, stride: Any, rows: Any, lanes: Any
) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        current, arriving, values = _data(context, builder, signature, args, 0, 1, 3)
        kept_at, weight_at, bias_at = (
            builder.add(args[4], builder.mul(args[5], builder.extract_value(args[6], row)))
            for row in range(3)
        )
        with _blocks(builder, args[7]) as (lane, _):
            block = _Block(builder, lane)
            decayed = builder.fmul(block.load(current, args[2]), block.load(values, kept_at))
            drive = builder.fadd(block.load(arriving, args[2]), block.load(values, bias_at))
            now = builder.fadd(decayed, builder.fmul(drive, block.load(values, weight_at)))
            block.store(now, current, args[2])
            block.store(now, arriving, args[2])
        return context.get_dummy_value()

    index = types.int64
    return types.none(i, x, index, coefficient, index, index, rows, index), codegen


def _charge_synapse_fits(
    i: Any, x: Any, at: int, coefficient: Any, of: int, stride: int, rows: Any, lanes: int
) -> bool:
    fit = at >= 0 and at + lanes <= i.size and at + lanes <= x.size
    for row in rows:
        place = of + stride * row
        fit = fit and place >= 0 and place + lanes <= coefficient.size
    return fit


charge_synapse: Callable[..., None] = guarded(
    cast(Callable[..., None], _charge_synapse), _charge_synapse_fits
)
"""``charge_synapse(i, x, at, coefficient, of, stride, rows, lanes)``: i = kept i + weight (x + bias), x = i.
``rows`` are the rows of kept, weight and bias."""


@intrinsic
def _multiply(_: Any, v: Any, at: Any, coefficient: Any, of: Any, times: Any, lanes: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, factors = _data(context, builder, signature, args, 0, 2)
        with _blocks(builder, args[5]) as (lane, _):
            block = _Block(builder, lane)
            factor = block.load(factors, args[3])
            held = cgutils.alloca_once_value(builder, block.load(values, args[1]))
            with cgutils.for_range(builder, args[4]):
                builder.store(builder.fmul(builder.load(held), factor), held)
            block.store(builder.load(held), values, args[1])
        return context.get_dummy_value()

    index = types.int64
    return types.none(v, index, coefficient, index, index, index), codegen


def _multiply_fits(v: Any, at: int, coefficient: Any, of: int, times: int, lanes: int) -> bool:
    return at >= 0 and of >= 0 and at + lanes <= v.size and of + lanes <= coefficient.size


multiply: Callable[..., None] = guarded(cast(Callable[..., None], _multiply), _multiply_fits)
"""``multiply(v, at, coefficient, of, times, lanes)``: v[at + lane] *= coefficient[of + lane], so many times over."""


@intrinsic
def _any_nonzero(_: Any, v: Any, at: Any, lanes: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (values,) = _data(context, builder, signature, args, 0)
        found = cgutils.alloca_once_value(builder, ir.Constant(_I64, 0))
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        with _blocks(builder, args[2]) as (lane, _):
            block = _Block(builder, lane)
            flags = builder.fcmp_ordered("!=", block.load(values, args[1]), zero)
            some = builder.zext(builder.bitcast(flags, ir.IntType(LANES)), _I64)
            builder.store(builder.or_(builder.load(found), some), found)
        return builder.load(found)

    return types.int64(v, types.int64, types.int64), codegen


def _any_nonzero_fits(v: Any, at: int, lanes: int) -> bool:
    return at >= 0 and at + lanes <= v.size


any_nonzero: Callable[..., int] = guarded(cast(Callable[..., int], _any_nonzero), _any_nonzero_fits)
"""``any_nonzero(v, at, lanes)``: not 0 where a lane is not."""


@intrinsic
def _requantise(
    _: Any, z: Any, sent: Any, at: Any, multiplier: Any, low: Any, top: Any, threshold: Any, carry: Any,
    change: Any, lanes: Any,
) -> Any:  # fmt: skip
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, levels, factors, changes = _data(context, builder, signature, args, 0, 1, 3, 8)
        at, threshold, carry, lanes = args[2], args[6], args[7], args[9]
        low, top, step = (_splat(builder, one) for one in (args[4], args[5], threshold))
        half, zero = (ir.Constant(_VECTOR, [value] * LANES) for value in (0.5, 0.0))
        floor, truncate, magnitude = (
            cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.{name}.v{LANES}f32"
            )
            for name in ("floor", "trunc", "fabs")
        )
        found = cgutils.alloca_once_value(builder, ir.Constant(_I64, 0))

        def loop(amend: Callable[[Any], Any]) -> None:
            with _blocks(builder, lanes) as (lane, _):
                block, start = _Block(builder, lane), ir.Constant(_I64, 0)
                scaled = builder.fmul(block.load(sums, at), block.load(factors, start))
                level = builder.call(floor, [builder.fadd(scaled, half)])
                level = builder.select(builder.fcmp_ordered(">=", level, low), level, low)
                level = builder.select(builder.fcmp_ordered("<=", level, top), level, top)
                before = block.load(levels, at)
                difference = amend(builder.fsub(level, before))
                block.store(builder.fadd(before, difference), levels, at)
                block.store(difference, changes, start)
                flags = builder.bitcast(builder.fcmp_ordered("!=", difference, zero), ir.IntType(LANES))
                bits = builder.shl(builder.zext(flags, _I64), builder.and_(lane, ir.Constant(_I64, 63)))
                builder.store(builder.or_(builder.load(found), bits), found)

        def enough(difference: Any) -> Any:
            large = builder.fcmp_ordered(">=", builder.call(magnitude, [difference]), step)
            return builder.select(large, difference, zero)

        def whole_steps(difference: Any) -> Any:
            return builder.fmul(builder.call(truncate, [builder.fdiv(difference, step)]), step)

        waits = builder.fcmp_ordered(">", threshold, ir.Constant(_F32, 1.0))
        with builder.if_else(waits) as (then, otherwise):
            with then, builder.if_else(carry) as (carried, compared):
                with carried:
                    loop(whole_steps)
                with compared:
                    loop(enough)
            with otherwise:
                loop(lambda difference: difference)
        return builder.load(found)

    i, f = types.int64, types.float32
    return types.int64(z, sent, i, multiplier, f, f, f, types.boolean, change, i), codegen


def _requantise_fits(
    z: Any, sent: Any, at: int, multiplier: Any, low: float, top: float, threshold: float, carry: bool, change: Any,
    lanes: int,
) -> bool:  # fmt: skip
    fit = at >= 0 and at + lanes <= z.size and at + lanes <= sent.size
    return fit and lanes <= multiplier.size and lanes <= change.size


requantise: Callable[..., int] = guarded(cast(Callable[..., int], _requantise), _requantise_fits)
"""``requantise(z, sent, at, multiplier, low, top, threshold, carry, change, lanes)``: with level = floor(multiplier z
+ 1/2) between ``low`` and ``top``, change = level - sent, where that reaches the threshold (with ``carry``: in whole
thresholds), else 0; sent += change. Bit k of what it returns: lane k, or k + 64 ..., changed."""
