"""Greedy search: at each step the likeliest token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from seq2seq.core.seams import Key, Searchable
from seq2seq.search.feasible import check_rules, refuse_required
from seq2seq.search.hypotheses import Hypotheses
from seq2seq.search.options import SearchOptions
from seq2seq.search.rollout import roll_out
from seq2seq.search.rules import Rule
from seq2seq.search.stepping import check_rows


def greedy(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    limit: ArrayLike,
    options: SearchOptions | None = None,
    rules: Sequence[Rule] = (),
) -> Hypotheses:
    """The likeliest token at each step, until END or the row's limit.

    `y_t = argmax_y p(y | y_<t, x)`, the smallest id among equals: beam search of size 1. One hypothesis for each row
    (nbest 1), whose score is its log-probability in nats.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        limit: (batch,) the most target tokens of each row, END counted; at most `options.max_length`.
        options: what every search is told; compiled once for each value.
        rules: what may be generated, all but required phrases; compiled once for each shape.

    Raises:
        ShapeError: arrays that do not fit each other.
        SearchError: rules that nothing can keep, or required phrases.

    Example:
        >>> import jax
        >>> from seq2seq.core.seams import END, Prediction
        >>> @jax.tree_util.register_static
        ... class Spell:  # 4, then 5, then END, whatever the source
        ...     def start(self, source, lengths):
        ...         return (), jnp.zeros_like(lengths)
        ...     def step(self, memory, state, token):
        ...         return state + 1, Prediction(9.0 * jax.nn.one_hot(jnp.array([4, 5, END])[state], 6))
        >>> greedy(Spell(), [[7]], [1], [10], SearchOptions(max_length=5)).tokens.tolist()
        [[[4, 5, 3, 0, 0]]]
    """
    source, lengths, limit = check_rows("greedy", source, lengths=lengths, limit=limit)
    options = options or SearchOptions()
    refuse_required("greedy", rules)
    check_rules("greedy", rules, lengths, limit, options.max_length, options.banned)
    return roll_out(model, (source, lengths, limit), Likeliest(options), tuple(rules))


class Likeliest(NamedTuple):
    """Chooses the largest logit, the smallest id among equals."""

    options: SearchOptions

    @property
    def width(self) -> int:
        """One hypothesis of each row."""
        return 1

    def __call__(self, logits: Array, time: Array, keys: Key | None) -> Array:
        """The ids, (batch, width)."""
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
