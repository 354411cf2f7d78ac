"""One matrix product in fewer bits: its operands made ready, and the product of what was made ready.

Each operand is made ready by itself, so that one that stays the same (a weight) can be made ready once. Axes come in
canonical order, left (batch, free, contracted) and right (batch, contracted, free), row-major: the only order for which
XLA's kernels on the CPU take bfloat16 and int8. (jaxlib 0.10 even compiles others that then fail to run.) There a
transpose of an operand stands before a barrier and one of the result behind another, which keep XLA from folding them
into the product; a transpose of two axes it folds all the same, and multiplies in float32, unless a third axis, of size
1, hides which transpose it is. Elsewhere operands are transposed behind the barrier, since other kernels read them as
they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import JaxprEqn

BARRIER = "optimization_barrier"
"""The primitive from which every operand that was made ready comes."""
_UNIT = 1 / 127  # a factor, since XLA divides by a constant now exactly and now by multiplying


class Side(NamedTuple):
    """The axes of one operand of a product; `left` says which."""

    batch: tuple[int, ...]
    free: tuple[int, ...]
    contracted: tuple[int, ...]
    left: bool

    @property
    def order(self) -> tuple[int, ...]:
        """The axes in canonical order."""
        return self.batch + (self.free + self.contracted if self.left else self.contracted + self.free)


class Quantised(NamedTuple):
    """An operand x in 8 bits: x is about values * scale.

    Attributes:
        values: int8 in canonical order.
        scale: (batch, free), float32: one for each row of a left operand, for each column of a right one.
    """

    values: Array
    scale: Array


def is_float32_product(equation: JaxprEqn) -> bool:
    """Whether `equation` is a dot_general of float32 operands with a float32 result."""
    avals: list[Any] = [atom.aval for atom in (*equation.invars, *equation.outvars)]
    return equation.primitive.name == "dot_general" and all(aval.dtype == jnp.float32 for aval in avals)


def sides(equation: JaxprEqn) -> tuple[Side, Side]:
    """The axes of the two operands of a dot_general."""
    contracted, batch = equation.params["dimension_numbers"]
    avals: list[Any] = [atom.aval for atom in equation.invars]
    left, right = (
        Side(
            batch=tuple(batch[i]),
            free=tuple(axis for axis in range(aval.ndim) if axis not in (*batch[i], *contracted[i])),
            contracted=tuple(contracted[i]),
            left=i == 0,
        )
        for i, aval in enumerate(avals)
    )
    return left, right


def rounded(x: Array, side: Side) -> Array:
    """x in bfloat16, in canonical order."""
    return _ready(lax.convert_element_type(x, jnp.bfloat16), side)


def quantised(x: Array, side: Side) -> Quantised:
    """x in 8 bits, symmetrically, over the contracted axes: scale = max |x| * (1 / 127), values = round(x / scale)."""
    axes = side.contracted
    scale = lax.expand_dims(lax.reduce_max(lax.abs(x), axes) * _UNIT, sorted(axes))
    # Where all is 0 so is the scale, and every value; NaN stays in the scale.
    values = lax.round(x / jnp.where(scale > 0, scale, 1.0), lax.RoundingMethod.TO_NEAREST_EVEN)
    rows = lax.transpose(scale, side.order).reshape([x.shape[axis] for axis in side.batch + side.free])
    ready = _ready(lax.convert_element_type(values, jnp.int8), side)
    return Quantised(ready, lax.optimization_barrier(rows))


def product(left: Any, right: Any, of: tuple[Side, Side]) -> Array:
    """The product of two operands that were made ready alike, in float32."""
    if isinstance(left, Quantised):
        total = lax.convert_element_type(_dot(left.values, right.values, of, jnp.int32), jnp.float32)
        rows = lax.expand_dims(left.scale, range(left.scale.ndim, total.ndim))
        at = len(of[1].batch)
        columns = lax.expand_dims(right.scale, range(at, at + total.ndim - right.scale.ndim))
        return total * rows * columns
    return _dot(left, right, of, jnp.float32)


def turned(of: tuple[Side, Side]) -> tuple[Side, Side]:
    """The sides of the product with its operands exchanged: the same but for the order of the axes in its result."""
    left, right = of
    return right._replace(left=True), left._replace(left=False)


def turns(of: tuple[Side, Side], permutation: tuple[int, ...]) -> bool:
    """Whether a transpose by `permutation` makes of the product that of its operands exchanged."""
    batch, left, right = len(of[0].batch), len(of[0].free), len(of[1].free)
    axes = list(range(batch + left + right))
    return list(permutation) == axes[:batch] + axes[batch + left :] + axes[batch : batch + left]


def _dot(left: Array, right: Array, of: tuple[Side, Side], result: Any) -> Array:
    batch, contracted = len(of[0].batch), len(of[0].contracted)
    inner = tuple(range(left.ndim - contracted, left.ndim)), tuple(range(batch, batch + contracted))
    outer = tuple(range(batch))
    y = lax.dot_general(left, right, (inner, (outer, outer)), preferred_element_type=result)
    return lax.optimization_barrier(y) if _on_cpu() else y


def _ready(x: Array, side: Side) -> Array:
    if side.order == tuple(range(x.ndim)):
        return lax.optimization_barrier(x)
    if not _on_cpu():
        return lax.transpose(lax.optimization_barrier(x), side.order)
    if x.ndim > 2:
        return lax.optimization_barrier(lax.transpose(x, side.order))
    disguised = lax.transpose(lax.expand_dims(x, [1]), (2, 1, 0))
    return lax.squeeze(lax.optimization_barrier(disguised), [1])


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
