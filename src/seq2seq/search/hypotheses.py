"""What every search returns, and how a search that keeps back-pointers reads its hypotheses back."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from seq2seq.core.seams import PAD


class Hypotheses(NamedTuple):
    """The hypotheses of each row, best first (samples: in the order drawn).

    A place is empty, with score and log-probability minus infinity and length 0, where the row has fewer hypotheses
    than were asked for. A row that had nothing to say (source length 0, or limit 0) has one unfinished hypothesis of
    length 0 and log-probability 0; of samples as many as were asked for.

    Attributes:
        tokens: (batch, nbest, target) int32: the ids, `END` kept as the last token, then `PAD`.
        lengths: (batch, nbest) int32: tokens, `END` counted.
        finished: (batch, nbest) bool: whether it ended with `END`, or was cut off at its row's limit.
        scores: (batch, nbest): what it was ranked by.
        log_probabilities: (batch, nbest): the sum of its tokens' log-probabilities, in nats.
        token_log_probabilities: (batch, nbest, target): natural logs under the model itself, 0 after the end.
        attention: (batch, nbest, target, source), 0 after the end; None if not asked for or not given by the model.
    """

    tokens: Array
    lengths: Array
    finished: Array
    scores: Array
    log_probabilities: Array
    token_log_probabilities: Array
    attention: Array | None


class Trail(NamedTuple):
    """What a search leaves behind at each step, time-major, so that nothing written is ever moved again.

    Attributes:
        tokens: (time, batch, beam) the token put in each place of the beam.
        token_log_probabilities: (time, batch, beam) its natural log-probability.
        parents: (time, batch, beam) the place it was reached from; None where every place is its own parent.
        attention: (time, batch, beam, source) what each place attended to before its successors were chosen, or None.
    """

    tokens: Array
    token_log_probabilities: Array
    parents: Array | None
    attention: Array | None

    @classmethod
    def empty(cls, max_length: int, shape: tuple[int, ...], source: int | None) -> Trail:
        """A trail of `max_length` steps for `shape` (batch, beam); with attention over `source` positions, if any."""
        ids = jnp.full((max_length, *shape), PAD, jnp.int32)
        gains = jnp.zeros((max_length, *shape), jnp.float32)
        attention = None if source is None else jnp.zeros((max_length, *shape, source), jnp.float32)
        return cls(ids, gains, ids, attention)

    def write(self, time: Array, step: Trail) -> Trail:
        """The trail with `step`, whose leaves have no time axis, written at `time`."""
        return jax.tree.map(lambda whole, now: whole.at[time].set(now), self, step)

    def follow(self, lengths: Array, places: Array) -> Trail:
        """The trail along the hypotheses of `lengths` whose last tokens are in `places`, both (batch, nbest).

        Returns:
            A trail whose beam axis is nbest, filled with PAD and 0 after each hypothesis' end.
        """

        def back(place: Array, at: tuple[Array, Trail]) -> tuple[Array, Trail]:
            time, step = at
            on = time < lengths
            parent = place if step.parents is None else jnp.where(on, pick(step.parents, place), place)
            attention = None if step.attention is None else jnp.where(on[..., None], pick(step.attention, parent), 0.0)
            tokens = jnp.where(on, pick(step.tokens, place), PAD)
            gains = jnp.where(on, pick(step.token_log_probabilities, place), 0.0)
            return parent, Trail(tokens, gains, parent, attention)

        times = jnp.arange(self.tokens.shape[0])
        return lax.scan(back, places, (times, self), reverse=True)[1]

    def hypotheses(self, lengths: Array, finished: Array, scores: Array, log_probabilities: Array) -> Hypotheses:
        """The result: this trail, already following its hypotheses, with their (batch, nbest) summaries."""
        attention = None if self.attention is None else jnp.moveaxis(self.attention, 0, 2)
        tokens, gains = jnp.moveaxis(self.tokens, 0, 2), jnp.moveaxis(self.token_log_probabilities, 0, 2)
        return Hypotheses(tokens, lengths, finished, scores, log_probabilities, gains, attention)


def pick(leaf: Array, places: Array) -> Array:
    """Of each row of `leaf` (batch, beam, ...) the `places` (batch, nbest): (batch, nbest, ...).

    Example:
        >>> pick(jnp.array([[10, 11], [20, 21]]), jnp.array([[1, 1, 0], [0, 0, 0]])).tolist()
        [[11, 11, 10], [20, 20, 20]]
    """
    return jax.vmap(lambda row, chosen: row[chosen])(leaf, places)
