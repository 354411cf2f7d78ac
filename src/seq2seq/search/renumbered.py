"""A model whose tokens have other numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import Memory, Prediction, Searchable, State
from seq2seq.errors import ModuleError


@module
class Renumbered:
    """A model that is spoken to in the numbers of another's tokens, so that both can be of one ensemble.

    Models that were trained on other pairs number the same tokens in another order, the commonest first.

    Attributes:
        model: anything with `start` and `step`.
        source: for each id that it is given, the model's own id of that token.
        target: the same of the target: (vocabulary,).
        among: give the logits of so many ids only, the first; None for all.

    Raises:
        ModuleError: the model has no `start` and `step`.

    Example:
        >>> @module
        ... class Next:  # is sure of the token after the last
        ...     sharpness: Array
        ...     def start(self, source, lengths):
        ...         return (), lengths
        ...     def step(self, memory, state, token):
        ...         return state, Prediction(self.sharpness * jnp.eye(6)[(token + 1) % 6])
        >>> swapped = Renumbered(model=Next(sharpness=jnp.ones(())), source=(), target=(0, 1, 2, 3, 5, 4))
        >>> swapped.step((), jnp.zeros(1), jnp.array([3, 5]))[1].logits.argmax(-1).tolist()  # its 3 and 4, then 4 and 5
        [5, 4]
    """

    model: Searchable
    source: tuple[int, ...]
    target: tuple[int, ...]
    among: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, Searchable):
            raise ModuleError(f"Renumbered: {type(self.model).__name__} has no `start` and `step`.")

    def start(self, source: Array, lengths: Array) -> tuple[Memory, State]:
        """Let the model read the sources."""
        return self.model.start(jnp.array(self.source, jnp.int32)[source], lengths)

    def step(self, memory: Memory, state: State, token: Array) -> tuple[State, Prediction]:
        """Let the model read one target token of each sentence, (batch,), and predict the next."""
        own = jnp.array(self.target, jnp.int32)
        state, prediction = self.model.step(memory, state, own[token])
        return state, prediction._replace(logits=prediction.logits[:, own[: self.among]])

    def restricted(self, count: int) -> Self:
        """The same with the logits of the first `count` ids; no quicker, as those may be any of the model's own."""
        return replace(self, among=count)
