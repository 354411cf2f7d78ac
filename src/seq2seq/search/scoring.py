"""Scoring: the log-probability that a model gives to a target that is already there, and where it looks for it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import Memory, Searchable, State
from seq2seq.errors import ShapeError
from seq2seq.search.checking import check_batch_first, name_of
from seq2seq.search.stepping import check_rows, normaliser


def score(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    target_in: ArrayLike,
    target_out: ArrayLike,
    target_mask: ArrayLike,
) -> Array:
    """The log-probability of each target token: `log p(target_out_t | target_in_<=t, x)`, in nats.

    The sum over time is log p(target | source), and equals what a search says of the same tokens.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        target_in: (target, batch) ids, BEGIN first.
        target_out: (target, batch) ids, END last.
        target_mask: (target, batch) non-zero on tokens, 0 on padding.

    Returns:
        (target, batch), 0 on padding.

    Raises:
        ShapeError: arrays that do not fit each other.

    Example:
        >>> from seq2seq.core.seams import Prediction
        >>> @jax.tree_util.register_static
        ... class Coin:  # 4 or END, evenly
        ...     def start(self, source, lengths):
        ...         return (), lengths
        ...     def step(self, memory, state, token):
        ...         return state, Prediction(jnp.log(jnp.array([0, 0, 0, 0.5, 0.5])) + 0 * state[:, None])
        >>> jnp.exp(score(Coin(), [[7]], [1], [[2], [4], [0]], [[4], [3], [0]], [[1], [1], [0]])).tolist()
        [[0.5], [0.5], [1.0]]
    """
    source, lengths = check_rows("score", source, lengths=lengths)
    targets = _targets("score", len(lengths), target_in, target_out, target_mask)
    return _read(model, *_start(model, source, lengths), *targets).log_probabilities


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

    The arguments are those of `score`.

    Raises:
        ShapeError: arrays that do not fit each other.

    Example:
        >>> from seq2seq.core.seams import Prediction
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
    targets = _targets("force", len(lengths), target_in, target_out, target_mask)
    return _read(model, *_start(model, source, lengths), *targets, look=True)


def _targets(where: str, rows: int, *targets: ArrayLike) -> list[Array]:
    arrays = [jnp.asarray(target) for target in targets]
    for name, target in zip(("target_in", "target_out", "target_mask"), arrays, strict=True):
        if target.ndim != 2 or target.shape != arrays[0].shape or target.shape[1] != rows:
            wanted = f"(target, batch) = ({arrays[0].shape[0] if arrays[0].ndim else '?'}, {rows})"
            raise ShapeError(f"{where}: {name} has shape {target.shape}, wanted {wanted}; targets are time-major.")
    return arrays


def start(model: Searchable, source: ArrayLike, lengths: ArrayLike) -> Started:
    """Read sources once whose targets `force_started` will score: many targets of few sources take less time so.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.

    Raises:
        ShapeError: arrays that do not fit each other.
    """
    source, lengths = check_rows("start", source, lengths=lengths)
    return Started(*_start(model, source, lengths))


def force_started(
    model: Searchable,
    started: Started,
    of: ArrayLike,
    target_in: ArrayLike,
    target_out: ArrayLike,
    target_mask: ArrayLike,
    *,
    look: bool = True,
) -> Forced:
    """`force` of targets whose sources were read by `start`: target n has the source in row `of[n]` of it.

    Args:
        model: the model that read the sources.
        started: what it read.
        of: (batch,) a row of `started` for each target.
        target_in: (target, batch) ids, BEGIN first.
        target_out: (target, batch) ids, END last.
        target_mask: (target, batch) non-zero on tokens, 0 on padding.
        look: with the attention, which takes room.

    Raises:
        ShapeError: arrays that do not fit each other.

    Example:
        >>> from seq2seq.core.seams import Prediction
        >>> @jax.tree_util.register_static
        ... class Echo:  # the first token of the source, or END, evenly
        ...     def start(self, source, lengths):
        ...         return source[0], lengths
        ...     def step(self, first, state, token):
        ...         ids = jnp.arange(6)
        ...         return state, Prediction(jnp.log((ids == first[:, None]) * 0.5 + (ids == 3) * 0.5))
        >>> read = start(Echo(), [[4, 5]], [1, 1])
        >>> found = force_started(Echo(), read, [1, 1, 0], [[2, 2, 2]], [[5, 3, 5]], [[1, 1, 1]])
        >>> jnp.exp(found.log_probabilities).tolist()
        [[0.5, 0.5, 0.0]]
    """
    rows = jnp.asarray(of)
    targets = _targets("force_started", rows.size, target_in, target_out, target_mask)
    return _read(model, *_rows(started, rows), *targets, look=look)


class Started(NamedTuple):
    """What a model knows of sources before the first target token; every leaf has the batch first."""

    memory: Memory
    state: State


@jax.jit
def _start(model: Searchable, source: Array, lengths: Array) -> tuple[Memory, State]:
    memory, state = model.start(source, lengths)
    check_batch_first(name_of(model), memory, state, len(lengths))
    return memory, state


@jax.jit
def _rows(started: Started, of: Array) -> Started:
    return jax.tree.map(lambda leaf: leaf[of], started)


@partial(jax.jit, static_argnames="look")
def _read(
    model: Searchable,
    memory: Memory,
    state: State,
    target_in: Array,
    target_out: Array,
    target_mask: Array,
    look: bool = False,
) -> Forced:
    def read(state: State, tokens: tuple[Array, Array]) -> tuple[State, tuple[Array, Array | None]]:
        given, wanted = tokens
        state, prediction = model.step(memory, state, given)
        logits = prediction.logits.astype(jnp.float32)
        gains = jnp.take_along_axis(logits, wanted[:, None], axis=-1)[:, 0] - normaliser(logits)
        return state, (gains, prediction.attention if look else None)

    _, (gains, attention) = lax.scan(read, state, (target_in, target_out))
    on = target_mask.astype(bool)
    return Forced(jnp.where(on, gains, 0.0), None if attention is None else jnp.where(on[..., None], attention, 0.0))
