"""The one place where search touches a model: inputs checked, `start` spread over a beam, `step` mapped over it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import BEGIN, Memory, Prediction, Searchable, State
from seq2seq.errors import ShapeError
from seq2seq.search.checking import check_batch_first, check_state, name_of

BLOCK = 32
"""Logits that share one maximum in `top_k`."""


def check_rows(name: str, source: ArrayLike, **rows: ArrayLike) -> tuple[Array, ...]:
    """`source` (source, batch) and then each of `rows` (batch,) as int32 arrays (keys stay keys).

    Raises:
        ShapeError: an array that does not fit, naming the search `name` that it was given to.
    """
    ids = jnp.asarray(source)
    if ids.ndim != 2 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ShapeError(f"{name}: source is {ids.dtype}{ids.shape}, wanted integer ids of shape (source, batch).")
    found = {row: jnp.asarray(array) for row, array in rows.items()}
    for row, array in found.items():
        if array.shape != ids.shape[1:]:
            hint = " (typed keys, as jax.random.key makes them)" if row == "keys" else ""
            raise ShapeError(f"{name}: {row} has shape {array.shape}, wanted (batch,) = {ids.shape[1:]}{hint}.")
    as_ids = (
        a if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a.astype(jnp.int32) for a in (ids, *found.values())
    )
    return tuple(as_ids)


def room(lengths: Array, limit: Array, max_length: int) -> Array:
    """Tokens that each row may have, (batch,): its limit, and 0 for a source of length 0, which only fills up."""
    return jnp.where(lengths > 0, jnp.clip(limit, 0, max_length), 0)


def begin(
    model: Searchable, source: Array, lengths: Array, width: int, slots: int
) -> tuple[Memory, State, Array, int | None]:
    """Read the sources and spread the state over `width` places: every State leaf becomes (batch, width, ...).

    At most `slots` rows are read at once, and only so many parts of the batch as have a source in them.

    Returns:
        Memory (never copied per place), State, the BEGIN tokens (batch, width), and the width of the model's
        attention or None if it gives none.

    Raises:
        ShapeError: `step` does not keep the shapes and dtypes of its state.
    """
    memory, state = _read(model, source, lengths, slots)
    token = jnp.full(lengths.shape, BEGIN, jnp.int32)
    after, prediction = jax.eval_shape(model.step, memory, state, token)
    check_state(name_of(model), state, after)
    spread = jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], width, *x.shape[1:])), (state, token))
    attention = None if prediction.attention is None else prediction.attention.shape[-1]
    return memory, *spread, attention


def _read(model: Searchable, source: Array, lengths: Array, slots: int) -> tuple[Memory, State]:
    """`start`, part by part: an encoder's intermediate values need room for `slots` rows only."""
    rows, name = len(lengths), name_of(model)
    if slots >= rows:
        memory, state = model.start(source, lengths)
        check_batch_first(name, memory, state, rows)
        return memory, state
    more = -rows % slots
    source, lengths = jnp.pad(source, ((0, 0), (0, more))), jnp.pad(lengths, (0, more))

    def part(i: Array) -> tuple[Memory, State]:
        columns = lax.dynamic_slice_in_dim(source, i * slots, slots, axis=1)
        return model.start(columns, lax.dynamic_slice_in_dim(lengths, i * slots, slots))

    def write(i: Array, whole: tuple[Memory, State]) -> tuple[Memory, State]:
        return jax.tree.map(lambda x, y: lax.dynamic_update_slice_in_dim(x, y, i * slots, 0), whole, part(i))

    shapes = jax.eval_shape(part, jnp.int32(0))
    check_batch_first(name, shapes[0], shapes[1], slots)
    empty = jax.tree.map(lambda leaf: jnp.zeros((rows + more, *leaf.shape[1:]), leaf.dtype), shapes)
    whole = lax.fori_loop(0, -(-used(lengths) // slots), write, empty)
    return jax.tree.map(lambda leaf: leaf[:rows], whole)


def used(lengths: Array) -> Array:
    """How many rows there are up to the last one that has a source, ()."""
    return jnp.max(jnp.where(lengths > 0, jnp.arange(1, len(lengths) + 1), 0), initial=0)


def advance(model: Searchable, memory: Memory, state: State, token: Array) -> tuple[State, Prediction]:
    """One step of every place, token (batch, beam): State leaves and Prediction come out (batch, beam, ...)."""
    state, prediction = jax.vmap(model.step, in_axes=(None, 1, 1), out_axes=1)(memory, state, token)
    return state, prediction._replace(logits=prediction.logits.astype(jnp.float32))


def normaliser(logits: Array) -> Array:
    """log sum exp over the vocabulary, (...,): what turns a logit into a natural log-probability.

    Never below the largest logit, also in floating point; 0 where every token is impossible, so that none is NaN.

    Example:
        >>> float(normaliser(jnp.log(jnp.array([1.0, 3.0])))) == float(jnp.log(4.0))
        True
    """
    total = jax.nn.logsumexp(logits, axis=-1)
    return jnp.where(jnp.isneginf(total), 0.0, total)


def ban(logits: Array, banned: tuple[int, ...]) -> Array:
    """The logits with the `banned` ids made impossible.

    Example:
        >>> ban(jnp.array([1.0, 2.0, 3.0]), (0, 2)).tolist()
        [-inf, 2.0, -inf]
    """
    ids = jnp.arange(logits.shape[-1])
    return jnp.where(jnp.isin(ids, jnp.array(banned, jnp.int32)), -jnp.inf, logits)


def top_k(logits: Array, k: int) -> tuple[Array, Array]:
    """What `lax.top_k` gives, (..., k) values and int32 ids, the smallest id first among equals; sooner if wide.

    The k largest lie in the k blocks with the largest maxima: fewer than k logits are better than each, hence fewer
    than k blocks. Finding the maxima reads everything once; only those blocks are then sorted. (One pass of 64 x 5 x
    12,000 logits took 1.6 instead of 4.2 ms on two cores.)

    Example:
        >>> values, ids = top_k(jnp.array([1.0, 3.0, 2.0, 3.0]), 3)
        >>> values.tolist(), ids.tolist()
        ([3.0, 3.0, 2.0], [1, 3, 2])
    """
    width = logits.shape[-1]
    blocks = width // BLOCK
    if blocks < 4 * k:
        return lax.top_k(logits, k)
    rest = jnp.arange(blocks * BLOCK, width, dtype=jnp.int32)
    maxima = logits[..., : blocks * BLOCK].reshape(*logits.shape[:-1], blocks, BLOCK).max(axis=-1)
    # In their old order, so that equals stay in the order of their ids.
    best = jnp.sort(lax.top_k(maxima, k)[1], axis=-1)
    ids = (best[..., None] * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32)).reshape(*best.shape[:-1], k * BLOCK)
    ids = jnp.concatenate([ids, jnp.broadcast_to(rest, (*ids.shape[:-1], len(rest)))], axis=-1)
    values, at = lax.top_k(jnp.take_along_axis(logits, ids, axis=-1), k)
    return values, jnp.take_along_axis(ids, at, axis=-1)
