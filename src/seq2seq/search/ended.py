"""The finished hypotheses of a beam: the best of each group, and when nothing to come can be among them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from seq2seq.search.choosing import Chosen
from seq2seq.search.hypotheses import pick
from seq2seq.search.options import BeamOptions


class Ended(NamedTuple):
    """The best finished hypotheses so far, best first in each group; score minus infinity where none.

    All are (batch, kept), group after group; of each group nbest / groups are kept, rounded up.
    """

    scores: Array
    log_probabilities: Array
    lengths: Array
    places: Array

    @classmethod
    def none(cls, rows: int, options: BeamOptions) -> Ended:
        """Before the first step."""
        shape = (rows, options.groups * -(-options.nbest // options.groups))
        nothing, nowhere = jnp.full(shape, -jnp.inf, jnp.float32), jnp.zeros(shape, jnp.int32)
        return cls(nothing, nothing, nowhere, nowhere)


def _split(leaf: Array, groups: int) -> Array:
    """(batch, beam) -> (batch * groups, beam / groups): each group is a row of its own."""
    return leaf.reshape(-1, leaf.shape[1] // groups)


def take_in(
    ended: Ended,
    chosen: Chosen,
    ends: Array,
    at: tuple[Array, Array | None, Array | None],
    options: BeamOptions,
) -> Ended:
    """The best of each group of what had ended and what `ends` now; the earlier one first among equals.

    `at` is the length (batch, 1), the coverage sums and the real source tokens, or None.
    """
    length, sums, on = at
    scores = chosen.log_probabilities / options.divisors()[length] + options.coverage(sums, on)
    places = jnp.broadcast_to(jnp.arange(options.size, dtype=jnp.int32), scores.shape)
    lengths = jnp.broadcast_to(length, places.shape)
    new = Ended(jnp.where(ends, scores, -jnp.inf), chosen.log_probabilities, lengths, places)
    old, new = jax.tree.map(lambda leaf: _split(leaf, options.groups), (ended, new))
    both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), old, new)
    _, best = lax.top_k(both.scores, old.scores.shape[1])
    return jax.tree.map(lambda leaf: pick(leaf, best).reshape(ended.scores.shape), both)


def settled(going: Array, ended: Ended, limit: Array, options: BeamOptions) -> Array:
    """Rows, (batch,), in which nothing that still goes on can enter the n-best list of its group.

    A hypothesis that goes on has log p <= 0 and every further token adds something <= 0, while its divisor grows at
    most to that of the limit, and its coverage is <= 0. So whatever comes of it scores at most (log p now) / (divisor
    of the limit). Where the n-th best that has ended already scores as much, none of it can get past that one. It also
    holds in floating point: the normaliser is never below a logit, and addition and division round monotonically.
    With no hypothesis going on the bound is minus infinity, and the row is done.
    """
    most = _split(going, options.groups).max(axis=1).reshape(len(going), -1)  # (batch, groups)
    last = _split(ended.scores, options.groups)[:, -1].reshape(len(going), -1)
    return (most / options.divisors()[limit][:, None] <= last).all(axis=1)
