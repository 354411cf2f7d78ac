"""Reading and running jaxprs with the public `jax.extend` API only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun, jaxprs_in_params
from jax.sharding import AxisType

Env: TypeAlias = dict[Var, Any]
"""What each variable of a jaxpr stands for."""

_CALLS = {"jit", "pjit"}


def variables(atoms: Iterable[Any]) -> list[Var]:
    """The distinct variables among `atoms`, in order; literals are left out."""
    return list(dict.fromkeys(a for a in atoms if not isinstance(a, Literal)))


def inputs(equations: Iterable[JaxprEqn]) -> set[Var]:
    """Every variable that some of `equations` reads."""
    return {v for e in equations for v in variables(e.invars)}


def defined(equations: Iterable[JaxprEqn]) -> list[Var]:
    """Every variable that `equations` write, in order."""
    return [v for e in equations for v in e.outvars]


def ancestors(equations: Sequence[JaxprEqn], wanted: Iterable[Var]) -> list[JaxprEqn]:
    """Those of `equations` on which `wanted` depends or that have effects, in order."""
    needed, found = set(wanted), []
    for e in reversed(equations):
        if e.effects or not needed.isdisjoint(e.outvars):
            found.append(e)
            needed |= set(variables(e.invars))
    return found[::-1]


def byte_count(atoms: Iterable[Any]) -> int:
    """The bytes that the values of `atoms` take."""
    return sum(value_bytes(a.aval) for a in atoms)


def value_bytes(aval: Any) -> int:
    """The bytes that a value of a type takes."""
    return prod(aval.shape) * _item_bytes(aval.dtype)


def zeros(variable: Any, *leading: int) -> Array:
    """Zeros of the type of `variable`, with more axes in front."""
    return jax.numpy.zeros((*leading, *variable.aval.shape), variable.aval.dtype)


def same_shape(a: Any, b: Any) -> bool:
    """Whether two atoms have the same shape."""
    return a.aval.shape == b.aval.shape


def has_known_shape(atom: Any) -> bool:
    """Whether every size of `atom` is a number, and no symbol of `jax.export`."""
    return all(isinstance(size, int) for size in atom.aval.shape)


def is_laid_out(atom: Any) -> bool:
    """Whether `atom` is a device's own part of an array (`jax.shard_map`), or has an axis along an explicit one of a
    mesh."""
    mine = getattr(getattr(atom.aval, "manual_axis_type", None), "varying", ())
    mesh = getattr(getattr(atom.aval, "sharding", None), "mesh", None)
    return bool(mine) or AxisType.Explicit in getattr(mesh, "axis_types", ())


def is_float(atom: Any) -> bool:
    """Whether `atom` has a derivative: a real or complex floating type."""
    return bool(jax.numpy.issubdtype(atom.aval.dtype, jax.numpy.inexact))


def is_complex(atom: Any) -> bool:
    """Whether `atom` is of complex numbers."""
    return bool(jax.numpy.issubdtype(atom.aval.dtype, jax.numpy.complexfloating))


def primitives(equation: JaxprEqn) -> Iterator[str]:
    """The names of the primitive of `equation` and of all that its inner jaxprs use."""
    yield equation.primitive.name
    for inner in jaxprs_in_params(equation.params):
        for e in getattr(inner, "jaxpr", inner).eqns:
            yield from primitives(e)


def apply(equation: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    """The outputs of one equation, given a value for each of its distinct input variables."""
    # A jaxpr of one equation: how a primitive is bound differs between versions of JAX, running a jaxpr does not.
    arguments = variables(equation.invars)
    label = DebugInfo("scan", "step", ("",) * len(arguments), ("",) * len(equation.outvars))
    one = Jaxpr((), arguments, equation.outvars, [equation], debug_info=label)
    return list(jaxpr_as_fun(ClosedJaxpr(one, ()))(*values))


def run(equations: Iterable[JaxprEqn], env: Env) -> None:
    """Run `equations` in order, reading from `env` and writing their outputs to it."""
    for e in equations:
        env.update(zip(e.outvars, apply(e, [env[v] for v in variables(e.invars)]), strict=True))


def read(atom: Any, env: Env) -> Any:
    """The value of a variable in `env`, or of a literal."""
    if not isinstance(atom, Literal):
        return env[atom]
    aval: Any = atom.aval
    return jax.numpy.asarray(atom.val, aval.dtype)


def inlined(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same program without inner `jit` calls, so that every product is in plain sight.

    Example:
        >>> closed = jax.make_jaxpr(jax.jit(jax.numpy.sin))(1.0)
        >>> [e.primitive.name for e in inlined(closed).jaxpr.eqns]
        ['sin']
    """
    avals: list[Any] = [v.aval for v in closed.jaxpr.invars]
    arguments = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    return jax.make_jaxpr(lambda *values: _run_inlined(closed, values))(*arguments)


def _run_inlined(closed: ClosedJaxpr, values: Sequence[Any]) -> list[Any]:
    env: Env = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    env.update(zip(closed.jaxpr.invars, values, strict=True))
    for e in closed.jaxpr.eqns:
        if e.primitive.name in _CALLS:
            outputs = _run_inlined(e.params["jaxpr"], [read(a, env) for a in e.invars])
        else:
            outputs = apply(e, [env[v] for v in variables(e.invars)])
        env.update(zip(e.outvars, outputs, strict=True))
    return [read(a, env) for a in closed.jaxpr.outvars]


def _item_bytes(dtype: Any) -> int:
    return dtype.itemsize if isinstance(dtype, np.dtype) else 8  # a typed key has no NumPy type
