"""The matrix products of a program: which they are, what each takes alone, and the sum, which is a floor.

`products` reads a jaxpr as JAX hands it to XLA. A product of the same shapes, types and contracted axes (so the same
layout) is one entry with a count; those in a loop count once a step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal, Var, jaxprs_in_params

from benchmarks.timing import Clocked, interleaved

_CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"}
_RUN_FLOPS = 1e9  # of a product in one measurement, so that its call weighs nothing


Types: TypeAlias = tuple[str, str, str]
FLOAT32: Types = ("float32", "float32", "float32")


class Product(NamedTuple):
    """One `dot_general`.

    Attributes:
        left: the shape of the left operand.
        right: the shape of the right operand.
        axes: `dimension_numbers`: ((contracted left, right), (batch left, right)).
        types: the names of the types of left, right and result.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    axes: Any
    types: Types = FLOAT32

    @property
    def flops(self) -> int:
        """Operations, 2 for each multiplication.

        Example:
            >>> matmul(2, 3, 4).flops == 2 * 2 * 3 * 4
            True
        """
        shared = (*self.axes[0][1], *self.axes[1][1])  # axes of the right operand that the left one has too
        wide = [size for axis, size in enumerate(self.right) if axis not in shared]
        return 2 * math.prod(self.left) * math.prod(wide)

    def program(self) -> Callable[[], Any]:
        """A program that makes this product `repeats` times, one after another; nothing else in it takes time."""
        keys = jax.random.split(jax.random.key(0))
        left, right = (_random(k, shape, kind) for k, shape, kind in zip(keys, self[:2], self.types[:2], strict=True))
        result = jnp.dtype(self.types[2])

        def once(left: Any, right: Any) -> Any:
            return lax.dot_general(left, right, self.axes, preferred_element_type=result)

        def run(left: Any, right: Any) -> Any:
            def again(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
                # One number of each result goes into the next operand: otherwise XLA would make the product only once.
                made = once(carry[0], right)
                number = jnp.clip(made.ravel()[0], -1, 1).astype(left.dtype).reshape((1,) * left.ndim)
                return lax.dynamic_update_slice(carry[0], number, (0,) * left.ndim), made

            return lax.fori_loop(0, self.repeats, again, (left, jnp.zeros_like(once(left, right))))[1]

        compiled = jax.jit(once if self.repeats == 1 else run)
        return lambda: compiled(left, right)

    @property
    def repeats(self) -> int:
        """How many products one run of `program` makes."""
        return max(1, min(200, round(_RUN_FLOPS / self.flops)))


def matmul(rows: int, inner: int, columns: int, types: Types = FLOAT32) -> Product:
    """(rows, inner) @ (inner, columns)."""
    return Product((rows, inner), (inner, columns), (((1,), (0,)), ((), ())), types)


def products(f: Callable[..., Any], *args: Any) -> Counter[Product]:
    """Every product that `f(*args)` needs, with its count; of a conditional each branch counts, a `while` loop once.

    Example:
        >>> step = lambda h, x: (h @ jnp.ones((4, 5)) @ jnp.ones((5, 4)) + x, None)
        >>> found = products(lambda xs: jax.lax.scan(step, xs[0], xs)[0], jnp.ones((10, 3, 4)))
        >>> found == {matmul(3, 4, 5): 10, matmul(3, 5, 4): 10}
        True
    """
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    return _walk(jaxpr, [True] * len(jaxpr.outvars))


def flops(counts: Mapping[Product, int]) -> int:
    """The operations of all."""
    return sum(count * product.flops for product, count in counts.items())


def without_recomputation(whole: Mapping[Product, int], forward: Mapping[Product, int]) -> Counter[Product]:
    """The products of a program of forward and backward pass, each of the forward pass as often as that needs it."""
    return Counter({p: min(count, forward[p]) if p in forward else count for p, count in whole.items()})


def milliseconds(kinds: Iterable[Product], rounds: int) -> dict[Product, float]:
    """The median time of each kind of product, alone, all taking turns."""
    named = {str(product): product for product in kinds}
    found = interleaved({name: Clocked(product.program()) for name, product in named.items()}, rounds)
    return {product: found.median(name) / product.repeats for name, product in named.items()}


def total(counts: Mapping[Product, int], each: Mapping[Product, float]) -> float:
    """The sum of all products, in milliseconds, for what `each` takes."""
    return sum(count * each[product] for product, count in counts.items())


def _random(key: Any, shape: tuple[int, ...], kind: str) -> Any:
    if jnp.issubdtype(jnp.dtype(kind), jnp.integer):
        return jax.random.randint(key, shape, -100, 100, jnp.dtype(kind))
    return jax.random.normal(key, shape).astype(kind)


def _walk(jaxpr: Any, wanted: list[bool]) -> Counter[Product]:
    """The products behind the outputs that are `wanted`: what nothing reads, XLA leaves out."""
    found: Counter[Product] = Counter()
    read = {v for v, is_wanted in zip(jaxpr.outvars, wanted, strict=True) if is_wanted and not isinstance(v, Literal)}
    for equation in reversed(jaxpr.eqns):
        if not (equation.effects or any(v in read for v in equation.outvars)):
            continue
        read.update(v for v in equation.invars if isinstance(v, Var))
        if equation.primitive.name == "dot_general":
            found[_product(equation)] += 1
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for closed in jaxprs_in_params(equation.params):
            inner = getattr(closed, "jaxpr", closed)
            for product, count in _walk(inner, _wanted(equation, inner, read)).items():
                found[product] += times * count
    return found


def _wanted(equation: Any, inner: Any, read: set[Any]) -> list[bool]:
    """Which outputs of an inner jaxpr are read, as far as that is plain to see."""
    name = equation.primitive.name
    if (name not in _CALLS and name != "scan") or len(inner.outvars) != len(equation.outvars):
        return [True] * len(inner.outvars)
    pairs = list(zip(inner.outvars, equation.outvars, strict=True))
    # What a scan carries has the same shape inside and outside, and the next step reads it.
    return [outer in read or (name == "scan" and own.aval.shape == outer.aval.shape) for own, outer in pairs]


def _product(equation: Any) -> Product:
    left, right, out = (*equation.invars, *equation.outvars)
    contracted, batched = equation.params["dimension_numbers"]
    axes = tuple(tuple(tuple(side) for side in pair) for pair in (contracted, batched))
    types = (str(left.aval.dtype), str(right.aval.dtype), str(out.aval.dtype))
    return Product(left.aval.shape, right.aval.shape, axes, types)
