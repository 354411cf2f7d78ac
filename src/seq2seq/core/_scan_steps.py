"""Equations of one step, run for many steps at once.

`jax.vmap` would do, but for products it keeps the axes (time, batch, input) apart. In the gradient of a weight these
are summed over both time and batch, and XLA's CPU compiler then first writes a transposed copy of the larger operand.
With steps and rows as one axis it needs none: the gradient is one product of two matrices as they lie in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jax.extend.core import JaxprEqn, Var

from seq2seq.core.jaxprs import Env, apply, variables


def run_step(equations: Iterable[JaxprEqn], env: Env, mapped: Iterable[Var]) -> None:
    """As `jaxprs.run`, where `jax.vmap` maps the `mapped` variables; products lay steps and rows along one axis."""
    mapped = set(mapped)
    for e in equations:
        read = variables(e.invars)
        values = [env[v] for v in read]
        outputs = [_product(e)(*values)] if _is_row_product(e) and read[0] in mapped else apply(e, values)
        env.update(zip(e.outvars, outputs, strict=True))
        if not mapped.isdisjoint(read):
            mapped |= set(e.outvars)


def _is_row_product(equation: JaxprEqn) -> bool:
    """Whether it is rows @ weight: the last axis of the left operand is summed over, and the right one is a matrix."""
    if equation.primitive.name != "dot_general" or len(variables(equation.invars)) != 2:
        return False
    (left, right), batch = equation.params["dimension_numbers"]
    rows, weight = (getattr(v.aval, "shape", ()) for v in equation.invars)
    last = len(rows) - 1
    return batch == ((), ()) and tuple(left) == (last,) and len(right) == 1 and len(weight) == 2 and last > 0


def _product(equation: JaxprEqn) -> Callable[[Array, Array], Array]:
    _, right = equation.params["dimension_numbers"][0]
    options = {name: equation.params[name] for name in ("precision", "preferred_element_type")}

    @custom_vmap
    def product(rows: Array, weight: Array) -> Array:
        return apply(equation, [rows, weight])[0]

    @product.def_vmap
    def _(steps: int, batched: Sequence[bool], rows: Array, weight: Array) -> tuple[Array, bool]:
        if batched[1]:
            both = jax.vmap(lambda *two: apply(equation, two)[0], [0 if one else None for one in batched])
            return both(rows, weight), True
        flat = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
        result: Any = lax.dot_general(flat, weight, (((1,), tuple(right)), ((), ())), **options)
        return result.reshape(*rows.shape[:-1], result.shape[-1]), True

    return product
