"""Banned and required phrases, found by shifting bits (Baeza-Yates and Gonnet 1992).

Of every phrase the State remembers which of its beginnings the hypothesis ends with right now:

    alive'[p, k] = (k = 0 or alive[p, k - 1]) and phrase[p, k] = token

so that overlapping and interrupted phrases need no case of their own, and no table depends on the phrases: they are
traced arrays, and each row may have its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Self, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from seq2seq.core.module import as_node
from seq2seq.core.seams import BEGIN, END, PAD
from seq2seq.errors import SearchError, ShapeError
from seq2seq.search.rules import round_up, strike

Phrase: TypeAlias = Sequence[int]


@dataclass(frozen=True, eq=False)
class Phrases:
    """Phrases of each row: `ids` (batch or 1, phrases, tokens), of which `lengths` (batch or 1, phrases) count.

    Example:
        >>> BannedPhrases.of([[4, 5], [6]]).ids.tolist()
        [[[4, 5], [6, -1]]]
    """

    ids: ArrayLike
    lengths: ArrayLike

    @classmethod
    def of(cls, phrases: Sequence[Phrase]) -> Self:
        """The same phrases for all rows.

        Raises:
            SearchError: a phrase is empty or holds PAD, BEGIN or END.
        """
        return cls.of_rows([phrases])

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Phrase]]) -> Self:
        """The phrases of each row; a row may have none.

        Raises:
            SearchError: a phrase is empty or holds PAD, BEGIN or END.
        """
        several = round_up(max((len(phrases) for phrases in rows), default=1))
        longest = round_up(max((len(phrase) for phrases in rows for phrase in phrases), default=1))
        ids = np.full((len(rows), several, longest), -1, np.int32)
        lengths = np.zeros((len(rows), several), np.int32)
        for row, phrases in enumerate(rows):
            for place, phrase in enumerate(phrases):
                if not phrase or {PAD, BEGIN, END} & set(phrase) or min(phrase) < 0:
                    wanted = f"wanted at least one id of text, without PAD, BEGIN and END ({PAD}, {BEGIN}, {END})"
                    raise SearchError(f"{cls.__name__}: a phrase is {list(phrase)}, {wanted}.")
                ids[row, place, : len(phrase)] = phrase
                lengths[row, place] = len(phrase)
        return cls(ids, lengths)

    def phrases_of(self, row: int) -> list[tuple[int, ...]]:
        """The phrases of a row, outside of a compiled function."""
        ids, lengths = np.asarray(self.ids), np.asarray(self.lengths)
        row = row if len(ids) > 1 else 0
        return [tuple(phrase[:n].tolist()) for phrase, n in zip(ids[row], lengths[row], strict=True) if n]

    def _given(self, rows: int) -> Given:
        ids, lengths = jnp.asarray(self.ids, jnp.int32), jnp.asarray(self.lengths, jnp.int32)
        if ids.ndim != 3 or ids.shape[:2] != lengths.shape or ids.shape[0] not in (1, rows):
            found = f"ids has shape {ids.shape} and lengths {lengths.shape}"
            raise ShapeError(f"{type(self).__name__}: {found}, wanted (batch, phrases, tokens) with batch 1 or {rows}.")
        return Given(jnp.broadcast_to(ids, (rows, *ids.shape[1:])), jnp.broadcast_to(lengths, (rows, lengths.shape[1])))


class Given(NamedTuple):
    """The phrases of each row: ids (batch, phrases, tokens), lengths (batch, phrases), 0 where there is none."""

    ids: Array
    lengths: Array

    @property
    def last(self) -> Array:
        """Where the last token of each phrase stands, (batch, phrases, 1)."""
        return jnp.maximum(self.lengths - 1, 0)[..., None]


@partial(as_node, leaves=("ids", "lengths"))
@dataclass(frozen=True, eq=False)
class BannedPhrases(Phrases):
    """No hypothesis holds one of these phrases. (Single ids for all rows are quicker as `banned`.)

    Example:
        >>> rule = BannedPhrases.of([[4, 5]])
        >>> memory, state = rule.start(1, 9)
        >>> rule.mask(memory, rule.step(memory, state, jnp.array([4])), jnp.zeros((1, 6))).tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0, -inf]]
    """

    def start(self, rows: int, max_length: int) -> tuple[Given, Array]:
        """The phrases, and their beginnings that a hypothesis ends with: (batch, phrases, tokens)."""
        given = self._given(rows)
        return given, jnp.zeros(given.ids.shape, bool)

    def mask(self, memory: Given, state: Array, logits: Array) -> Array:
        """The last token of a phrase is impossible where all before it have just come."""
        one_short = jnp.take_along_axis(_shifted(state), memory.last, axis=2)[..., 0]
        last = jnp.take_along_axis(memory.ids, memory.last, axis=2)[..., 0]
        return strike(logits, last, one_short & (memory.lengths > 0))

    def step(self, memory: Given, state: Array, token: Array) -> Array:
        """The beginnings that go on."""
        return _shifted(state) & (memory.ids == token[:, None, None])


class Progress(NamedTuple):
    """Of each phrase its beginnings that the hypothesis ends with, (batch, phrases, tokens); whether all of it came."""

    alive: Array
    met: Array


@partial(as_node, leaves=("ids", "lengths"))
@dataclass(frozen=True, eq=False)
class RequiredPhrases(Phrases):
    """No hypothesis ends before it holds all these phrases, anywhere; they may overlap.

    A beam finds such hypotheses by giving its places to banks, one for each number of required tokens that are there
    (dynamic beam allocation: Post and Vilar 2018, section 4), after offering to every place the next tokens of its
    phrases (Hokamp and Liu 2017). Other searches cannot.

    Example:
        >>> rule = RequiredPhrases.of([[4, 5]])
        >>> memory, state = rule.start(1, 9)
        >>> for token in (4, 4, 5):
        ...     state = rule.step(memory, state, jnp.array([token]))
        ...     print(rule.progress(memory, state).tolist(), rule.wanted(memory, state).tolist(), state.met.tolist())
        [1] [[5]] [[False]]
        [1] [[5]] [[False]]
        [2] [[3]] [[True]]
    """

    def start(self, rows: int, max_length: int) -> tuple[Given, Progress]:
        """The phrases, and that nothing of them is there."""
        given = self._given(rows)
        return given, Progress(jnp.zeros(given.ids.shape, bool), given.lengths == 0)

    def mask(self, memory: Given, state: Progress, logits: Array) -> Array:
        """END is impossible until all phrases are there."""
        return logits.at[:, END].set(jnp.where(state.met.all(axis=1), logits[:, END], -jnp.inf))

    def step(self, memory: Given, state: Progress, token: Array) -> Progress:
        """The beginnings that go on, and the phrases that are whole now."""
        alive = _shifted(state.alive) & (memory.ids == token[:, None, None])
        return Progress(alive, state.met | jnp.take_along_axis(alive, memory.last, axis=2)[..., 0])

    def progress(self, memory: Given, state: Progress) -> Array:
        """Required tokens that are there, (batch,): all of a phrase that is whole, else its longest beginning."""
        return jnp.where(state.met, memory.lengths, _longest(state.alive)).sum(axis=1)

    def wanted(self, memory: Given, state: Progress) -> Array:
        """The next token of each phrase, (batch, phrases); of one that is whole -1, or END if all are."""
        at = jnp.minimum(_longest(state.alive), memory.ids.shape[2] - 1)
        missing = jnp.take_along_axis(memory.ids, at[..., None], axis=2)[..., 0]
        whole = state.met.all(axis=1) & self.asks(memory)
        return jnp.where(state.met, jnp.where(whole, END, -1)[:, None], missing)

    def asks(self, memory: Given) -> Array:
        """Rows that have a phrase, (batch,)."""
        return (memory.lengths > 0).any(axis=1)


def _shifted(alive: Array) -> Array:
    """What could go on: the empty beginning always can."""
    return jnp.concatenate([jnp.ones_like(alive[..., :1]), alive[..., :-1]], axis=-1)


def _longest(alive: Array) -> Array:
    return jnp.where(alive, jnp.arange(1, alive.shape[-1] + 1, dtype=jnp.int32), 0).max(axis=-1)
