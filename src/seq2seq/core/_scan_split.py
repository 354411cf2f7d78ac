"""Which equations of a step run before, inside and after its loop.

Every equation of the step has a kind: FIXED if it depends on closed-over arrays only, STREAM if it depends on this
step's inputs too, CARRY if it depends on the state. A *product* is a dot_general, gather or convolution of a FIXED
floating operand (the weight) with a varying one. From these follow the parts:

- `once`: FIXED equations, computed once (a weight transposed, sliced or cast);
- `before`: products of STREAM values on which the state depends, and what feeds them, for all steps at once;
- `loop`: everything else on which the state depends, and all that cannot be moved;
- `after`: products whose results never reach the state, with what feeds them and what follows from them.

Only primitives known to mean the same for one step and for all steps at once are moved (`_MOVABLE`): no random bits, no
control flow, no effects. What is not moved stays in the loop, as `jax.lax.scan` would have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from seq2seq.core.jaxprs import ancestors, byte_count, defined, inputs, is_float, primitives, variables

Equations = tuple[JaxprEqn, ...]


class Kind(IntEnum):
    """What a value of the step depends on."""

    FIXED = 0
    STREAM = 1
    CARRY = 2


_MOVABLE = frozenset(
    """abs acos acosh add add_any and argmax argmin asin asinh atan atan2 atanh bitcast_convert_type broadcast_in_dim
    cbrt ceil clamp concatenate conv_general_dilated convert_element_type copy copy_p cos cosh cummax cummin cumprod
    cumsum custom_jvp_call custom_vjp_call digamma div dot_general dynamic_slice eq erf erf_inv erfc exp exp2
    expand_dims expm1 floor gather ge gt imag integer_pow iota is_finite jit le lgamma log log1p logistic lt max min mul
    ne neg nextafter not or pad pjit pow real reduce_and reduce_max reduce_min reduce_or reduce_precision reduce_prod
    reduce_sum rem reshape rev round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh
    slice sort split sqrt square squeeze stop_gradient sub tan tanh top_k transpose xor""".split()  # noqa: SIM905
)
PRODUCTS = frozenset({"dot_general", "conv_general_dilated", "gather"})
_EXPANDS = 4  # a FIXED equation whose output is so many times its input costs more to keep than to repeat


@dataclass(frozen=True)
class Split:
    """A step's equations in four parts; see the head of the file.

    Attributes:
        closed: the step: (fixed, carry, streams) -> (carry_out, outputs).
        fixed: the closed-over arrays, and the constants of `closed`.
        carry: the state.
        streams: one step's inputs.
    """

    closed: ClosedJaxpr
    fixed: tuple[Var, ...]
    carry: tuple[Var, ...]
    streams: tuple[Var, ...]
    once: Equations
    before: Equations
    loop: Equations
    after: Equations

    @property
    def carry_out(self) -> list[Var | Literal]:
        """The next state."""
        return self.closed.jaxpr.outvars[: len(self.carry)]

    @property
    def outputs(self) -> list[Var | Literal]:
        """One step's outputs."""
        return self.closed.jaxpr.outvars[len(self.carry) :]

    @cached_property
    def invariant(self) -> set[Var]:
        """The values that are the same at every step and known before the loop."""
        return {*self.fixed, *defined(self.once)}

    @cached_property
    def stacked(self) -> set[Var]:
        """The values that are known for every step before the loop, and that something reads."""
        return {*self.streams, *self.crossing}

    @cached_property
    def crossing(self) -> list[Var]:
        """The results of `before` that anything outside it reads."""
        read = inputs((*self.loop, *self.after)) | set(variables(self.closed.jaxpr.outvars))
        repeated = {*defined(self.loop), *defined(self.after)}
        return [v for v in defined(self.before) if v in read and v not in repeated]

    @cached_property
    def loop_reads(self) -> list[Var]:
        """What the loop reads from outside: invariant and stacked values."""
        read = inputs(self.loop) | set(variables(self.carry_out))
        known = (*self.fixed, *defined(self.once), *self.streams, *self.crossing)
        return [v for v in known if v in read]

    @cached_property
    def emitted(self) -> list[Var]:
        """The loop's results, and states before a step, that `after` or the outputs read."""
        read = inputs(self.after) | set(variables(self.outputs))
        local = set(defined(self.after)) | self.invariant | self.stacked
        return [v for v in (*self.carry, *defined(self.loop)) if v in read and v not in local]


def operands(equation: JaxprEqn, fixed: set[Var]) -> tuple[Var, Var] | None:
    """The weight and the varying operand, if `equation` is a product of the two."""
    if equation.primitive.name not in PRODUCTS:
        return None
    left, right = equation.invars[:2]
    if isinstance(left, Literal) or isinstance(right, Literal) or (left in fixed) == (right in fixed):
        return None
    weight, other = (left, right) if left in fixed else (right, left)
    if not is_float(weight) or (equation.primitive.name == "gather" and weight is right):
        return None
    return weight, other


