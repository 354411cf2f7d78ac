"""Rules: what an output must or must not be, one small idea that every search folds over.

A `Rule` is written as a model is, for one hypothesis of each row: `start` gives what never changes of each row (its
Memory) and a State, `mask` makes some next tokens impossible, `step` reads the token that was chosen. A search spreads
the State over its places, moves it with them, and gives a row's Memory and State to its slot with the row. Arrays in a
rule are traced: other phrases of the same number and length compile nothing anew. The probability of what a rule makes
impossible is not given to the others, so that scores stay those of forced decoding.

`check_rules` refuses, before anything is compiled, what can be seen to be impossible. What only turns out to be
impossible on the way ends in hypotheses that are not finished, or in empty places: never in a finished hypothesis
that breaks a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from seq2seq.core.module import as_node
from seq2seq.core.seams import END, Memory, State
from seq2seq.errors import SearchError, ShapeError

Work: TypeAlias = tuple[Any, ...]
"""The Memories, or the States, of several rules."""


class Rule(Protocol):
    """What restricts the tokens of a hypothesis by those before them. A pytree; every leaf of its own is traced."""

    def start(self, rows: int, max_length: int, /) -> tuple[Memory, State]:
        """Before the first token: pytrees of arrays (batch, ...), batch being `rows`."""
        ...

    def mask(self, memory: Memory, state: State, logits: Array, /) -> Array:
        """(batch, vocabulary) logits of the next token, minus infinity where it may not be, else as they were."""
        ...

    def step(self, memory: Memory, state: State, token: Array, /) -> State:
        """The State after a token, (batch,)."""
        ...


@partial(as_node, leaves=("length",))
@dataclass(frozen=True, eq=False)
class MinimumLength:
    """No hypothesis ends with fewer than `length` tokens, END counted; () for all rows or (batch,) for each.

    Example:
        >>> rule = MinimumLength(2)
        >>> memory, state = rule.start(1, 5)
        >>> rule.mask(memory, state, jnp.zeros((1, 5))).tolist()
        [[0.0, 0.0, 0.0, -inf, 0.0]]
    """

    length: ArrayLike

    def start(self, rows: int, max_length: int) -> tuple[Array, Array]:
        """The minimum of each row, and how many tokens there are."""
        return _for_rows("MinimumLength", self.length, rows), jnp.zeros(rows, jnp.int32)

    def mask(self, memory: Array, state: Array, logits: Array) -> Array:
        """END is impossible too early."""
        early = state + 1 < memory
        return logits.at[:, END].set(jnp.where(early, -jnp.inf, logits[:, END]))

    def step(self, memory: Array, state: Array, token: Array) -> Array:
        """One more."""
        return state + 1


@partial(as_node, leaves=(), statics=("size",))
@dataclass(frozen=True)
class NoRepeat:
    """No `size` tokens in a row come twice in a hypothesis, overlapping or not (Paulus et al. 2018, section 2.5).

    Raises:
        SearchError: a size below 1.

    Example:
        >>> rule = NoRepeat(1)
        >>> memory, state = rule.start(1, 5)
        >>> rule.mask(memory, rule.step(memory, state, jnp.array([4])), jnp.zeros((1, 6))).tolist()
        [[0.0, 0.0, 0.0, 0.0, -inf, 0.0]]
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SearchError(f"NoRepeat: size is {self.size}, wanted at least 1.")

    def start(self, rows: int, max_length: int) -> tuple[tuple[()], Array]:
        """The tokens so far, the last one last, -1 before the first: (batch, max_length)."""
        return (), jnp.full((rows, max_length), -1, jnp.int32)

    def mask(self, memory: tuple[()], state: Array, logits: Array) -> Array:
        """Impossible is what stood behind the last `size - 1` tokens wherever they stood before."""
        windows = state.shape[1] - self.size + 1
        if windows < 1:
            return logits
        same = state[:, :windows] >= 0
        for j in range(self.size - 1):
            same &= state[:, j : j + windows] == state[:, windows + j, None]
        return strike(logits, state[:, self.size - 1 :], same)

    def step(self, memory: tuple[()], state: Array, token: Array) -> Array:
        """The oldest one gives place."""
        return jnp.concatenate([state[:, 1:], token[:, None]], axis=1)


