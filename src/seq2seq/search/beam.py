"""Beam search: batched, compiled, equal to brute force when the beam is wide enough.

What is searched for. A hypothesis with log-probability `log p` and `length` tokens, END counted, has the score

    score = log p / length ** length_penalty

and a finished hypothesis (one that ends with END) ranks before every one that was cut off at its row's limit;
otherwise the higher score ranks first.

How. At each step the `size` likeliest continuations of all places of the beam are chosen by log p, END among them.
Those that end leave the beam and compete, by score, for the n-best list; the others fill the next beam. A row stops at
its limit, when nothing is left to continue, or when it is certain that nothing to come can enter its n-best list.
Since that stop only ever spares steps that could change nothing, neither n-best nor batch mates change the best
hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import BEGIN, END, PAD, Memory, Searchable, State
from seq2seq.errors import SearchError
from seq2seq.search import slots
from seq2seq.search.hypotheses import Hypotheses, Trail, pick
from seq2seq.search.stepping import (
    advance,
    begin,
    check_lengths,
    check_rows,
    check_slots,
    normaliser,
    room,
    top_k,
    used,
)


@dataclass(frozen=True, kw_only=True)
class BeamOptions:
    """How to search.

    Attributes:
        size: places in the beam of each row.
        nbest: hypotheses returned for each row; changes nothing of the best one.
        length_penalty: the power of the length by which log p is divided: 0 ranks by log p, 1 by nats per token.
        max_length: the target axis of the result.
        banned: ids that are never generated; their probability is not given to the others.
        attention: whether to keep the model's attention.
        slots: rows in work at once, each giving its slot to the next row when it is done; None for all rows.

    Raises:
        SearchError: a value that finds nothing.

    Example:
        >>> BeamOptions(size=3, nbest=5)
        Traceback (most recent call last):
        seq2seq.errors.SearchError: BeamOptions: nbest is 5, wanted 1 to size = 3; widen the beam.
    """

    size: int = 5
    nbest: int = 1
    length_penalty: float = 1.0
    max_length: int = 100
    banned: tuple[int, ...] = (PAD, BEGIN)
    attention: bool = False
    slots: int | None = None

    def __post_init__(self) -> None:
        check_lengths("BeamOptions", self.max_length, self.banned)
        check_slots("BeamOptions", self.slots)
        if self.size < 1:
            raise SearchError(f"BeamOptions: size is {self.size}, wanted at least 1.")
        if not 1 <= self.nbest <= self.size:
            raise SearchError(f"BeamOptions: nbest is {self.nbest}, wanted 1 to size = {self.size}; widen the beam.")
        if not self.length_penalty >= 0:
            raise SearchError(f"BeamOptions: length_penalty is {self.length_penalty}, wanted at least 0.")

    def divisors(self) -> Array:
        """What log p is divided by, for each length 0 ... `max_length`; never decreasing: `_settled` relies on it."""
        return jnp.asarray(np.maximum(np.arange(self.max_length + 1), 1) ** float(self.length_penalty), jnp.float32)


class Ended(NamedTuple):
    """The best finished hypotheses so far, best first, each (batch, nbest); score minus infinity where none."""

    scores: Array
    log_probabilities: Array
    lengths: Array
    places: Array


class Beams(NamedTuple):
    """What changes with each step. State leaves are (batch, beam, ...).

    Attributes:
        token: (batch, beam) the last token of each place.
        log_probabilities: (batch, beam) of each hypothesis that goes on; minus infinity in an empty place.
        done: (batch,) rows whose answer is settled; what their places do from then on is never read.
    """

    state: State
    token: Array
    log_probabilities: Array
    ended: Ended
    done: Array


class Chosen(NamedTuple):
    """The best continuations over all places, best first, each (batch, beam)."""

    log_probabilities: Array
    tokens: Array
    gains: Array
    parents: Array


def beam(
    model: Searchable, source: ArrayLike, lengths: ArrayLike, limit: ArrayLike, options: BeamOptions | None = None
) -> Hypotheses:
    """The hypotheses with the highest `log p / length ** length_penalty` that the beam finds, best first.

    Finished hypotheses come first; where a row has fewer than nbest, those cut off at its limit follow, by score.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        limit: (batch,) the most target tokens of each row, END counted; at most `options.max_length`.
        options: how to search; compiled once for each value.

    Raises:
        ShapeError: arrays that do not fit each other, or a model's step that does not keep its state's shapes.

    Example:
        >>> from seq2seq.core.seams import Prediction
        >>> @jax.tree_util.register_static
        ... class Spell:  # 4, then 5, then END, most likely
        ...     def start(self, source, lengths):
        ...         return (), jnp.zeros_like(lengths)
        ...     def step(self, memory, state, token):
        ...         return state + 1, Prediction(9.0 * jax.nn.one_hot(jnp.array([4, 5, END])[state], 6))
        >>> options = BeamOptions(size=4, nbest=2, length_penalty=0.0, max_length=5)
        >>> found = beam(Spell(), [[7]], [1], [4], options)
        >>> found.tokens.tolist()
        [[[4, 5, 3, 0, 0], [3, 0, 0, 0, 0]]]
        >>> found.lengths.tolist(), found.finished.tolist()
        ([[3, 1]], [[True, True]])
    """
    options = options or BeamOptions()
    return _beam(model, *check_rows("beam", source, lengths=lengths, limit=limit), options)


@partial(jax.jit, static_argnames="options")
def _beam(model: Searchable, source: Array, lengths: Array, limit: Array, options: BeamOptions) -> Hypotheses:
    limit = room(lengths, limit, options.max_length)
    return _read_back(explore(model, source, lengths, limit, options), limit, options)


def explore(model: Searchable, source: Array, lengths: Array, limit: Array, options: BeamOptions) -> slots.Outcome:
    """Run the loop until every row is done; `limit` as `room` gives it."""
    rows, trail = _first(model, source, lengths, limit, options)

    def step(fixed: tuple[Memory, Array], now: Beams, time: Array) -> tuple[Beams, Trail]:
        return _extend(model, fixed, options, now, time)

    return slots.run(step, lambda _, now: now.done, rows, trail, used(lengths), options.slots or len(lengths))


def _first(
    model: Searchable, source: Array, lengths: Array, limit: Array, options: BeamOptions
) -> tuple[tuple[tuple[Memory, Array], Beams], Trail]:
    """Memory with the limits, beams whose first place holds the empty hypothesis of log-probability 0; and a trail."""
    memory, state, token, positions = begin(model, source, lengths, options.size, options.slots or len(lengths))
    log_probabilities = jnp.full(token.shape, -jnp.inf, jnp.float32).at[:, 0].set(0.0)
    nothing, nowhere = jnp.full((len(limit), options.nbest), -jnp.inf, jnp.float32), token[:, : options.nbest]
    beams = Beams(state, token, log_probabilities, Ended(nothing, nothing, nowhere, nowhere), limit <= 0)
    trail = Trail.empty(options.max_length, token.shape, positions if options.attention else None)
    return ((memory, limit), beams), trail


def _extend(
    model: Searchable, fixed: tuple[Memory, Array], options: BeamOptions, now: Beams, time: Array
) -> tuple[Beams, Trail]:
    """One step of every row: predict, choose, take out what ended, see which rows are done."""
    memory, limit = fixed
    state, prediction = advance(model, memory, now.state, now.token)
    chosen = _choose(prediction.logits, now.log_probabilities, options)
    attention = prediction.attention if options.attention else None
    open_rows = ~now.done[:, None]
    ends = chosen.tokens == END
    ended = _take_in(now.ended, chosen, ends & open_rows, time[:, None] + 1, options)
    going = jnp.where(ends, -jnp.inf, chosen.log_probabilities)
    going = jnp.where(open_rows, going, now.log_probabilities)
    done = now.done | (time + 1 >= limit) | _settled(going, ended, limit, options)
    state = jax.tree.map(lambda leaf: pick(leaf, chosen.parents), state)
    beams = Beams(state, chosen.tokens, going, ended, done)
    return beams, Trail(chosen.tokens, chosen.gains, chosen.parents, attention)


def _choose(logits: Array, log_probabilities: Array, options: BeamOptions) -> Chosen:
    """The `size` best of all continuations: first within each place, by logit, then among those of all places.

    Only what may be chosen is ever normalised. Each place offers as many more as there are banned ids, so that
    enough remain when those are struck out.
    """
    vocabulary = logits.shape[-1]
    values, ids = top_k(logits, min(options.size + len(options.banned), vocabulary))
    gains = values - normaliser(logits)[..., None]
    gains = jnp.where(jnp.isin(ids, jnp.array(options.banned, jnp.int32)), -jnp.inf, gains)
    totals = log_probabilities[..., None] + gains  # (batch, beam, offered)
    offered = totals.shape[-1]
    flat = (len(totals), -1)
    best, at = lax.top_k(totals.reshape(flat), options.size)
    return Chosen(best, pick(ids.reshape(flat), at), pick(gains.reshape(flat), at), at // offered)


def _take_in(ended: Ended, chosen: Chosen, ends: Array, length: Array, options: BeamOptions) -> Ended:
    """The n best of what had ended and what `ends` now at `length` (batch, 1); the earlier one first among equals."""
    scores = jnp.where(ends, chosen.log_probabilities / options.divisors()[length], -jnp.inf)
    places = jnp.broadcast_to(jnp.arange(options.size, dtype=jnp.int32), scores.shape)
    new = Ended(scores, chosen.log_probabilities, jnp.broadcast_to(length, places.shape), places)
    both = jax.tree.map(lambda old, now: jnp.concatenate([old, now], axis=1), ended, new)
    _, at = lax.top_k(both.scores, options.nbest)
    return jax.tree.map(lambda leaf: pick(leaf, at), both)


def _settled(going: Array, ended: Ended, limit: Array, options: BeamOptions) -> Array:
    """Rows, (batch,), in which nothing that still goes on can enter the n-best list.

    A hypothesis that goes on has log p <= 0 and every further token adds something <= 0, while its divisor grows at
    most to that of the limit. So whatever comes of it scores at most (log p now) / (divisor of the limit). Where the
    n-th best that has ended already scores as much, none of it can get past that one. It also holds in floating
    point: the normaliser is never below a logit, and addition and division round monotonically. With no hypothesis
    going on the bound is minus infinity, and the row is done.
    """
    bound = going.max(axis=1) / options.divisors()[limit]
    return bound <= ended.scores[:, -1]


def _read_back(found: slots.Outcome, limit: Array, options: BeamOptions) -> Hypotheses:
    """The n best finished hypotheses, then those cut off, followed back from their last tokens to their first."""
    last: Beams = found.now
    cut, places = lax.top_k(last.log_probabilities, options.nbest)
    lengths = jnp.where(jnp.isneginf(cut), 0, limit[:, None])
    unfinished = Ended(cut / options.divisors()[limit][:, None], cut, lengths, places)
    both = jax.tree.map(lambda old, now: jnp.concatenate([old, now], axis=1), last.ended, unfinished)
    have = (last.ended.scores > -jnp.inf).sum(axis=1, keepdims=True)
    rank = jnp.arange(options.nbest)
    finished = rank < have
    best = jax.tree.map(lambda leaf: pick(leaf, jnp.where(finished, rank, options.nbest + rank - have)), both)
    trail = found.trail.follow(best.lengths, best.places)
    return trail.hypotheses(best.lengths, finished, best.scores, best.log_probabilities)
