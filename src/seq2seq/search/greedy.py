"""Greedy search: at each step the likeliest token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from seq2seq.core.seams import BEGIN, PAD, Key, Searchable
from seq2seq.search.feasible import check_rules, refuse_required
from seq2seq.search.hypotheses import Hypotheses
from seq2seq.search.rollout import Shape, roll_out
from seq2seq.search.rules import Rule
from seq2seq.search.stepping import check_lengths, check_rows, check_slots, room


def greedy(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    limit: ArrayLike,
    max_length: int,
    *,
    banned: tuple[int, ...] = (PAD, BEGIN),
    attention: bool = False,
    slots: int | None = None,
    rules: Sequence[Rule] = (),
) -> Hypotheses:
    """The likeliest token at each step, until END or the row's limit.

    `y_t = argmax_y p(y | y_<t, x)`, the smallest id among equals: beam search of size 1. One hypothesis for each row
    (nbest 1), whose score is its log-probability in nats.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        limit: (batch,) the most target tokens of each row, END counted; at most `max_length`.
        max_length: the target axis of the result; compiled once for each value.
        banned: ids that are never generated; their probability is not given to the others.
        attention: whether to keep the model's attention.
        slots: rows in work at once, each giving its slot to the next row when it is done; None for all rows.
        rules: what may be generated, all but required phrases; compiled once for each shape.

    Raises:
        ShapeError: arrays that do not fit each other.
        SearchError: a `max_length` or `slots` below 1, END banned, rules that nothing can keep, required phrases.

    Example:
        >>> from seq2seq.core.seams import END, Prediction
        >>> @jax.tree_util.register_static
        ... class Spell:  # 4, then 5, then END, whatever the source
        ...     def start(self, source, lengths):
        ...         return (), jnp.zeros_like(lengths)
        ...     def step(self, memory, state, token):
        ...         return state + 1, Prediction(9.0 * jax.nn.one_hot(jnp.array([4, 5, END])[state], 6))
        >>> greedy(Spell(), [[7]], [1], [10], max_length=5).tokens.tolist()
        [[[4, 5, 3, 0, 0]]]
    """
    check_lengths("greedy", max_length, banned)
    check_slots("greedy", slots)
    rows = check_rows("greedy", source, lengths=lengths, limit=limit)
    refuse_required("greedy", rules)
    check_rules("greedy", rules, rows[1], rows[2], max_length, banned)
    return _greedy(model, *rows, banned, Shape(max_length, 1, attention, slots), tuple(rules))


@partial(jax.jit, static_argnames=("banned", "shape"))
def _greedy(
    model: Searchable,
    source: Array,
    lengths: Array,
    limit: Array,
    banned: tuple[int, ...],
    shape: Shape,
    rules: tuple[Rule, ...],
) -> Hypotheses:
    rows = (source, lengths, room(lengths, limit, shape.max_length))
    return roll_out(model, rows, Likeliest(banned), shape, rules)


class Likeliest(NamedTuple):
    """Chooses the largest logit, the smallest id among equals."""

    banned: tuple[int, ...]

    def __call__(self, logits: Array, time: Array, keys: Key | None) -> Array:
        """The ids, (batch, width)."""
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
