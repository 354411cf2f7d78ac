"""What may come next: the likeliest tokens after a prefix that is given."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import BEGIN, PAD, Prediction, Searchable, State
from seq2seq.errors import ShapeError
from seq2seq.search.stepping import ban, check_rows, normaliser


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
        banned: ids that are left out, or last and impossible where `count` takes all; their probability is not given
            to the others.

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
    prefix, longest = jnp.asarray(prefix, jnp.int32), 0
    with suppress(jax.errors.TracerArrayConversionError):  # nobody knows the lengths while they are traced
        longest = int(np.asarray(many).max(initial=0))
    if prefix.shape[1:] != (len(lengths),) or len(prefix) < longest:
        raise ShapeError(
            f"continuations: prefix has shape {prefix.shape}, wanted (prefix, {len(lengths)}) with at least {longest} "
            "tokens, the largest of prefix_lengths."
        )
    begun = jnp.concatenate([jnp.full((1, len(lengths)), BEGIN, jnp.int32), prefix])
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
