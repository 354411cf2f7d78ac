"""A program with its matrix products computed in fewer bits, inner programs included.

The jaxpr is evaluated equation by equation. Calls (jit, custom derivatives, remat) are inlined; the bodies of `scan`,
`while_loop` and `cond` are rewritten and then *parted*: operands that were made ready from what stays the same in the
loop (a weight, cast and transposed) are made ready before the loop, not at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from seq2seq.core._dots import BARRIER, is_float32_product, product, quantised, rounded, sides, turned, turns
from seq2seq.core.inlining import Evaluation
from seq2seq.core.jaxprs import Env, ancestors, apply, defined, inputs, read, run, same_shape, variables


@dataclass(frozen=True)
class Products:
    """How to compute float32 products: which are in 8 bits, which in bfloat16; the others stay as they are.

    Attributes:
        bfloat16: round the operands to bfloat16 and sum in float32.
        int8: quantise both operands where one depends on nothing but weights, and the other on more.
    """

    bfloat16: bool = False
    int8: bool = False


class Parts(NamedTuple):
    """A program in two parts, the first of which depends on what is fixed only.

    Attributes:
        once: the equations of the first.
        ready: the operands that it makes ready.
        rest: the equations that are left; they read `ready`.
    """

    once: list[JaxprEqn]
    ready: list[Var]
    rest: list[JaxprEqn]


def rewrite(closed: ClosedJaxpr, weights: Sequence[bool], how: Products) -> ClosedJaxpr:
    """`closed` with its products computed as `how` says; `weights` tells which of its inputs are weights."""
    avals: list[Any] = [v.aval for v in closed.jaxpr.invars]
    structs = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=getattr(a, "weak_type", False)) for a in avals]
    return jax.make_jaxpr(lambda *values: evaluate(closed, values, weights, how))(*structs)


def evaluate(closed: ClosedJaxpr, values: Sequence[Any], weights: Sequence[bool], how: Products) -> list[Any]:
    """The outputs of `closed` for `values`, with its products computed as `how` says."""
    return _Evaluation(how).call(closed, values, weights)[0]


def part(closed: ClosedJaxpr, fixed: Iterable[Var]) -> Parts:
    """Part a rewritten program: what is made ready from `fixed` inputs and constants alone, and the rest."""
    known, constant = {*fixed, *closed.jaxpr.constvars}, []
    for e in closed.jaxpr.eqns:
        if not e.effects and known.issuperset(variables(e.invars)):
            known |= set(e.outvars)
            constant.append(e)
    made = defined(e for e in constant if e.primitive.name == BARRIER)
    outputs = variables(closed.jaxpr.outvars)
    rest = ancestors([e for e in closed.jaxpr.eqns if not set(made) & set(e.outvars)], outputs)
    read_later = inputs(rest) | set(outputs)
    ready = [v for v in made if v in read_later]
    return Parts(ancestors(constant, ready), ready, rest)


def run_once(closed: ClosedJaxpr, parts: Parts, known: Env) -> list[Any]:
    """The operands that the first part makes ready, given the values of what is fixed."""
    env: Env = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True)) | known
    run(parts.once, env)
    return [env[v] for v in parts.ready]


def run_rest(closed: ClosedJaxpr, parts: Parts, known: Env, values: Sequence[Any]) -> list[Any]:
    """The outputs, given the values of what is fixed and ready, and those of the other inputs in order."""
    env: Env = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True)) | known
    env.update(zip((v for v in closed.jaxpr.invars if v not in known), values, strict=True))
    run(parts.rest, env)
    return [read(a, env) for a in closed.jaxpr.outvars]


class _Scope(NamedTuple):
    """A program while it is evaluated.

    Attributes:
        env: the values so far.
        ready: the operands that were made ready; what one product needs another may need too.
        turned: the results of products that are only transposed afterwards, and then are those of the operands
            exchanged, as for the gradient of a weight; these are computed instead.
    """

    env: Env
    ready: dict[Any, Any]
    turned: set[Any]

    def product(self, equation: JaxprEqn, values: list[Any], make: Callable[..., Any]) -> Any:
        """One product of operands made ready by `make`."""
        of, atoms = sides(equation), equation.invars
        if equation.outvars[0] in self.turned:
            of, atoms, values = turned(of), atoms[::-1], values[::-1]
        keys = [(id(atom), side, make) for atom, side in zip(atoms, of, strict=True)]
        for key, x, side in zip(keys, values, of, strict=True):
            if key not in self.ready:
                self.ready[key] = make(x, side)
        return product(self.ready[keys[0]], self.ready[keys[1]], of)


@dataclass(frozen=True)
class _Evaluation(Evaluation[_Scope]):
    how: Products

    def enter(self, jaxpr: Jaxpr, env: Env) -> _Scope:
        return _Scope(env, {}, _turned(jaxpr))

    def equation(self, equation: JaxprEqn, scope: _Scope, still: list[bool]) -> list[Any]:
        values = [read(a, scope.env) for a in equation.invars]
        match equation.primitive.name:
            case "dot_general" if is_float32_product(equation):
                quantise = self.how.int8 and still[0] != still[1]
                if quantise or self.how.bfloat16:
                    return [scope.product(equation, values, quantised if quantise else rounded)]
                if equation.outvars[0] in scope.turned:
                    scope.turned.remove(equation.outvars[0])
            case "transpose" if isinstance(turned := equation.invars[0], Var) and turned in scope.turned:
                return values
            case "scan":
                return self._scan(equation, values, still)
            case "while":
                return self._while(equation, values, still)
            case "cond":
                return self._cond(equation, values, still)
        return apply(equation, [scope.env[v] for v in variables(equation.invars)])

    def _scan(self, equation: JaxprEqn, values: list[Any], still: list[bool]) -> list[Any]:
        params, inner = equation.params, equation.params["jaxpr"].jaxpr
        # Inputs and outputs that have no time axis are consts and carry.
        untimed = sum(map(same_shape, inner.invars, equation.invars))
        carried = sum(map(same_shape, inner.outvars, equation.outvars))
        consts = untimed - carried
        body = self._body(params["jaxpr"], values[:consts], still[:consts])

        def step(carry: list[Any], now: list[Any]) -> tuple[list[Any], list[Any]]:
            outputs = body([*carry, *now])
            return outputs[:carried], outputs[carried:]

        first, xs = values[consts:untimed], values[untimed:]
        last, stacked = lax.scan(step, first, xs, params["length"], params["reverse"], params["unroll"])
        return [*last, *stacked]

    def _while(self, equation: JaxprEqn, values: list[Any], still: list[bool]) -> list[Any]:
        carried = len(equation.outvars)
        first, inner = len(values) - carried, equation.params["cond_jaxpr"]
        of_cond = len(inner.jaxpr.invars) - carried
        more = self._body(inner, values[:of_cond], still[:of_cond])
        body = self._body(equation.params["body_jaxpr"], values[of_cond:first], still[of_cond:first])
        return list(lax.while_loop(lambda carry: more(carry)[0], body, values[first:]))

    def _body(self, closed: ClosedJaxpr, consts: list[Any], still: list[bool]) -> Callable[[Sequence[Any]], list[Any]]:
        """The body of a loop as a function of what changes in it."""
        body = rewrite(closed, still + [False] * (len(closed.jaxpr.invars) - len(still)), self.how)
        return _begun(body, dict(zip(body.jaxpr.invars, consts, strict=False)))

    def _cond(self, equation: JaxprEqn, values: list[Any], still: list[bool]) -> list[Any]:
        def branch(closed: ClosedJaxpr) -> Callable[..., list[Any]]:
            body = rewrite(closed, still[1:], self.how)
            inputs = zip(body.jaxpr.invars, values[1:], still[1:], strict=True)
            begun = _begun(body, {v: x for v, x, weight in inputs if weight})
            return lambda *changing: begun(changing)

        changing = [x for x, weight in zip(values[1:], still[1:], strict=True) if not weight]
        return list(lax.switch(values[0], [branch(closed) for closed in equation.params["branches"]], *changing))


def _begun(closed: ClosedJaxpr, known: Env) -> Callable[[Sequence[Any]], list[Any]]:
    """The rest of a program, its first part having run here and now."""
    parts = part(closed, known)
    known = known | dict(zip(parts.ready, run_once(closed, parts, known), strict=True))
    return lambda values: run_rest(closed, parts, known, values)


def _turned(jaxpr: Jaxpr) -> set[Any]:
    """The results of products that a transpose alone reads, which exchanges the operands."""
    readers: dict[Any, list[Any]] = {}
    for e in jaxpr.eqns:
        for v in variables(e.invars):
            readers.setdefault(v, []).append(e)
    found = {e.outvars[0]: sides(e) for e in jaxpr.eqns if is_float32_product(e)}
    alone = {v: readers[v][0] for v in found if len(readers.get(v, [])) == 1 and v not in variables(jaxpr.outvars)}
    return {v for v, e in alone.items() if e.primitive.name == "transpose" and turns(found[v], e.params["permutation"])}
