"""Greedy search and sampling a token at a time, for whoever wants to see outputs grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from seq2seq.core.seams import Key, Searchable
from seq2seq.errors import SearchError
from seq2seq.search.feasible import check_rules, refuse_required
from seq2seq.search.greedy import Likeliest
from seq2seq.search.rollout import Fixed, Rollout, written
from seq2seq.search.rules import Rule, begin_rules, round_up
from seq2seq.search.sampling import Draw
from seq2seq.search.stepping import begin, check_rows, room


class Step(NamedTuple):
    """What one step wrote.

    Attributes:
        tokens: (batch,) ids, `PAD` in rows that had ended, or where no token was possible.
        log_probabilities: (batch,) theirs, in nats, under the model itself; -inf where none was possible.
        going: (batch,) which rows want more.
    """

    tokens: NDArray[np.int32]
    log_probabilities: NDArray[np.float32]
    going: NDArray[np.bool_]


def stepwise(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    limit: ArrayLike,
    choose: Likeliest | Draw,
    keys: Key | None = None,
    rules: Sequence[Rule] = (),
) -> Iterator[Step]:
    """The tokens that `greedy`, or `sample` with one sample, would give: each as soon as it is there.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        limit: (batch,) the most target tokens of each row, END counted.
        choose: `Likeliest`, or `Draw`; of their options, those that do not choose a token are not used but `banned`.
        keys: (batch,) typed random keys, to draw with.
        rules: what may be generated, all but required phrases.

    Raises:
        ShapeError: arrays that do not fit each other.
        SearchError: rules that nothing can keep, required phrases, or several samples of a row.

    Example:
        >>> from seq2seq.core.seams import END, Prediction
        >>> from seq2seq.search.options import SearchOptions
        >>> @jax.tree_util.register_static
        ... class Spell:  # 4, then 5, then END, whatever the source
        ...     def start(self, source, lengths):
        ...         return (), jnp.zeros_like(lengths)
        ...     def step(self, memory, state, token):
        ...         return state + 1, Prediction(9.0 * jax.nn.one_hot(jnp.array([4, 5, END])[state], 6))
        >>> [step.tokens.tolist() for step in stepwise(Spell(), [[7]], [1], [10], Likeliest(SearchOptions()))]
        [[4], [5], [3]]
    """
    if choose.width != 1:
        raise SearchError(f"stepwise: {choose.width} samples of each row; wanted one, since they end apart.")
    ids, lengths, limit = check_rows("stepwise", source, lengths=lengths, limit=limit)
    refuse_required("stepwise", rules)
    longest = int(limit.max(initial=0))
    check_rules("stepwise", rules, lengths, limit, longest, choose.options.banned)
    fixed, now = _opened(model, ids, lengths, limit, keys, tuple(rules), round_up(longest))
    going = np.asarray(now.going(fixed.limit))[:, 0]
    for time in range(longest):
        if not going.any():
            return
        now, tokens, gains, more = _stepped(model, choose, tuple(rules), fixed, now, np.int32(time))
        going = np.asarray(more)
        yield Step(np.asarray(tokens), np.asarray(gains), going)


@partial(jax.jit, static_argnames="longest")
def _opened(
    model: Searchable,
    source: Array,
    lengths: Array,
    limit: Array,
    keys: Key | None,
    rules: tuple[Rule, ...],
    longest: int,
) -> tuple[Fixed, Rollout]:
    memory, state, token, _ = begin(model, source, lengths, 1, len(lengths))
    given, states = begin_rules(rules, len(lengths), 1, longest)
    first = Rollout(state, states, token, jnp.zeros_like(token), jnp.zeros(token.shape, bool))
    return Fixed(memory, given, room(lengths, limit, longest), keys), first


@jax.jit
def _stepped(
    model: Searchable, choose: Likeliest | Draw, rules: tuple[Rule, ...], fixed: Fixed, now: Rollout, time: Array
) -> tuple[Rollout, Array, Array, Array]:
    now, step = written(model, choose, rules, fixed, now, jnp.broadcast_to(time, fixed.limit.shape))
    return now, step.tokens[:, 0], step.token_log_probabilities[:, 0], now.going(fixed.limit)[:, 0]
