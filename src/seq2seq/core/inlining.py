"""A traced program evaluated equation by equation, its calls inlined: what every rewriting of a program starts from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from seq2seq.core.jaxprs import Env, read

Scope = TypeVar("Scope")

_CALLS = frozenset(
    """checkpoint closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit pjit remat
    remat2""".split()  # noqa: SIM905
)


class Evaluation(ABC, Generic[Scope]):
    """How to evaluate a program otherwise than it is written.

    Calls (jit, custom derivatives, remat) are inlined; every other equation is the subclass's. Along with the values
    it is followed which of them depend on nothing but weights.
    """

    @abstractmethod
    def enter(self, jaxpr: Jaxpr, env: Env) -> Scope:
        """What to know of a program while it is evaluated; `env` holds the values so far."""

    @abstractmethod
    def equation(self, equation: JaxprEqn, scope: Scope, still: list[bool]) -> list[Any]:
        """The outputs of one equation; `still` tells which of its inputs depend on nothing but weights."""

    def call(self, closed: ClosedJaxpr, values: Sequence[Any], weights: Sequence[bool]) -> tuple[list[Any], list[bool]]:
        """The outputs, and which of them depend on nothing but weights."""
        jaxpr = closed.jaxpr
        env: Env = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(jaxpr.invars, values, strict=True))
        fixed = {v for v, weight in zip(jaxpr.invars, weights, strict=True) if weight} | set(jaxpr.constvars)
        scope = self.enter(jaxpr, env)
        for e in jaxpr.eqns:
            still = [isinstance(a, Literal) or a in fixed for a in e.invars]
            if e.primitive.name in _CALLS:
                outputs, kept = self._inline(e, [read(a, env) for a in e.invars], still)
            else:
                outputs = self.equation(e, scope, still)
                kept = [all(still) and not e.effects] * len(outputs)
            env.update(zip(e.outvars, outputs, strict=True))
            fixed |= {v for v, keeps in zip(e.outvars, kept, strict=True) if keeps}
        outputs = jaxpr.outvars
        return [read(a, env) for a in outputs], [isinstance(a, Literal) or a in fixed for a in outputs]

    def _inline(self, equation: JaxprEqn, values: list[Any], still: list[bool]) -> tuple[list[Any], list[bool]]:
        params = equation.params
        inner: Any = next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)
        closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
        again = params.get("differentiated") and any(jax.tree.leaves(params.get("prevent_cse")))
        return self.call(closed, _apart(values, still) if again else values, still)


def _apart(values: list[Any], still: list[bool]) -> list[Any]:
    """What `jax.checkpoint` does, so that what is computed again is not merged with what was computed before."""
    changing = iter(lax.optimization_barrier([x for x, weight in zip(values, still, strict=True) if not weight]))
    return [x if weight else next(changing) for x, weight in zip(values, still, strict=True)]
