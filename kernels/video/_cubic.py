"""Cubic interpolation of pictures of two channels, one pixel at a time, eight lanes side by side.

Keys' kernel with A = -0.75 ("Cubic convolution interpolation", 1981), as OpenCV has it: at the fraction f between the
second and the third of four samples their weights are, in Horner's order,

    (-.75, 1.25, -1.25, .75) f^3 + (1.5, -2.25, 1.5, -.75) f^2 + (-.75, 0, .75, 0) f + (0, 1, 0, 0)

All in float32 without fused operations, so that every processor gives the same; the plain twin is in
:mod:`tests.reference.warp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels._jit import guarded

_HORNER = (
    (-0.75, 1.25, -1.25, 0.75),
    (1.5, -2.25, 1.5, -0.75),
    (-0.75, 0.0, 0.75, 0.0),
    (0.0, 1.0, 0.0, 0.0),
)
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def _floats(n: int) -> Any:
    return ir.VectorType(_F32, n)


def _lanes(builder: Any, vector: Any, lanes: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _weights(builder: Any, fraction: Any, channels: int) -> Any:
    """The four weights at a fraction, each as often as there are channels."""
    n = 4 * channels
    one = builder.insert_element(ir.Constant(_floats(n), ir.Undefined), fraction, ir.Constant(_I32, 0))
    f = _lanes(builder, one, [0] * n)
    first, *rest = (ir.Constant(_floats(n), [c for c in row for _ in range(channels)]) for row in _HORNER)
    total = first
    for coefficients in rest:
        total = builder.fadd(builder.fmul(total, f), coefficients)
    return total


@intrinsic
def _cubic(_: Any, picture: Any, first: Any, stride: Any, fx: Any, fy: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        data = context.make_array(signature.args[0])(context, b, args[0]).data
        along, down = _weights(b, args[3], 2), _weights(b, args[4], 1)
        rows = list[Any]()
        for i in range(4):
            place = b.gep(data, [b.add(args[1], b.mul(args[2], ir.Constant(_I64, i)))])
            row = b.load(b.bitcast(place, _floats(8).as_pointer()), align=4)
            rows.append(b.fmul(_lanes(b, down, [i] * 8), row))
        column = b.fadd(b.fadd(rows[0], rows[1]), b.fadd(rows[2], rows[3]))
        eight = b.fmul(column, along)
        four = b.fadd(_lanes(b, eight, [0, 1, 2, 3]), _lanes(b, eight, [4, 5, 6, 7]))
        two = b.fadd(_lanes(b, four, [0, 1]), _lanes(b, four, [2, 3]))
        both = [b.extract_element(two, ir.Constant(_I32, i)) for i in range(2)]
        return context.make_tuple(b, signature.return_type, both)

    f32, i64 = types.float32, types.int64
    return types.UniTuple(f32, 2)(picture, i64, i64, f32, f32), codegen


def _cubic_fits(picture: Any, first: int, stride: int, fx: float, fy: float) -> bool:
    return first >= 0 and stride >= 0 and first + 3 * stride + 8 <= picture.size


cubic: Callable[..., tuple[Any, Any]] = guarded(cast(Callable[..., Any], _cubic), _cubic_fits)
"""``cubic(picture float32, first, stride, fx, fy)``: both channels of a picture that is one row of numbers, pixel by
pixel, between the 4 x 4 pixels whose first number is ``first`` and whose rows are ``stride`` numbers apart, at the
fractions ``fx`` and ``fy`` between the second and the third of them."""
