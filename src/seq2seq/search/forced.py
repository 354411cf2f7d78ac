"""Targets that are given: what the model says of each token, where it looks, and what might come next."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import BEGIN, PAD, Prediction, Searchable, State
from seq2seq.search.scoring import check_targets
from seq2seq.search.stepping import ban, check_rows, normaliser


class Forced(NamedTuple):
    """What a model says of targets that are given.

    Attributes:
        log_probabilities: (target, batch) of each token, in nats, 0 on padding.
        attention: (target, batch, source) when that token was predicted, 0 on padding; None if the model gives none.
    """

    log_probabilities: Array
    attention: Array | None


def force(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    target_in: ArrayLike,
    target_out: ArrayLike,
    target_mask: ArrayLike,
) -> Forced:
    """As `score`, with the attention: `log p(target_out_t | target_in_<=t, x)` and where the model looked for it.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        target_in: (target, batch) ids, BEGIN first.
        target_out: (target, batch) ids, END last.
        target_mask: (target, batch) non-zero on tokens, 0 on padding.

    Raises:
        ShapeError: arrays that do not fit each other.

    Example:
        >>> @jax.tree_util.register_static
        ... class First:  # 4 or END, evenly, looking at the first token of the source
        ...     def start(self, source, lengths):
        ...         return source.T, lengths
        ...     def step(self, memory, state, token):
        ...         look = jax.nn.one_hot(0 * token, memory.shape[1])
        ...         return state, Prediction(jnp.log(jnp.array([0, 0, 0, 0.5, 0.5])) + 0 * state[:, None], look)
        >>> found = force(First(), [[7], [8]], [2], [[2], [4]], [[4], [3]], [[1], [1]])
        >>> jnp.exp(found.log_probabilities).tolist(), found.attention.tolist()
        ([[0.5], [0.5]], [[[1.0, 0.0]], [[1.0, 0.0]]])
    """
    source, lengths = check_rows("force", source, lengths=lengths)
    return _force(model, source, lengths, *check_targets("force", len(lengths), target_in, target_out, target_mask))


@jax.jit
def _force(
    model: Searchable, source: Array, lengths: Array, target_in: Array, target_out: Array, target_mask: Array
) -> Forced:
    memory, state = model.start(source, lengths)

    def read(state: State, tokens: tuple[Array, Array]) -> tuple[State, tuple[Array, Array | None]]:
        given, wanted = tokens
        state, prediction = model.step(memory, state, given)
        logits = prediction.logits.astype(jnp.float32)
        gains = jnp.take_along_axis(logits, wanted[:, None], axis=-1)[:, 0] - normaliser(logits)
        return state, (gains, prediction.attention)

    _, (gains, attention) = lax.scan(read, state, (target_in, target_out))
    on = target_mask.astype(bool)
    return Forced(jnp.where(on, gains, 0.0), None if attention is None else jnp.where(on[..., None], attention, 0.0))


class Continuations(NamedTuple):
    """What may come next, the likeliest first.

    Attributes:
        tokens: (batch, count) ids.
        log_probabilities: (batch, count), in nats.
        attention: (batch, source) where the model looks for it; None if it gives none.
    """

    tokens: Array
    log_probabilities: Array
    attention: Array | None


def continuations(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    prefix: ArrayLike,
    prefix_lengths: ArrayLike,
    count: int,
    banned: tuple[int, ...] = (PAD, BEGIN),
) -> Continuations:
    """The likeliest tokens after a prefix: the largest `log p(y | prefix, x)`.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        prefix: (prefix, batch) ids that the output begins with, 0 on padding.
        prefix_lengths: (batch,) tokens in each prefix, 0 for none.
        count: how many; at most the vocabulary.
        banned: ids that are left out; their probability is not given to the others.

    Raises:
        ShapeError: arrays that do not fit each other.

    Example:
        >>> @jax.tree_util.register_static
        ... class Next:  # the token after the last one
        ...     def start(self, source, lengths):
        ...         return (), lengths
        ...     def step(self, memory, state, token):
        ...         return state, Prediction(9.0 * jax.nn.one_hot(token + 1, 9))
        >>> continuations(Next(), [[7, 7]], [1, 1], [[4, 6], [5, 0]], [2, 1], 1).tokens.tolist()
        [[6], [7]]
    """
    ids, lengths, many = check_rows("continuations", source, lengths=lengths, prefix_lengths=prefix_lengths)
    begun = jnp.concatenate([jnp.full((1, len(lengths)), BEGIN, jnp.int32), jnp.asarray(prefix, jnp.int32)])
    return _continuations(model, ids, lengths, begun, many, count, banned)


@partial(jax.jit, static_argnames=("count", "banned"))
def _continuations(
    model: Searchable,
    source: Array,
    lengths: Array,
    begun: Array,
    many: Array,
    count: int,
    banned: tuple[int, ...],
) -> Continuations:
    memory, state = model.start(source, lengths)
    shapes = jax.eval_shape(lambda: model.step(memory, state, begun[0])[1])
    empty: Prediction = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def read(carry: tuple[State, Prediction], now: tuple[Array, Array]) -> tuple[tuple[State, Prediction], None]:
        state, kept = carry
        time, token = now
        state, prediction = model.step(memory, state, token)
        here = (time == many)[:, None]
        return (state, jax.tree.map(lambda new, old: jnp.where(here, new, old), prediction, kept)), None

    (_, last), _ = lax.scan(read, (state, empty), (jnp.arange(len(begun)), begun))
    logits = last.logits.astype(jnp.float32)
    values, tokens = lax.top_k(ban(logits, banned), min(count, logits.shape[-1]))
    return Continuations(tokens, values - normaliser(logits)[:, None], last.attention)
