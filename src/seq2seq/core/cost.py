"""What a computation will cost, found by tracing it: nothing is computed and nothing compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params


def product_flops(f: Callable[..., Any], *args: Any) -> int:
    """The floating-point operations of all matrix products in `f(*args)`: 2 for each multiplication.

    A loop's products count once for each step; of the branches of a conditional each counts.

    Example:
        >>> import jax.numpy as jnp
        >>> step = lambda h, x: (h @ jnp.ones((4, 4)) + x, None)
        >>> product_flops(lambda xs: jax.lax.scan(step, xs[0], xs), jnp.ones((10, 3, 4))) == 10 * 2 * 3 * 4 * 4
        True
    """
    return _flops(jax.make_jaxpr(f)(*args).jaxpr)


def residual_bytes(f: Callable[..., Any], x: Any, *others: Any) -> int:
    """The bytes that the forward pass of `f(x, *others)` leaves for the gradient with respect to x, x among them.

    Example:
        >>> import jax.numpy as jnp
        >>> residual_bytes(lambda x: jnp.sin(x).sum(), jnp.ones(100))
        400
    """
    pullback = jax.eval_shape(lambda x, *others: jax.vjp(lambda x: f(x, *others), x)[1], x, *others)
    return tree_bytes(pullback)


def tree_bytes(tree: Any) -> int:
    """The bytes of all leaves.

    Example:
        >>> import jax.numpy as jnp
        >>> tree_bytes({"w": jnp.ones((2, 3))})
        24
    """
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(_flops(getattr(inner, "jaxpr", inner)) for inner in jaxprs_in_params(equation.params))
    return total
