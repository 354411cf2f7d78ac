"""A product of things laid side by side, as the sum of their products.

    [a, b] @ w = a @ w[:len(a)] + b @ w[len(a):]

A cell is often written with one matrix for input and state, `concatenate([x, h]) @ w`, and a decoder hands its cell the
token and the context side by side. The whole product then depends on the state. Taken apart, the part of the input can
be computed for all steps at once, before the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from seq2seq.core._scan_split import Kind, kinds_of
from seq2seq.core.jaxprs import Env, apply, read, variables


class Side(NamedTuple):
    """The operand of a product that is laid side by side.

    Attributes:
        place: 0 if it is the left operand, 1 if the right one.
        axis: along which it is put together, which the product sums over.
        parts: adjacent values of one kind each.
    """

    place: int
    axis: int
    parts: list[list[Any]]


def taken_apart(closed: ClosedJaxpr, fixed_count: int, carry_count: int) -> ClosedJaxpr:
    """The step `closed`: (fixed, carry, streams) -> (carry, outputs), with products of mixed kinds taken apart.

    Example:
        >>> w = jnp.ones((5, 4))
        >>> step = jax.make_jaxpr(lambda h, x: jnp.concatenate([x, h], -1) @ w)(jnp.ones((2, 4)), jnp.ones((2, 1)))
        >>> [e.primitive.name for e in taken_apart(step, 0, 1).jaxpr.eqns if e.primitive.name in ("dot_general", "add")]
        ['dot_general', 'dot_general', 'add']
    """
    jaxpr = closed.jaxpr
    carry_end = fixed_count + carry_count
    kinds = kinds_of(
        jaxpr.eqns,
        (*jaxpr.constvars, *jaxpr.invars[:fixed_count]),
        jaxpr.invars[carry_end:],
        jaxpr.invars[fixed_count:carry_end],
    )
    made_by = {v: e for e in jaxpr.eqns for v in e.outvars}
    sides = {id(e): side for e in jaxpr.eqns if (side := _side(e, made_by, kinds)) is not None}
    if not sides:
        return closed

    def run(*values: Any) -> list[Any]:
        env: Env = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(jaxpr.invars, values, strict=True))
        for e in jaxpr.eqns:
            if id(e) in sides:
                env[e.outvars[0]] = _sum_of_products(e, sides[id(e)], env)
            else:
                env.update(zip(e.outvars, apply(e, [env[v] for v in variables(e.invars)]), strict=True))
        return [read(a, env) for a in jaxpr.outvars]

    avals: list[Any] = [v.aval for v in jaxpr.invars]
    return jax.make_jaxpr(run)(*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals))


def _side(equation: JaxprEqn, made_by: dict[Var, JaxprEqn], kinds: dict[Var, Kind]) -> Side | None:
    """The side of a product with a FIXED weight that is put together of values of several kinds."""
    if equation.primitive.name != "dot_general":
        return None
    contracted = equation.params["dimension_numbers"][0]
    for place, operand in enumerate(equation.invars):
        other, maker = equation.invars[1 - place], made_by.get(operand) if isinstance(operand, Var) else None
        fixed = not isinstance(other, Literal) and kinds[other] is Kind.FIXED
        if not fixed or maker is None or maker.primitive.name != "concatenate":
            continue
        axis = maker.params["dimension"]
        parts = [list(same) for _, same in groupby(maker.invars, lambda a: _kind(a, kinds))]
        if tuple(contracted[place]) == (axis,) and len(parts) > 1:
            return Side(place, axis, parts)
    return None


def _kind(atom: Var | Literal, kinds: dict[Var, Kind]) -> Kind:
    return Kind.FIXED if isinstance(atom, Literal) else kinds[atom]


def _sum_of_products(equation: JaxprEqn, side: Side, env: Env) -> Array:
    weight = read(equation.invars[1 - side.place], env)
    (weight_axis,) = equation.params["dimension_numbers"][0][1 - side.place]
    options = {name: equation.params[name] for name in ("dimension_numbers", "precision", "preferred_element_type")}
    result: Any = equation.outvars[0].aval
    if result.dtype == jnp.float16:  # of which a part may be too large where the sum is not
        options["preferred_element_type"] = jnp.float32
    total, start = None, 0
    for part in side.parts:
        value = _joined([read(a, env) for a in part], side.axis)
        stop = start + value.shape[side.axis]
        rows = lax.slice_in_dim(weight, start, stop, axis=weight_axis)
        product = lax.dot_general(*((rows, value) if side.place else (value, rows)), **options)
        total, start = product if total is None else total + product, stop
    return jnp.asarray(total, result.dtype)


def _joined(values: Sequence[Array], axis: int) -> Array:
    return values[0] if len(values) == 1 else lax.concatenate(values, axis)
