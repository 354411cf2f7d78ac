"""The loss: token cross-entropy as a sum and a count, in blocks that never hold all logits."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from seq2seq.core.seams import Loss
from seq2seq.errors import ShapeError

_BLOCK = 2**23
"""Logits that may stand in memory at once (32 MiB of float32)."""


def cross_entropy(
    readout: Callable[[Array], Array],
    states: Array,
    targets: ArrayLike,
    mask: ArrayLike,
    *,
    smoothing: float = 0.0,
) -> Loss:
    """The cross-entropy of `softmax(readout(states))` against the targets, in nats, summed over tokens.

    With V words, logits a, target y and smoothing e (Szegedy et al. 2016, section 7):

    sum over tokens of  logsumexp(a) - (1 - e) * a_y - e * mean(a)

    Many tokens times a large vocabulary go through in blocks of tokens that are computed again in the backward pass,
    so that all logits never stand in memory at once.

    Args:
        readout: states to logits, (..., hidden) -> (..., vocabulary); a module such as `FF`, or any function.
        states: (target, batch, hidden).
        targets: (target, batch) ids.
        mask: (target, batch) 1 on tokens, 0 on padding.
        smoothing: how much of the probability is spread over all words; 0 for none.

    Raises:
        ShapeError: states, targets and mask are not of one (target, batch).

    Example:
        >>> loss = cross_entropy(lambda x: x, jnp.zeros((5, 2, 4)), jnp.zeros((5, 2), int), jnp.ones((5, 2)))
        >>> round(float(loss.mean), 4), float(loss.count)                     # log 4
        (1.3863, 10.0)
    """
    targets, mask = jnp.asarray(targets), jnp.asarray(mask, states.dtype)
    if not states.shape[:-1] == targets.shape == mask.shape:
        raise ShapeError(
            f"cross_entropy: states {states.shape}, targets {targets.shape} and mask {mask.shape} "
            "should be (target, batch, hidden), (target, batch) and (target, batch)."
        )

    def block(states: Array, targets: Array, mask: Array) -> Array:
        # Not a product with the mask: of what a readout forbids, padding perhaps, it says -inf, and inf * 0 is NaN.
        return jnp.where(mask > 0, token_cross_entropy(readout(states), targets, smoothing) * mask, 0).sum()

    vocabulary = jax.eval_shape(readout, states).shape[-1]
    steps = max(1, _BLOCK // (vocabulary * targets.shape[1]))  # time steps in a block
    if targets.shape[0] <= steps:
        return Loss(block(states, targets, mask), mask.sum())
    blocks = -(-targets.shape[0] // steps)

    def in_blocks(x: Array) -> Array:
        padded = jnp.pad(x, [(0, blocks * steps - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(blocks, steps, *x.shape[1:])

    # prevent_cse is for code outside loops; in a scan it would only keep XLA from optimising.
    again = jax.checkpoint(block, prevent_cse=False)
    total, _ = jax.lax.scan(
        lambda total, xs: (total + again(*xs), None),
        jnp.zeros((), states.dtype),
        (in_blocks(states), in_blocks(targets), in_blocks(mask)),
    )
    return Loss(total, mask.sum())


def token_cross_entropy(logits: Array, targets: Array, smoothing: float = 0.0) -> Array:
    """logsumexp(a) - (1 - e) * a_y - e * mean(a) of each token: (..., vocabulary), (...) -> (...), in nats.

    Example:
        >>> round(float(token_cross_entropy(jnp.array([0.0, jnp.log(3.0)]), jnp.array(1))), 4)     # -log 3/4
        0.2877
    """
    chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    loss = jax.nn.logsumexp(logits, -1) - (1 - smoothing) * chosen
    return loss - smoothing * logits.mean(-1) if smoothing else loss
