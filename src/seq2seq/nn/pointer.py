"""A pointer: the decoder may copy a token of the source instead of making one of its own."""

from __future__ import annotations

from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import Key
from seq2seq.nn.layers import FF
from seq2seq.nn.loss import Copied

_NONE = -1  # on a place of the source that cannot be copied
_LEAST = 1e-6  # of the attention on what cannot be copied: less is rounding


@module
class Pointer:
    """Copies from the source by the weights of attention (Gu et al. 2016; See et al. 2017, equation 9).

    The gate is theirs of equation 8 the other way round, and reads the readout's vector instead of context, state and
    input, of which that is made.

    With attention weights w_s on the places s of the source, c_s the target's id of the token there, or none, the
    logits a of the readout, and g = sigmoid(gate(vector)) for the readout's vector:

        p(y) = (1 - g * m) softmax(a)_y + g * sum over s of w_s [c_s = y],   m = sum over s of w_s [c_s is some id]

    What the weights put on tokens that the target does not have stays with the readout, so that p sums to 1, and a
    source of length 0 changes nothing. (In the papers the source brings in words that the vocabulary lacks; here those
    share the id of the unknown word, and --replace-unknown puts them in. Scores take one unknown word for any other, so
    what is to be ranked by its names had better be read in pieces.)

    Attributes:
        gate: from the readout's vector to one number.
        targets: for each id of the source, the id of the same token in the target, or -1.

    Example:
        >>> pointer = Pointer.init(jax.random.key(0), 5, (-1, 1, -1, 3, 6))
        >>> places = pointer.places(jnp.array([[4, 0], [3, 0]]))          # (source, batch) -> (batch, source)
        >>> weights = jnp.array([[0.5, 0.5], [0.0, 0.0]])
        >>> p = jnp.exp(pointer.mixed(jnp.zeros((2, 8)), jnp.zeros((2, 5)), weights, places))
        >>> p = p / p.sum(-1, keepdims=True)
        >>> p[0, 6].round(4).item(), p[1, 6].round(4).item()              # 1/2 * 1/8 + 1/2 * 1/2, and 1/8
        (0.3125, 0.125)
    """

    gate: FF
    targets: tuple[int, ...]

    @classmethod
    def init(cls, key: Key, vector_size: int, targets: tuple[int, ...]) -> Self:
        """A fresh gate over the readout's vector."""
        return cls(gate=FF.init(key, vector_size, 1), targets=tuple(targets))

    def places(self, source: Array) -> Array:
        """The target's id on each place of the source, -1 where there is none: (source, batch) -> (batch, source)."""
        return jnp.array(self.targets, jnp.int32)[source].T

    def weights_on(self, token: Array, weights: Array, places: Array) -> tuple[Array, Array]:
        """The weight, (batch,) each, of the places that hold `token`, (batch,), and of those that hold any id."""
        return jnp.where(places == token[:, None], weights, 0).sum(-1), jnp.where(places != _NONE, weights, 0).sum(-1)

    def copied(self, vectors: Array, on_target: Array, on_any: Array) -> Copied:
        """What the loss wants to know, from vectors (..., readout) and the weights that `weights_on` found, (...)."""
        logit = self.gate(vectors)[..., 0]
        return Copied(_log_kept(logit, on_any), jax.nn.sigmoid(logit) * on_target)

    def mixed(self, logits: Array, vector: Array, weights: Array, places: Array) -> Array:
        """The logits, (batch, vocabulary), with what is copied: of places whose id they have, the others stay theirs.

        Only the places of the source are touched: a = logits and with z = logsumexp(a) - log(1 - g m),

            a_y <- log(exp(a_y) + exp(z) g sum over s of w_s [c_s = y])
        """
        places = jnp.where(places < logits.shape[-1], places, _NONE)
        weights = jnp.where(places != _NONE, weights, 0)
        rows, at = jnp.arange(len(logits))[:, None], places.clip(0)
        on_each = jnp.zeros_like(logits, weights.dtype).at[rows, at].add(weights)  # repeated tokens count together
        on_same = jnp.where(places != _NONE, jnp.take_along_axis(on_each, at, -1), 0)
        kept, copied = self.copied(vector[:, None], on_same, weights.sum(-1, keepdims=True))
        ids = jnp.where(copied > 0, places, logits.shape[-1])  # past the end: dropped
        z = jax.nn.logsumexp(logits, -1, keepdims=True) - kept
        before = jnp.take_along_axis(logits, at, -1)
        after = jnp.logaddexp(before, z + jnp.log(jnp.where(copied > 0, copied, 1)))
        return logits.at[rows, ids].set(after, mode="drop")


def _log_kept(logit: Array, on_any: Array) -> Array:
    """log(1 - g m) for g = sigmoid(logit), as log of (1 - g) + g (1 - m): finite, with a gradient also where g is 1."""
    shut, left = jax.nn.log_sigmoid(-logit), 1 - on_any
    some = left > _LEAST
    passed = jax.nn.log_sigmoid(logit) + jnp.log(jnp.where(some, left, 1))
    return jnp.where(some, jnp.logaddexp(shut, passed), shut)