def split(closed: ClosedJaxpr, fixed_count: int, carry_count: int) -> Split:
    """Split the step `closed`: (fixed, carry, streams) -> (carry, outputs), into its parts."""
    jaxpr = closed.jaxpr
    fixed = (*jaxpr.constvars, *jaxpr.invars[:fixed_count])
    carry = tuple(jaxpr.invars[fixed_count : fixed_count + carry_count])
    streams = tuple(jaxpr.invars[fixed_count + carry_count :])
    live = ancestors(jaxpr.eqns, variables(jaxpr.outvars))
    kinds = kinds_of(live, fixed, streams, carry)
    constant = {v for v, kind in kinds.items() if kind is Kind.FIXED}
    varying = [e for e in live if _kind(e, kinds) is not Kind.FIXED]
    cycle = ancestors(varying, variables(jaxpr.outvars[:carry_count]))
    before = _before(cycle, kinds, constant)
    after = _after([e for e in varying if e not in before], cycle, constant)
    once = _once([e for e in live if e not in varying], varying, jaxpr.outvars, constant)
    local = [e for e in live if e not in varying and e not in once]
    loop = [e for e in varying if e not in before and e not in after]
    return Split(
        closed,
        fixed,
        carry,
        streams,
        tuple(once),
        _with_local(before, local, []),
        _with_local(loop, local, variables(jaxpr.outvars[:carry_count])),
        _with_local(after, local, []),
    )


def _kind(equation: JaxprEqn, kinds: dict[Var, Kind]) -> Kind:
    return max((kinds[v] for v in variables(equation.invars)), default=Kind.FIXED)


def kinds_of(
    equations: Iterable[JaxprEqn], fixed: Iterable[Var], streams: Iterable[Var], carry: Iterable[Var]
) -> dict[Var, Kind]:
    """The kind of every variable of `equations`."""
    kinds = dict.fromkeys(fixed, Kind.FIXED) | dict.fromkeys(streams, Kind.STREAM) | dict.fromkeys(carry, Kind.CARRY)
    for e in equations:
        kinds |= dict.fromkeys(e.outvars, _kind(e, kinds))
    return kinds


def _descendants(equations: Sequence[JaxprEqn], sources: Iterable[Var]) -> list[JaxprEqn]:
    """Those of `equations` that depend on `sources`, in order."""
    reached, found = set(sources), []
    for e in equations:
        if not reached.isdisjoint(variables(e.invars)):
            found.append(e)
            reached |= set(e.outvars)
    return found


def _movable(equation: JaxprEqn) -> bool:
    return not equation.effects and all(name in _MOVABLE for name in primitives(equation))


def _before(cycle: Sequence[JaxprEqn], kinds: dict[Var, Kind], constant: set[Var]) -> list[JaxprEqn]:
    """The STREAM products of the cycle, with what feeds them."""
    streams = [e for e in cycle if _kind(e, kinds) is Kind.STREAM]
    pinned = [e for e in streams if not _movable(e)]
    pinned += _descendants(streams, defined(pinned))
    moving = [e for e in streams if e not in pinned]
    seeds = [e for e in moving if operands(e, constant)]
    return ancestors(moving, defined(seeds))


def _after(rest: Sequence[JaxprEqn], cycle: Sequence[JaxprEqn], constant: set[Var]) -> list[JaxprEqn]:
    """The products that the state never sees, with what feeds them and what follows from them."""
    free = [e for e in rest if e not in cycle]
    pinned = ancestors(free, defined(e for e in free if not _movable(e)))
    free = [e for e in free if e not in pinned]
    seeds = defined(e for e in free if operands(e, constant))
    feeding, following = ancestors(free, seeds), _descendants(free, seeds)
    fed = _descendants(free, defined(feeding))
    return [e for e in free if e in feeding or e in following or e in fed]


def _once(
    fixed: Sequence[JaxprEqn], rest: Sequence[JaxprEqn], outputs: Iterable[Var | Literal], constant: set[Var]
) -> list[JaxprEqn]:
    """The FIXED equations worth keeping: the weights of products, the outputs, and all that does not grow."""
    weights = {pair[0] for e in rest if (pair := operands(e, constant)) is not None}
    once = ancestors(fixed, weights | set(variables(outputs)))
    repeated: set[Var] = set()
    for e in fixed:
        grows = byte_count(e.outvars) > _EXPANDS * byte_count(variables(e.invars))
        if e not in once and (grows or not repeated.isdisjoint(variables(e.invars))):
            repeated |= set(e.outvars)
    return [e for e in fixed if repeated.isdisjoint(e.outvars)]


def _with_local(equations: Sequence[JaxprEqn], local: Sequence[JaxprEqn], wanted: Iterable[Var]) -> Equations:
    """`equations`, led by the FIXED equations that they repeat."""
    return (*ancestors(local, inputs(equations) | set(wanted)), *equations)
