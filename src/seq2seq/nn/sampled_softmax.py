"""The loss against a sample of the vocabulary: cheaper in training where the vocabulary is large."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from seq2seq.core.seams import Key, Loss
from seq2seq.nn.layers import FF
from seq2seq.nn.loss import masked, wide


def sampled_cross_entropy(
    columns: Callable[[Array], FF], states: Array, targets: ArrayLike, mask: ArrayLike, drawn: Array, log_counts: Array
) -> Loss:
    """The cross-entropy with its normaliser estimated from a sample, in nats, summed over tokens.

    (After Jean et al. 2015, whose words are those of a part of the corpus, the target among them, each once.)

    With logits a, target y and the drawn words k_1, ..., k_S, of which n_j = S Q(k_j) copies are expected:

    sum over tokens of  log(exp(a_y) + sum over j, k_j != y, of exp(a_{k_j}) / n_j) - a_y

    As S grows it becomes the cross-entropy itself (Bengio and Senecal 2008). One sample serves the whole batch, so that
    its logits are one product. It is for training: what a model gives to a text is measured against all words.

    Args:
        columns: the output layer at some ids, (n,) -> `FF` with w (hidden, n).
        states: (target, batch, hidden).
        targets: (target, batch) ids.
        mask: (target, batch) 1 on tokens, 0 on padding.
        drawn: (samples,) ids, as `draw_words` draws them.
        log_counts: (samples,) log n_j.

    Example:
        >>> layer = FF(w=jnp.zeros((3, 9)), b=jnp.zeros(9))
        >>> drawn, log_counts = draw_words(jax.random.key(0), 9, 500)
        >>> at = lambda ids: FF(w=layer.w[:, ids], b=layer.b[ids])
        >>> loss = sampled_cross_entropy(
        ...     at, jnp.zeros((5, 2, 3)), jnp.zeros((5, 2), int), jnp.ones((5, 2)), drawn, log_counts
        ... )
        >>> bool(abs(loss.mean - jnp.log(9)) < 0.1)
        True
    """
    kind = wide(states.dtype)
    targets, mask = jnp.asarray(targets), jnp.asarray(mask, kind)
    flat, wanted = states.reshape(-1, states.shape[-1]), targets.reshape(-1)
    own = columns(wanted)
    target = (jnp.einsum("nh,hn->n", flat, own.w) + own.b).astype(kind)
    others = jnp.where(wanted[:, None] == drawn, -jnp.inf, columns(drawn)(flat).astype(kind) - log_counts)
    losses = jnp.logaddexp(target, jax.nn.logsumexp(others, axis=-1)) - target
    return Loss(masked(losses.reshape(targets.shape), mask).sum(), mask.sum())


def draw_words(key: Key, vocabulary: int, samples: int) -> tuple[Array, Array]:
    """`samples` ids, drawn with replacement by Zipf's law, and the logs of how many copies of each are expected.

    Q(k) = log((k + 2) / (k + 1)) / log(vocabulary + 1), as suits ids in the order of frequency.

    Example:
        >>> drawn, log_counts = draw_words(jax.random.key(0), 5, 1000)
        >>> bool(abs((drawn == 0).sum() - jnp.exp(log_counts[drawn == 0][0])) < 60)
        True
    """
    uniform = jax.random.uniform(key, (samples,))
    drawn = jnp.floor(jnp.exp(uniform * math.log(vocabulary + 1))).astype(jnp.int32) - 1
    drawn = drawn.clip(0, vocabulary - 1)
    probability = jnp.log1p(1 / (drawn.astype(jnp.float32) + 1)) / math.log(vocabulary + 1)
    return drawn, jnp.log(samples * probability)
