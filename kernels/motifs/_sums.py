"""The inner loop of every bank of motifs: the sum of rows of a table, lanes side by side.

    acc[lane] += sum over j in start .. stop - 1 of table[(codes[j] + base) * width + lane]

Written as vector instructions of LLVM, because numba reloads and stores an accumulating array for every row,
while here the whole sum stays in registers: a row of 72 lanes costs about a nanosecond. The same integers
come out on every machine; :mod:`tests.reference.sums` says it in three lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels._jit import guarded

WIDTHS = (16, 32, 72)
"""Widths of a row for which the loop is compiled; wider tables go in several passes of the last."""

_TOGETHER = 16
"""Lanes of one vector: a register of AVX-512, two of AVX2, four of NEON."""

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


def width_for(lanes: int) -> int:
    """The narrowest width that holds so many lanes, or the widest."""
    return next((width for width in WIDTHS if width >= lanes), WIDTHS[-1])


def shape_of(width: int) -> tuple[int, ...]:
    """A tuple whose length, and so its type, tells the compiler the width."""
    return (0,) * (width // 8)


@intrinsic
def _sum_rows(
    _: Any, table: Any, codes: Any, start: Any, stop: Any, base: Any, acc: Any, at: Any, shape: Any
) -> Any:
    width = 8 * shape.count
    parts = [(lane, min(_TOGETHER, width - lane)) for lane in range(0, width, _TOGETHER)]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, numbers, sums = (
            context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1, 5)
        )
        first, last, offset, sums_at = args[2], args[3], args[4], args[6]

        def vector(pointer: Any, lane: int, n: int, element: Any) -> Any:
            place = builder.gep(pointer, [ir.Constant(_I64, lane)])
            return builder.bitcast(place, ir.VectorType(element, n).as_pointer())

        sums = builder.gep(sums, [sums_at])
        held = [cgutils.alloca_once(builder, ir.VectorType(_I32, n)) for _, n in parts]
        for (lane, n), register in zip(parts, held, strict=True):
            builder.store(builder.load(vector(sums, lane, n, _I32), align=4), register)
        with cgutils.for_range_slice(builder, first, last, ir.Constant(_I64, 1)) as (j, _):
            code = builder.sext(builder.load(builder.gep(numbers, [j])), _I64)
            row = builder.gep(rows, [builder.mul(builder.add(code, offset), ir.Constant(_I64, width))])
            for (lane, n), register in zip(parts, held, strict=True):
                wide = builder.sext(builder.load(vector(row, lane, n, _I16), align=2), ir.VectorType(_I32, n))
                builder.store(builder.add(builder.load(register), wide), register)
        for (lane, n), register in zip(parts, held, strict=True):
            builder.store(builder.load(register), vector(sums, lane, n, _I32), align=4)
        return context.get_dummy_value()

    index = types.int64
    return types.none(table, codes, index, index, index, acc, index, shape), codegen


def _sum_rows_fit(
    table: Any, codes: Any, start: int, stop: int, base: int, acc: Any, at: int, shape: tuple[int, ...]
) -> bool:
    width = 8 * len(shape)
    fit = start >= stop or (start >= 0 and stop <= codes.size)
    for j in range(start, stop if fit else start):
        row = (codes[j] + base) * width
        fit = fit and row >= 0 and row + width <= table.size
    return fit and at >= 0 and at + width <= acc.size


sum_rows: Callable[..., None] = guarded(cast(Callable[..., None], _sum_rows), _sum_rows_fit)
"""``sum_rows(table int16, codes int32, start, stop, base, acc int32, at, shape)``, all arrays flat: adds to
``acc[at : at + width]``. Nothing is checked; see the module."""
