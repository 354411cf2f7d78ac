"""One token at a time, never taken back: the loop that greedy search and sampling share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import Array, lax

from seq2seq.core.seams import END, PAD, Searchable, State
from seq2seq.search.hypotheses import Hypotheses, Trail
from seq2seq.search.stepping import advance, begin, normaliser

Choose: TypeAlias = Callable[[Array, Array], Array]
"""(logits (batch, width, vocabulary), time ()) -> the chosen ids (batch, width)."""


class Rollout(NamedTuple):
    """The loop's carry: State leaves (batch, width, ...), the rest (batch, width)."""

    time: Array
    state: State
    token: Array
    lengths: Array
    finished: Array
    trail: Trail

    def going(self, limit: Array) -> Array:
        """Which places still want a token, (batch, width)."""
        return ~self.finished & (self.lengths < limit[:, None])


def roll_out(
    model: Searchable, source: Array, lengths: Array, limit: Array, choose: Choose, shape: tuple[int, int, bool]
) -> Hypotheses:
    """Let `choose` write `width` hypotheses for each row; `shape` is (max_length, width, attention asked for)."""
    max_length, width, wants_attention = shape
    memory, state, token, positions = begin(model, source, lengths, width)
    trail = Trail.empty(max_length, token.shape, positions if wants_attention else None)
    first = Rollout(jnp.int32(0), state, token, jnp.zeros_like(token), jnp.zeros(token.shape, bool), trail)

    def more(now: Rollout) -> Array:
        return now.going(limit).any()

    def write(now: Rollout) -> Rollout:
        going = now.going(limit)
        state, prediction = advance(model, memory, now.state, now.token)
        token = jnp.where(going, choose(prediction.logits, now.time), PAD)
        logit = jnp.take_along_axis(prediction.logits, token[..., None], axis=-1)[..., 0]
        gains = jnp.where(going, logit - normaliser(prediction.logits), 0.0)
        attention = prediction.attention if wants_attention else None
        trail = now.trail.write(now.time, Trail(token, gains, token, attention))
        ended = now.finished | (going & (token == END))
        return Rollout(now.time + 1, state, token, now.lengths + going.astype(jnp.int32), ended, trail)

    last = lax.while_loop(more, write, first)
    return _result(last)


def _result(last: Rollout) -> Hypotheses:
    """Every place is its own parent, so that the trail is already along its hypotheses; only the ends are cut.

    A place that came to where no token was possible is empty, as in a beam.
    """
    total = last.trail.token_log_probabilities.sum(0)
    lengths = jnp.where(jnp.isneginf(total), 0, last.lengths)
    on = jnp.arange(len(last.trail.tokens))[:, None, None] < lengths
    tokens = jnp.where(on, last.trail.tokens, PAD)
    gains = jnp.where(on, last.trail.token_log_probabilities, 0.0)
    attention = None if last.trail.attention is None else jnp.where(on[..., None], last.trail.attention, 0.0)
    finished = last.finished & (lengths > 0)
    return Trail(tokens, gains, tokens, attention).hypotheses(lengths, finished, total, total)
