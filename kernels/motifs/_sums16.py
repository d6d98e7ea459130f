"""Sums of rows of 16-bit weights, in 16-bit lanes as long as those hold them, and the motif that wins.

    acc[lane] = sum over j < n of table[(codes[j] + base) * width + lane]

Additions of 16-bit lanes are exact modulo 2^16, so groups of rows whose sums fit are added in registers of 16-bit
lanes, and widened then. A row of 32 lanes is one line of the cache; tables start on one. The plain twin is in
:mod:`tests.reference.sums`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from kernels._jit import guarded

WIDTHS = (32, 96)
"""Widths of a row for which the loop is compiled: whole lines of the cache."""
TOGETHER = 4
"""Rows that are added before the sum so far; lists are padded to a multiple of it."""
LANES = 16
"""Classes of one vector when winners are sought."""

_LINE = 64
_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


def on_a_line(n: int) -> NDArray[np.int16]:
    """Room for int16 that begins on a line of the cache."""
    room = np.zeros(n + _LINE // 2, np.int16)
    first = -(room.ctypes.data // 2) % (_LINE // 2)
    return room[first : first + n]


def rows_that_fit(rows: NDArray[np.int16]) -> int:
    """How many rows may be added in 16 bits, whichever they are: a multiple of TOGETHER, 0 where not even those.

    Args:
        rows: [row, lane]; a row is added at most once.
    """
    sizes = -np.sort(-np.abs(rows.astype(np.int64)), axis=0)
    fits = np.all(np.cumsum(sizes, axis=0) <= 32767, axis=1)
    n = len(rows) if fits.all() else int(np.argmin(fits))
    return -(-n // TOGETHER) * TOGETHER if n == len(rows) else n // TOGETHER * TOGETHER


@intrinsic
def _sum_short(
    _: Any, table: Any, codes: Any, n: Any, base: Any, zero: Any, safe: Any, acc: Any, at: Any, shape: Any
) -> Any:
    width = 32 * shape.count
    kind = ir.VectorType(_I16, 32)
    wide = ir.VectorType(_I32, 32)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        rows, numbers, sums = (
            context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1, 6)
        )
        n, base, zero, safe = args[2], args[3], args[4], args[5]
        sums = b.gep(sums, [args[7]])
        for k in range(TOGETHER - 1):
            b.store(b.trunc(zero, _I16), b.gep(numbers, [b.add(n, ir.Constant(_I64, k))]), align=2)
        whole = b.and_(b.add(n, ir.Constant(_I64, TOGETHER - 1)), ir.Constant(_I64, -TOGETHER))
        places = [
            b.bitcast(b.gep(sums, [ir.Constant(_I64, 32 * k)]), wide.as_pointer()) for k in range(width // 32)
        ]
        held = [cgutils.alloca_once(b, kind) for _ in places]
        for place in places:
            b.store(ir.Constant(wide, [0] * 32), place, align=4)
        with cgutils.for_range_slice(b, ir.Constant(_I64, 0), whole, safe) as (first, _):
            for register in held:
                b.store(ir.Constant(kind, [0] * 32), register)
            stop = b.add(first, safe)
            stop = b.select(b.icmp_signed("<", stop, whole), stop, whole)
            with cgutils.for_range_slice(b, first, stop, ir.Constant(_I64, TOGETHER)) as (j, _):
                pointers = []
                for k in range(TOGETHER):
                    code = b.load(b.gep(numbers, [b.add(j, ir.Constant(_I64, k))]), align=2)
                    row = b.mul(b.add(b.zext(code, _I64), base), ir.Constant(_I64, width))
                    pointers.append(b.gep(rows, [row]))
                for lane, register in enumerate(held):
                    some = [
                        b.load(
                            b.bitcast(b.gep(p, [ir.Constant(_I64, 32 * lane)]), kind.as_pointer()), align=2
                        )
                        for p in pointers
                    ]
                    pair, other = b.add(some[0], some[1]), b.add(some[2], some[3])
                    b.store(b.add(b.load(register), b.add(pair, other)), register)
            for place, register in zip(places, held, strict=True):
                b.store(b.add(b.load(place, align=4), b.sext(b.load(register), wide)), place, align=4)
        return context.get_dummy_value()

    i = types.int64
    return types.none(table, codes, i, i, i, i, acc, i, shape), codegen


def _sum_short_fits(
    table: Any, codes: Any, n: int, base: int, zero: int, safe: int, acc: Any, at: int, shape: tuple[int, ...]
) -> bool:
    width = 32 * len(shape)
    fit = n >= 0 and n + TOGETHER <= codes.size and safe >= TOGETHER and safe % TOGETHER == 0
    for j in range(n if fit else 0):
        fit = fit and (codes[j] + base + 1) * width <= table.size
    return (
        fit and base >= 0 and (zero + base + 1) * width <= table.size and at >= 0 and at + width <= acc.size
    )


sum_short: Callable[..., None] = guarded(cast(Callable[..., None], _sum_short), _sum_short_fits)
"""``sum_short(table int16, codes uint16, n, base, zero, safe, acc int32, at, shape)``, all arrays flat: sets
``acc[at : at + 32 len(shape)]``. ``zero`` is the number of a row of zeros, which is written behind the codes;
``safe`` is what :func:`rows_that_fit` gives."""


@intrinsic
def _decide(_: Any, on: Any, off: Any, bias: Any, logits: Any, classes: Any, flip: Any) -> Any:
    kind = ir.VectorType(_I32, LANES)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        ons, offs, biases, out = (
            context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(4)
        )
        classes, flip = args[4], b.icmp_signed("!=", args[5], ir.Constant(_I64, 0))

        def vector(data: Any, at: Any) -> Any:
            return b.bitcast(b.gep(data, [at]), kind.as_pointer())

        def load(data: Any, at: Any) -> Any:
            return b.load(vector(data, at), align=4)

        def larger(one: Any, other: Any) -> Any:
            return b.select(b.icmp_signed(">", one, other), one, other)

        most = cgutils.alloca_once_value(b, ir.Constant(kind, [-(2**31)] * LANES))
        step, none = ir.Constant(_I64, LANES), ir.Constant(_I64, 0)
        with cgutils.for_range_slice(b, none, classes, step) as (c, _):
            as_is = b.add(load(ons, c), load(offs, c))
            held = cgutils.alloca_once_value(b, as_is)
            with b.if_then(flip):
                swapped = b.add(classes, c)
                held_one = b.add(load(ons, c), load(offs, swapped))
                b.store(larger(held_one, b.add(load(offs, c), load(ons, swapped))), held)
            logit = b.add(b.load(held), load(biases, c))
            b.store(logit, vector(out, c), align=4)
            b.store(larger(b.load(most), logit), most)
        reduce = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(_I32, (kind,)), f"llvm.vector.reduce.smax.v{LANES}i32"
        )
        top = b.call(reduce, (b.load(most),))
        one = b.insert_element(ir.Constant(kind, ir.Undefined), top, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
        tops = b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)
        winner = cgutils.alloca_once_value(b, none)
        last = b.and_(b.sub(classes, ir.Constant(_I64, 1)), ir.Constant(_I64, -LANES))
        # From the last block to the first, so that the first of equals stays.
        with cgutils.for_range_slice(b, none, b.add(last, step), step) as (back, _):
            c = b.sub(last, back)
            bits = b.bitcast(b.icmp_signed("==", load(out, c), tops), ir.IntType(LANES))
            with b.if_then(b.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))):
                first = b.cttz(b.zext(bits, _I64), ir.Constant(ir.IntType(1), 1))
                b.store(b.add(c, first), winner)
        return b.load(winner)

    i = types.int64
    return types.int64(on, off, bias, logits, i, i), codegen


def _decide_fits(on: Any, off: Any, bias: Any, logits: Any, classes: int, flip: int) -> bool:
    whole = -(-classes // LANES) * LANES
    most = classes * (flip != 0) + whole
    return classes > 0 and min(on.size, off.size) >= most and min(bias.size, logits.size) >= whole


decide: Callable[..., int] = guarded(cast(Callable[..., int], _decide), _decide_fits)
"""``decide(on, off, bias, logits, classes, flip)``, all int32: sets logits[c] to bias[c] + on[c] + off[c], with
``flip`` to bias[c] + max(on[c] + off[classes + c], off[c] + on[classes + c]), and returns the first class with the
largest. Arrays reach to a multiple of LANES classes behind what they hold; bias is very low there."""