@partial(as_node, leaves=("ids", "lengths"))
@dataclass(frozen=True, eq=False)
class Prefix:
    """Each row's hypotheses begin with its own tokens: (prefix, batch) `ids` of which `lengths` (batch,) count.

    Example:
        >>> rule = Prefix.of([[5, 4], []])
        >>> memory, state = rule.start(2, 5)
        >>> rule.mask(memory, state, jnp.zeros((2, 6))).tolist()
        [[-inf, -inf, -inf, -inf, -inf, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """

    ids: ArrayLike
    lengths: ArrayLike

    @classmethod
    def of(cls, prefixes: Sequence[Sequence[int]]) -> Prefix:
        """The prefix of each row; an empty one forces nothing."""
        lengths = np.array([len(prefix) for prefix in prefixes], np.int32)
        ids = np.full((round_up(int(lengths.max(initial=1))), len(prefixes)), -1, np.int32)
        for row, prefix in enumerate(prefixes):
            ids[: len(prefix), row] = prefix
        return cls(ids, lengths)

    def start(self, rows: int, max_length: int) -> tuple[tuple[Array, Array], Array]:
        """The tokens of each row and how many they are; how many were taken."""
        ids = jnp.asarray(self.ids, jnp.int32)
        if ids.ndim != 2 or ids.shape[1] != rows:
            raise ShapeError(f"Prefix: ids has shape {ids.shape}, wanted (prefix, batch) = (?, {rows}).")
        return (ids.T, _for_rows("Prefix", self.lengths, rows)), jnp.zeros(rows, jnp.int32)

    def mask(self, memory: tuple[Array, Array], state: Array, logits: Array) -> Array:
        """Only the forced token is possible, as long as there is one."""
        ids, lengths = memory
        at = jnp.minimum(state, ids.shape[1] - 1)
        forced = jnp.take_along_axis(ids, at[:, None], axis=1)
        free = (state >= lengths)[:, None]
        return jnp.where(free | (jnp.arange(logits.shape[-1]) == forced), logits, -jnp.inf)

    def step(self, memory: tuple[Array, Array], state: Array, token: Array) -> Array:
        """One more."""
        return state + 1


def begin_rules(rules: Sequence[Rule], rows: int, width: int, max_length: int) -> tuple[Work, Work]:
    """Their Memories, (batch, ...), and their States spread over `width` places, (batch, width, ...)."""
    started = [rule.start(rows, max_length) for rule in rules]
    states = tuple(state for _, state in started)
    spread = jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], (rows, width, *x.shape[1:])), states)
    return tuple(memory for memory, _ in started), spread


def masked(rules: Sequence[Rule], memories: Work, states: Work, logits: Array) -> Array:
    """The logits (batch, width, vocabulary) after all rules."""
    for rule, memory, state in zip(rules, memories, states, strict=True):
        logits = jax.vmap(rule.mask, in_axes=(None, 1, 1), out_axes=1)(memory, state, logits)
    return logits


def after(rules: Sequence[Rule], memories: Work, states: Work, token: Array) -> Work:
    """The States after a token for each place, (batch, width)."""
    each = zip(rules, memories, states, strict=True)
    return tuple(jax.vmap(rule.step, in_axes=(None, 1, 1), out_axes=1)(m, s, token) for rule, m, s in each)


def strike(logits: Array, ids: Array, where: Array) -> Array:
    """The logits (batch, vocabulary) with those `ids` (batch, any) made impossible `where` it says so.

    Example:
        >>> strike(jnp.zeros((1, 3)), jnp.array([[2, 0]]), jnp.array([[True, False]])).tolist()
        [[0.0, 0.0, -inf]]
    """
    nowhere = logits.shape[-1]
    ids = jnp.where(where, ids, nowhere)
    return jax.vmap(lambda row, struck: row.at[struck].set(-jnp.inf, mode="drop"))(logits, ids)


def round_up(count: int) -> int:
    """The next power of two, so that few shapes are compiled.

    Example:
        >>> round_up(5)
        8
    """
    return 1 << max(0, count - 1).bit_length()


def _for_rows(name: str, value: ArrayLike, rows: int) -> Array:
    array = jnp.asarray(value, jnp.int32)
    if array.shape not in ((), (rows,)):
        raise ShapeError(f"{name}: an array has shape {array.shape}, wanted () or (batch,) = ({rows},).")
    return jnp.broadcast_to(array, (rows,))
