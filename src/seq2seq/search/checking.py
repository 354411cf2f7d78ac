"""What a search needs of a model, looked at by shapes alone: nothing is computed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import keystr, tree_flatten_with_path

from seq2seq.core.seams import Encodable, Memory, Prediction, Searchable, State
from seq2seq.errors import ModuleError, ShapeError

_STEPS, _ROWS = 5, 3  # unlike each other, and hardly the width of anything
_SOURCES = jax.ShapeDtypeStruct((_STEPS, _ROWS), jnp.int32), jax.ShapeDtypeStruct((_ROWS,), jnp.int32)


def check_searchable(model: Searchable, vocabulary: int) -> None:
    """Refuse a model that trains and could not be searched with, before it trains.

    Raises:
        ModuleError: `start` does not return (memory, state), or `step` no (state, Prediction).
        ShapeError: a leaf of memory or state without the batch first, a step that does not keep its state, or logits
            that are not of `vocabulary` tokens.

    Example:
        >>> from seq2seq.core.module import module
        >>> @module
        ... class Chain:
        ...     rows: jax.Array
        ...     def start(self, source, lengths):
        ...         return (), jnp.zeros_like(lengths)
        ...     def step(self, memory, state, token):
        ...         return state, self.rows[token]
        >>> check_searchable(Chain(rows=jnp.ones((9, 9))), 9)
        Traceback (most recent call last):
        seq2seq.errors.ModuleError: Chain.step returned (state, ...) with a ShapeDtypeStruct; wanted Prediction(logits).
    """
    name = type(model).__name__
    started = jax.eval_shape(lambda model, *rows: model.start(*rows), model, *_SOURCES)
    memory, state = _pair(f"{name}.start", started, "(memory, state)")
    check_batch_first(name, memory, state, _ROWS)
    stepped = jax.eval_shape(lambda model, *inputs: model.step(*inputs), model, memory, state, _SOURCES[1])
    after, said = _pair(f"{name}.step", stepped, "(state, Prediction(logits))")
    if not isinstance(said, Prediction):
        raise ModuleError(f"{name}.step returned (state, ...) with a {type(said).__name__}; wanted Prediction(logits).")
    check_state(name, state, after)
    if said.logits.shape != (_ROWS, vocabulary):
        raise ShapeError(
            f"{name}.step: logits are {said.logits.shape}, wanted (batch, vocabulary) = {(_ROWS, vocabulary)}: `init` "
            "is given that as `target_vocabulary`, or as `vocabulary` for both sides."
        )


def check_encodable(model: Encodable) -> None:
    """Refuse an `encode` that is something else than that of `Encodable`.

    Raises:
        ModuleError: it gives no vector for each source.
    """
    found = jax.eval_shape(lambda model, *rows: model.encode(*rows), model, *_SOURCES)
    if getattr(found, "ndim", 0) != 2 or found.shape[0] != _ROWS:
        told = getattr(found, "shape", type(found).__name__)
        raise ModuleError(
            f"{type(model).__name__}.encode gives {told} for {(_STEPS, _ROWS)} ids, wanted (batch, hidden) = ({_ROWS}, "
            "...); give a method that is for something else another name."
        )


def gives_attention(model: Searchable) -> bool:
    """Whether `step` tells where it looked."""

    def first(model: Searchable, source: Array, lengths: Array) -> Prediction:
        return model.step(*model.start(source, lengths), lengths)[1]

    return jax.eval_shape(first, model, *_SOURCES).attention is not None


def name_of(model: Any) -> str:
    """What errors call a model: the class of what our own search was made ready, or renumbered, from."""
    while type(model).__module__.startswith("seq2seq.search.") and hasattr(model, "model"):
        model = model.model
    return type(model).__name__


def check_batch_first(name: str, memory: Memory, state: State, rows: int) -> None:
    """Refuse leaves without the batch, `rows`, first: a search takes rows out of them and puts rows in.

    Raises:
        ShapeError: names the leaf.
    """
    for what, tree in (("memory", memory), ("state", state)):
        for path, leaf in tree_flatten_with_path(tree)[0]:
            if jnp.shape(leaf)[:1] != (rows,):
                raise ShapeError(
                    f"{name}.start: {what}{keystr(path)} is {jnp.shape(leaf)}, wanted the batch, {rows}, first, as of "
                    "every leaf of memory and state; swapaxes(0, 1) if time is first."
                )


def check_state(name: str, before: State, after: State) -> None:
    """The loop carries the state: what comes out of `step` must fit where it went in.

    Raises:
        ShapeError: names the leaf.
    """
    into, structure = tree_flatten_with_path(before)
    if structure != jax.tree.structure(after):
        raise ShapeError(f"{name}.step: state went in as {structure} and came out as {jax.tree.structure(after)}.")
    for (path, x), y in zip(into, jax.tree.leaves(after), strict=True):
        if x.shape != y.shape or x.dtype != y.dtype:
            raise ShapeError(
                f"{name}.step: state{keystr(path)} went in as {x.dtype}{x.shape} and came out as "
                f"{y.dtype}{y.shape}; a step must keep the shapes and dtypes of its state."
            )


def _pair(where: str, found: Any, wanted: str) -> tuple[Any, Any]:
    if not isinstance(found, tuple) or len(found) != 2:
        many = f" of {len(found)}" if isinstance(found, tuple) else ""
        raise ModuleError(f"{where} returned a {type(found).__name__}{many}; wanted {wanted}.")
    return found[0], found[1]
