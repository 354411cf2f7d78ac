"""The loop of a split step, with the derivative that forms each weight's gradient in one product.

The derivative of `y[t] = other[t] @ w` is `other'[t] @ w + other[t] @ w'`. The first term belongs to the loop. The
second is known for all steps once the loop has run, and is computed for all of them at once, outside: it enters the
linear loop as one more input (a *push* on y, at a *tap*). Transposed by `jax.grad`, the linear loop returns the
cotangents of the pushes for all steps, and the product for all steps becomes that of the weight's gradient. Because
this is a rule of forward mode (`jax.custom_jvp`), everything else follows: jvp, hessian, vmap, remat, grad of grad.

Of each step the linear loop keeps what is dear to compute (products, exponentials) and not very wide, and computes
the rest again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax import Array, lax
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import JaxprEqn, Var

from seq2seq.core._scan_split import PRODUCTS, Split
from seq2seq.core._scan_steps import run_step
from seq2seq.core._scan_taps import WIDEST, Pieces, Tap, Taps
from seq2seq.core.jaxprs import (
    Env,
    apply,
    byte_count,
    defined,
    inputs,
    is_complex,
    primitives,
    read,
    run,
    value_bytes,
    variables,
    zeros,
)

_CHEAP = frozenset(
    """abs add add_any and broadcast_in_dim convert_element_type copy copy_p div eq expand_dims ge gt integer_pow le lt
    max min mul ne neg not or reshape select_n sign square squeeze stop_gradient sub""".split()  # noqa: SIM905
)
_CHECKPOINTS = frozenset({"checkpoint", "remat", "remat2"})


@dataclass(frozen=True)
class Loop:
    """The loop of `parts` over `steps` steps."""

    parts: Split
    steps: int
    reverse: bool
    unroll: int | bool

    def __call__(self, known: Env, carry: Sequence[Any]) -> tuple[list[Array], Env]:
        """The last carry, and the values of all steps that the loop emits, given `known` values and the first carry."""
        call = jax.custom_jvp(lambda *values: self._scan(self._env(values), {}, {}, [])[0])
        call.defjvp(self._jvp, symbolic_zeros=True)
        last, emitted = call(*(known[v] for v in self.parts.loop_reads), *carry)
        return last, dict(zip(self.parts.emitted, emitted, strict=True))

    @cached_property
    def _recomputes(self) -> bool:
        """Whether the loop decides what is kept of a step. Not where the step has a `jax.checkpoint` of its own, into
        which the decision would reach; nor for complex numbers, of which `jax.checkpoint` cannot keep any."""
        checkpoints = any(not _CHECKPOINTS.isdisjoint(primitives(e)) for e in self.parts.loop)
        return not checkpoints and not any(map(is_complex, (*inputs(self.parts.loop), *defined(self.parts.loop))))

    @cached_property
    def _taps(self) -> Taps:
        return Taps(self.parts)

    def _env(self, values: Sequence[Any]) -> Env:
        return dict(zip((*self.parts.loop_reads, *self.parts.carry), values, strict=True))

    def _scan(self, values: Env, frozen: Env, pushes: Env, kept: Sequence[Var]) -> tuple[Any, list[Array]]:
        """Run the loop: ((last carry, emitted values), the values of `kept`).

        Products that have a tap in `pushes` take their weight from `frozen`.
        """
        parts = self.parts
        stacked = [v for v in values if v in parts.stacked]
        weights = {id(t.equation): {t.weight: frozen[t.weight]} for t in self._taps.all if t.weight in frozen}

        def body(carry: list[Array], now: tuple[list[Array], list[Array]]) -> Any:
            env = values | dict(zip(stacked, now[0], strict=True)) | dict(zip(parts.carry, carry, strict=True))
            push = dict(zip(pushes, now[1], strict=True))
            for e in parts.loop:
                seen = env | weights.get(id(e), {})
                outputs = apply(e, [seen[v] for v in variables(e.invars)])
                env.update((v, _tap(y, push[v]) if v in push else y) for v, y in zip(e.outvars, outputs, strict=True))
            emitted = [env[v] for v in parts.emitted]
            return [read(a, env) for a in parts.carry_out], (emitted, [env[v] for v in kept])

        if weights and self._recomputes:
            body = jax.checkpoint(body, prevent_cse=False, policy=self._keeps)
        xs = ([values[v] for v in stacked], list(pushes.values()))
        first = [values[v] for v in parts.carry]
        last, (emitted, stacks) = lax.scan(body, first, xs, self.steps, self.reverse, self.unroll)
        return (last, emitted), stacks

    def _jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        values = self._env(primals)
        moving = {v: t for v, t in self._env(tangents).items() if not isinstance(t, SymbolicZero)}
        taps = [t for t in self._taps.all if t.weight in moving]
        frozen = {t.weight: values[t.weight] for t in taps}
        own, shared = self._entrances(taps)
        moved = [v for v in values if v in shared or (v in moving and self._moves(v, taps))]
        kept = [v for v in dict.fromkeys(t.other for t in taps) if v not in self._next]

        def tapped(at: list[Any], pushes: list[Any]) -> Any:
            now = values | dict(zip(moved, at, strict=True))
            return self._scan(now, frozen, dict(zip(own, pushes, strict=True)), kept)

        at_rest = [zeros(v, self.steps) for v in own]
        outputs, linear, stacks = jax.linearize(tapped, [values[v] for v in moved], at_rest, has_aux=True)
        others = dict(zip(kept, stacks, strict=True)) | self._shifted(values, outputs[1])
        pushes = self._pushes(taps, values | moving, others)
        dots = [_sum(moving.get(v), self._joined(shared[v], values, pushes) if v in shared else None) for v in moved]
        return outputs, linear(dots, [pushes[v] for v in own])

    def _entrances(self, taps: Sequence[Tap]) -> tuple[list[Var], dict[Var, Pieces]]:
        """Where pushes enter: leaves of their own, and streams shared with others."""
        partners = [v for t in taps for v in t.partners if v is not None]
        own = [leaf for t in taps for leaf, v in zip(t.pieces.leaves, t.partners, strict=True) if v is None]
        return own, {(p := self._taps.stream_of[v]).whole: p for v in partners}

    def _keeps(self, primitive: Any, *operands: Any, **_: Any) -> bool:
        """Whether a result is kept for the backward pass: not what is cheap to compute, nor what is very wide.

        What additive attention makes of every pair of source and target position is many times as wide as any product
        of the loop: kept for all steps it would be most of the memory, and to compute it again takes a few percent.
        """
        wide = max(map(value_bytes, operands), default=0) > WIDEST * self._widest_product
        return primitive.name not in _CHEAP and (primitive.name in PRODUCTS or not wide)

    @cached_property
    def _widest_product(self) -> int:
        return max((byte_count(t.equation.outvars) for t in self._taps.all), default=0)

    @cached_property
    def _next(self) -> dict[Var, Var]:
        """The states whose next value is emitted: their values of all steps are those, shifted by one step."""
        pairs = zip(self.parts.carry, self.parts.carry_out, strict=True)
        return {v: after for v, after in pairs if after in self.parts.emitted and v not in self.parts.emitted}

    def _shifted(self, values: Env, emitted: Sequence[Array]) -> Env:
        shifted: Env = {}
        for v, after in self._next.items():
            first, rest = values[v][None], emitted[self.parts.emitted.index(after)]
            shifted[v] = jnp.concatenate([rest[1:], first] if self.reverse else [first, rest[:-1]])
        return shifted

    def _moves(self, v: Var, taps: Sequence[Tap]) -> bool:
        """Whether anything but the weight of `taps` depends on `v`."""
        tapped = [t.equation for t in taps]
        rest = [e for e in self.parts.loop if not any(e is t for t in tapped)]
        return (
            v in inputs(rest)
            or v in variables(self.parts.carry_out)
            or v in self.parts.carry
            or any(v is t.other for t in taps)
        )

    def _pushes(self, taps: Sequence[Tap], env: Env, others: Env) -> Env:
        """The second term of each product's derivative for all steps, by leaf or by the leaf's partner."""
        pushes: Env = {}
        for tap in taps:

            def push(other: Array, tap: Tap = tap) -> list[Array]:
                inner = env | {tap.other: other}
                run_step([_linear(tap.equation), *tap.pieces.structure], inner, [tap.other])
                return [inner[v] for v in tap.pieces.leaves]

            places = [partner or leaf for leaf, partner in zip(tap.pieces.leaves, tap.partners, strict=True)]
            pushes.update(zip(places, jax.vmap(push)(others[tap.other]), strict=True))
        return pushes

    def _joined(self, pieces: Pieces, env: Env, pushes: Env) -> Array:
        """The pushes on the leaves of a stream, as one push on the whole."""

        def apart(whole: Array) -> list[Array]:
            inner = env | {pieces.whole: whole}
            run(pieces.structure, inner)
            return [inner[v] for v in pieces.leaves]

        at = zeros(pieces.whole)
        join = jax.linear_transpose(lambda push: jax.jvp(apart, (at,), (push,))[1], at)
        leaves = [pushes[v] if v in pushes else zeros(v, self.steps) for v in pieces.leaves]
        return jax.vmap(lambda *leaves: join(list(leaves))[0])(*leaves)


def _sum(*terms: Any) -> Any:
    first, *rest = [t for t in terms if t is not None]
    return first + rest[0] if rest else first


@jax.custom_jvp
def _tap(value: Array, push: Array) -> Array:
    """`value`, with the derivative of `value + push`."""
    return value


@_tap.defjvp
def _tap_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[0], tangents[0] + tangents[1]


def _linear(equation: JaxprEqn) -> JaxprEqn:
    """A product as a function of its moving operand alone: what a lookup past the end is filled with does not move."""
    if equation.primitive.name != "gather":
        return equation
    return equation.replace(params=equation.params | {"fill_value": 0})
