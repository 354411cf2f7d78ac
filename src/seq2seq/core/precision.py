"""Precision has one mechanism: the matrix products of a traced program are computed in fewer bits, and nothing else.

Parameters, states, softmax and sums stay float32. `bfloat16_products` rewrites a function, a model's gradient above
all; `seq2seq.search.PreparedModel` rewrites the steps of a search, there in 8 bits too. A user's `x @ self.u` obeys
both. (`jax.default_matmul_precision` changes nothing on the CPU.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Literal, ParamSpec, TypeAlias, TypeVar

import jax

from seq2seq.core.rewriting import Products, evaluate
from seq2seq.errors import ConfigError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

Resolved: TypeAlias = Literal["float32", "bfloat16"]
"""What products are computed in."""
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
"""What products are computed in; auto is bfloat16 where the processor multiplies it faster, float32 elsewhere."""

_UNITS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What Linux calls the units for bfloat16 products, of x86 and of ARM."""
_CPU_INFO = Path("/proc/cpuinfo")


def bfloat16_products(f: Callable[P, R]) -> Callable[P, R]:
    """`f` with every float32 matrix product computed from operands rounded to bfloat16, summed in float32.

    y[m, n] = sum over k of bfloat16(left[m, k]) * bfloat16(right[k, n]), the sum in float32

    Inner programs are included: jit, scan, while_loop, cond, custom derivatives, checkpoint. Everything else, arguments
    and results too, stays in its type, and so do products of integers and of float64. A weight of a loop is rounded and
    transposed once, before it.

    To be applied around a gradient, not under one: the custom derivative rules of what is in `f` have done their work
    and are left out, and of `jax.checkpoint` only this is kept, that what it computes again is computed again.

    Args:
        f: any function of pytrees of arrays, as `jax.jit` takes it.

    Returns:
        A function of the same arguments and results; use it under `jax.jit`.

    Example:
        >>> import jax.numpy as jnp
        >>> x, y = jnp.array([[1.001]]), jnp.array([[3.0]])
        >>> round((x @ y).item(), 5), bfloat16_products(jnp.matmul)(x, y).item()
        (3.003, 3.0)
    """

    @wraps(f)
    def rewritten(*args: P.args, **kwargs: P.kwargs) -> R:
        closed, result = jax.make_jaxpr(f, return_shape=True)(*args, **kwargs)
        values = jax.tree.leaves((args, kwargs))
        outputs = evaluate(closed, values, [False] * len(values), Products(bfloat16=True))
        return jax.tree.unflatten(jax.tree.structure(result), outputs)

    return rewritten


def in_precision(f: Callable[P, R], precision: Precision) -> Callable[P, R]:
    """`f` with its products in this precision; those in float32 as `jax.default_matmul_precision` has them, which on a
    GPU may be TF32.

    Example:
        >>> in_precision(abs, "float32") is abs
        True
    """
    return bfloat16_products(f) if resolve(precision) == "bfloat16" else f


def resolve(precision: Precision) -> Resolved:
    """What `precision` is on this machine.

    `auto` is bfloat16 on a GPU or TPU, and on a CPU with a unit for it (AVX-512 BF16, AMX, ARM's BF16) as far as Linux
    tells; otherwise float32.

    Raises:
        ConfigError: there is no such precision.

    Example:
        >>> resolve("bfloat16")
        'bfloat16'
    """
    match precision:
        case "float32" | "bfloat16":
            return precision
        case "auto":
            return "bfloat16" if jax.default_backend() in ("gpu", "tpu") or _has_unit() else "float32"
    known = ("auto", "float32", "bfloat16")
    raise ConfigError(f"precision is {precision!r}; {did_you_mean(str(precision), known)}")


def _has_unit() -> bool:
    return not _UNITS.isdisjoint(processor_features().split())


def processor_features() -> str:
    """The line of Linux that says what this machine's processor can do; "" where it cannot be read."""
    try:
        lines = _CPU_INFO.read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
