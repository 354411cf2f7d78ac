"""`scan`: `jax.lax.scan` with the gradient of a hand-tuned recurrent network.

`jax.grad` of `lax.scan` adds to the gradient of every weight at every step. `scan` reads the jaxpr of the step instead,
splits it (`_scan_split.py`) and differentiates the parts:

- **before**: products of the inputs, for all steps at once; also where inputs and state lie side by side in one product
  (`_scan_concat.py`);
- **loop**: what the state depends on; the gradient of a weight in it is one product over all steps (`_scan_loop.py`);
- **after**: products that never reach the state (a readout, its loss). Where their results are wider than what the loop
  keeps, they run in blocks of steps, again in the backward pass, so that no stack of logits ever exists.

Without derivatives nothing is split: `lax.scan` runs, which needs the least memory. The split is the rule of a
`jax.custom_jvp`, not of a `custom_vjp`, so forward mode and second derivatives work as they do for `lax.scan`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import jax
from jax import Array, lax
from jax import numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import JaxprEqn, Literal, Var
from jax.sharding import AxisType

from seq2seq.core._scan_concat import taken_apart
from seq2seq.core._scan_loop import Loop
from seq2seq.core._scan_split import Split, operands, split
from seq2seq.core._scan_steps import run_step
from seq2seq.core.jaxprs import (
    Env,
    apply,
    byte_count,
    has_known_shape,
    inlined,
    inputs,
    is_laid_out,
    primitives,
    read,
    run,
    same_shape,
    variables,
)

Carry = TypeVar("Carry")

_BLOCKS = 8  # `after` runs in so many blocks at least, where it is wide
_BLOCK_BYTES = 16 * 2**20  # and its widest result takes no more than this in a block


def scan(
    f: Callable[[Carry, Any], tuple[Carry, Any]],
    init: Carry,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    hoist: bool = True,
) -> tuple[Carry, Any]:
    """`jax.lax.scan`: same arguments, same results; its gradients are formed outside the loop where they can be.

    carry[t], ys[t] = f(carry[t - 1], xs[t])                 for t = 0, 1, ..., time - 1, with carry[-1] = init
    d loss / d w = sum over t of other[t].T @ d loss / d y[t]       for y[t] = other[t] @ w in f: one product

    It is used as `lax.scan` is, under jit, grad, vmap, remat, jvp, in itself and in other control flow. The step may
    close over arrays of any type, and hold conditionals, inner scans, random numbers. What cannot be moved out of the
    loop stays in it. A step with side effects, with a `jax.custom_vjp` of a weight, of sizes that are symbols, in
    `jax.shard_map`, or on a mesh with explicit axes is left to `lax.scan` altogether. Forward mode keeps what reverse
    mode would keep: where memory is short, take `hoist=False` there.

    Args:
        f: the step: (carry, one input) -> (carry, one output); a bound method of a `@module` will do.
        init: the first carry, any pytree of arrays; for a `Cell`, `cell.initial_state(batch)`.
        xs: any pytree of arrays with time first, (time, batch, input), or None.
        length: the number of steps; needed if `xs` is None.
        reverse: whether to go from the last step to the first; outputs keep the places of their inputs.
        unroll: how many steps one turn of the compiled loop makes.
        hoist: False differentiates step by step, as `lax.scan` does.

    Returns:
        The last carry, and the outputs of all steps with time first.

    Raises:
        TypeError, ValueError: what `lax.scan` raises, in its words.

    Example:
        >>> w = jnp.eye(2)
        >>> def step(h, x):
        ...     h = jnp.tanh(x + h @ w)
        ...     return h, h
        >>> last, states = scan(step, jnp.zeros((1, 2)), jnp.ones((3, 1, 2)))
        >>> states.shape
        (3, 1, 2)
    """

    def plain(init: Any, xs: Any) -> Any:
        return lax.scan(f, init, xs, length=length, reverse=reverse, unroll=unroll)

    config: Any = jax.config
    # Without jit there is no loop; an input without a shape is an error, told there.
    if not hoist or config.jax_disable_jit or not all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(xs)):
        return plain(init, xs)
    # lax.scan itself checks, promotes and traces; of its jaxpr only the loop is replaced.
    trees: list[Any] = []

    def leaves(init: Any, xs: Any) -> list[Any]:
        found, tree = jax.tree.flatten(plain(init, xs))
        trees.append(tree)
        return found

    traced = jax.make_jaxpr(leaves)(init, xs)
    env: Env = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    env.update(zip(traced.jaxpr.invars, map(jnp.asarray, jax.tree.leaves((init, xs))), strict=True))
    for e in traced.jaxpr.eqns:
        if e.primitive.name == "scan" and _may_be_split(e):
            outputs = _hoisted(e, reverse, unroll)(*(env[v] for v in variables(e.invars)))
            env.update(zip(e.outvars, outputs, strict=True))
        else:
            run([e], env)
    return jax.tree.unflatten(trees[0], [read(a, env) for a in traced.jaxpr.outvars])


def _may_be_split(equation: JaxprEqn) -> bool:
    """Whether a scan can be taken apart: it has no side effects, all of its sizes are known, and no axis goes along one
    of a mesh by hand, which could not be merged with others."""
    if equation.effects or AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        return False
    return all(has_known_shape(v) and not is_laid_out(v) for v in equation.invars)


def worth_hoisting(parts: Split, steps: int) -> bool:
    """The cost rule: whether the derivative of a scan is formed in parts or as `lax.scan` forms it.

    In parts if there are at least two steps to put together and at least one product of a weight to gain from it.
    There is no threshold of size: small steps gain most, since what is taken out of the loop saves a dispatch a step.
    Not in parts where a weight goes through a `custom_vjp`: its rule, which need not be linear, is to see the cotangent
    of each step, and would see their sum.
    """
    fixed = set(parts.invariant)
    for e in (*parts.once, *parts.before, *parts.after):
        if fixed.issuperset(variables(e.invars)):
            if any(name.startswith("custom_vjp_call") for name in primitives(e)):
                return False
            fixed |= set(e.outvars)
    return steps >= 2 and any(operands(e, parts.invariant) for e in (*parts.before, *parts.loop, *parts.after))


def _hoisted(equation: JaxprEqn, reverse: bool, unroll: int | bool) -> Callable[..., list[Array]]:
    """The scan `equation` as a function of the values of its variables, with the derivative of its parts."""
    names = variables(equation.invars)
    steps = equation.params["length"]

    @jax.custom_jvp
    def hoisted_scan(*values: Any) -> list[Array]:
        return apply(equation, values)

    def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Array], list[Array]]:
        parts = _parts(equation)
        moving = {v: t for v, t in zip(names, tangents, strict=True) if not isinstance(t, SymbolicZero)}
        still = dict(zip(names, primals, strict=True))

        def differentiable(values: Sequence[Any]) -> list[Array]:
            env = still | dict(zip(moving, values, strict=True))
            if not worth_hoisting(parts, steps):
                return apply(equation, [env[v] for v in names])
            return _run(Loop(parts, steps, reverse, unroll), [read(a, env) for a in equation.invars])

        return jax.jvp(differentiable, ([still[v] for v in moving],), (list(moving.values()),))

    hoisted_scan.defjvp(rule, symbolic_zeros=True)
    return hoisted_scan


def _parts(equation: JaxprEqn) -> Split:
    """The step of a scan, split. Inputs and outputs that have no time axis are consts and carry."""
    closed = equation.params["jaxpr"]
    inner, outer = closed.jaxpr.invars, equation.invars
    untimed = sum(same_shape(a, b) for a, b in zip(inner, outer, strict=True))
    carried = sum(same_shape(a, b) for a, b in zip(closed.jaxpr.outvars, equation.outvars, strict=True))
    counts = (untimed - carried, carried)
    return split(taken_apart(inlined(closed), *counts), *counts)


def _run(loop: Loop, values: Sequence[Any]) -> list[Array]:
    """What the scan returns for the `values` of its inputs: before, loop, after."""
    parts = loop.parts
    constants = parts.closed.consts
    first, last = len(parts.fixed) - len(constants), len(values) - len(parts.streams)
    env: Env = dict(zip(parts.fixed, [*constants, *values[:first]], strict=True))
    run(parts.once, env)
    env.update(zip(parts.streams, values[last:], strict=True))
    env.update(_over_time(parts.before, parts.crossing, env, parts.streams, 0))
    carry, emitted = loop(env, values[first:last])
    env.update(emitted)
    timed = dict.fromkeys((*parts.streams, *parts.crossing, *emitted))  # in one order, whatever the process
    wanted = [v for v in variables(parts.outputs) if v not in env]
    env.update(_over_time(parts.after, wanted, env, timed, _block(parts, loop.steps)))
    timed |= dict.fromkeys(wanted)
    return [*carry, *(_stack(a, env, timed, loop.steps) for a in parts.outputs)]


def _over_time(equations: Sequence[JaxprEqn], wanted: Sequence[Var], env: Env, timed: Iterable[Var], block: int) -> Env:
    """The `wanted` results of `equations` at every step, `block` steps at once; 0 stands for all.

    The values of `timed` variables in `env` have time first; blocks are computed again in the backward pass.
    """
    if not wanted:
        return {}
    needed = inputs(equations)
    slices = [v for v in timed if v in needed]

    def step(now: list[Array]) -> list[Array]:
        inner = env | dict(zip(slices, now, strict=True))
        run_step(equations, inner, slices)
        return [inner[v] for v in wanted]

    repeated = jax.checkpoint(step, prevent_cse=False) if block else step
    return dict(zip(wanted, lax.map(repeated, [env[v] for v in slices], batch_size=block), strict=True))


def _block(parts: Split, steps: int) -> int:
    """How many steps of `after` run at once; 0, for all, if no result of it is wider than what the loop keeps."""
    widest = max((byte_count(e.outvars) for e in parts.after), default=0)
    if widest <= byte_count([*parts.emitted, *parts.crossing]):
        return 0
    return max(1, min(_BLOCK_BYTES // widest, steps // _BLOCKS))


def _stack(atom: Var | Literal, env: Env, timed: Collection[Var], steps: int) -> Array:
    value = read(atom, env)
    if isinstance(atom, Literal) or atom not in timed:
        return jnp.broadcast_to(value, (steps, *value.shape))
    return value
