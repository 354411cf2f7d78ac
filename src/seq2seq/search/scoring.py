"""Scoring: the log-probability that a model gives to a target that is already there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import Memory, Searchable, State
from seq2seq.errors import ShapeError
from seq2seq.search.stepping import advance, check_rows, normaliser


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
    targets = [jnp.asarray(target) for target in (target_in, target_out, target_mask)]
    for name, target in zip(("target_in", "target_out", "target_mask"), targets, strict=True):
        if target.ndim != 2 or target.shape != targets[0].shape or target.shape[1:] != lengths.shape:
            wanted = f"(target, batch) = ({targets[0].shape[0] if targets[0].ndim else '?'}, {len(lengths)})"
            raise ShapeError(f"score: {name} has shape {target.shape}, wanted {wanted}; targets are time-major.")
    return _score(model, source, lengths, *targets)


@jax.jit
def _score(
    model: Searchable, source: Array, lengths: Array, target_in: Array, target_out: Array, target_mask: Array
) -> Array:
    memory, state = model.start(source, lengths)

    def read(state: State, tokens: tuple[Array, Array]) -> tuple[State, Array]:
        given, wanted = tokens
        state, prediction = model.step(memory, state, given)
        logits = prediction.logits.astype(jnp.float32)
        return state, jnp.take_along_axis(logits, wanted[:, None], axis=-1)[:, 0] - normaliser(logits)

    _, gains = lax.scan(read, state, (target_in, target_out))
    return jnp.where(target_mask.astype(bool), gains, 0.0)


def score_candidates(
    model: Searchable, memory: Memory, state: State, target_in: Array, target_out: Array, target_mask: Array
) -> Array:
    """log p(target | source), in nats, of several targets for each source, which is read only once.

    Every target is a place of a beam: the memory of a source is shared by its candidates and never copied.

    Args:
        model: anything with `start` and `step`.
        memory: what `model.start` said of the sources.
        state: the state that came with it.
        target_in: (target, batch, candidates) ids, BEGIN first.
        target_out: (target, batch, candidates) ids, END last.
        target_mask: (target, batch, candidates) non-zero on tokens, 0 on padding.

    Returns:
        (batch, candidates), 0 for a candidate that is all padding.

    Example:
        >>> from seq2seq.core.seams import Prediction
        >>> @jax.tree_util.register_static
        ... class Coin:  # 4 or END, evenly
        ...     def start(self, source, lengths):
        ...         return (), lengths
        ...     def step(self, memory, state, token):
        ...         return state, Prediction(jnp.log(jnp.array([0, 0, 0, 0.5, 0.5])) + 0 * state[:, None])
        >>> memory, state = Coin().start(jnp.array([[7]]), jnp.array([1]))
        >>> given, wanted = jnp.array([[[2, 2]], [[4, 0]]]), jnp.array([[[4, 3]], [[3, 0]]])
        >>> jnp.exp(score_candidates(Coin(), memory, state, given, wanted, wanted > 0)).tolist()
        [[0.25, 0.5]]
    """
    return _score_candidates(model, memory, state, target_in, target_out, target_mask)


@jax.jit
def _score_candidates(
    model: Searchable, memory: Memory, state: State, target_in: Array, target_out: Array, target_mask: Array
) -> Array:
    places = target_in.shape[2]
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), places, *leaf.shape[1:])), state)

    def read(carry: tuple[State, Array], tokens: tuple[Array, Array, Array]) -> tuple[tuple[State, Array], None]:
        (state, total), (given, wanted, mask) = carry, tokens
        state, (logits, _) = advance(model, memory, state, given)
        gain = jnp.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0] - normaliser(logits)
        return (state, total + jnp.where(mask, gain, 0.0)), None

    nothing = jnp.zeros(target_in.shape[1:], jnp.float32)
    (_, total), _ = lax.scan(read, (state, nothing), (target_in, target_out, target_mask.astype(bool)))
    return total
