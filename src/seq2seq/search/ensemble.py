"""Several models that decode as one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import Memory, Prediction, Restrictable, Searchable, State
from seq2seq.errors import ModuleError, SearchError, ShapeError
from seq2seq.search.stepping import normaliser

Mean = Literal["probabilities", "log-probabilities"]
"""What of the members is averaged."""


@module
class Ensemble:
    """Models of one vocabulary whose predictions are averaged token by token; a search takes it as it takes any model.

    With member i's distribution p_i over the next token y, and weights w_i that sum to 1,

        probabilities        p(y) = sum over i of w_i p_i(y)               (a mixture)
        log-probabilities    log p(y) = sum over i of w_i log p_i(y) + c   (a product; c makes it sum to 1)

    Averaging networks that differ in their random start only: Hansen and Salamon 1990. Left-to-right decoding by the
    average: Sutskever et al. 2014. A mixture follows the member that is sure; a product forbids what any
    member forbids. Attention is the weighted mean of that of the members which give one, if all theirs have one width.

    Memory and State are tuples of those of the members, which may be of different classes.

    Attributes:
        models: the members, each with `start` and `step`.
        mean: what is averaged.
        weights: how much each member counts, above 0, of any sum; None for all alike.

    Raises:
        ModuleError: a member has no `start` and `step`.
        SearchError: there is no member, no such mean, or not one weight above 0 for each member.
        ShapeError: in `step`, members with vocabularies of different sizes.

    Example:
        >>> @module
        ... class Always:
        ...     logits: Array
        ...     def start(self, source, lengths):
        ...         return (), lengths
        ...     def step(self, memory, state, token):
        ...         return state, Prediction(jnp.broadcast_to(self.logits, (len(token), len(self.logits))))
        >>> two = Ensemble(models=(Always(logits=jnp.log(jnp.array([0.2, 0.8]))), Always(logits=jnp.zeros(2))))
        >>> memory, state = two.start(jnp.ones((3, 1), int), jnp.array([3]))
        >>> jnp.exp(two.step(memory, state, jnp.array([2]))[1].logits).round(2).tolist()
        [[0.3499999940395355, 0.6499999761581421]]
    """

    models: tuple[Searchable, ...]
    mean: Mean = "probabilities"
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.models:
            raise SearchError("Ensemble: there is no member; wanted one model or more.")
        for model in self.models:
            if not isinstance(model, Searchable):
                name = type(model).__name__
                raise ModuleError(f"Ensemble: {name} has no `start` and `step`: it cannot be a member.")
        if self.mean not in ("probabilities", "log-probabilities"):
            raise SearchError(f"Ensemble: mean is {self.mean!r}; wanted 'probabilities' or 'log-probabilities'.")
        weights, count = self.weights, len(self.models)
        if weights is not None and (len(weights) != count or not all(0 < w < math.inf for w in weights)):
            raise SearchError(f"Ensemble: weights are {weights}; wanted {count} numbers above 0, one for each member.")

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights, made to sum to 1."""
        weights = self.weights or (1.0,) * len(self.models)
        return tuple(weight / sum(weights) for weight in weights)

    def start(self, source: Array, lengths: Array) -> tuple[tuple[Memory, ...], tuple[State, ...]]:
        """Let each member read the sources."""
        memories, states = zip(*(model.start(source, lengths) for model in self.models), strict=True)
        return memories, states

    def step(
        self, memory: tuple[Memory, ...], state: tuple[State, ...], token: Array
    ) -> tuple[tuple[State, ...], Prediction]:
        """Let each member read one target token of each sentence, (batch,), and average what they predict."""
        steps = [model.step(m, s, token) for model, m, s in zip(self.models, memory, state, strict=True)]
        states, predictions = zip(*steps, strict=True)
        return states, Prediction(self._logits(predictions), self._attention(predictions))

    def restricted(self, count: int) -> Self:
        """The same of the members' first `count` ids; what is averaged is then each one's distribution among these.

        Raises:
            ModuleError: a member has no `restricted`.
        """
        for model in self.models:
            if not isinstance(model, Restrictable):
                raise ModuleError(f"{type(model).__name__}, a member of the ensemble, has no `restricted(count)`.")
        members: tuple[Any, ...] = self.models
        return replace(self, models=tuple(model.restricted(count) for model in members))

    def _logits(self, predictions: tuple[Prediction, ...]) -> Array:
        """The average, (batch, vocabulary)."""
        widths = [prediction.logits.shape[-1] for prediction in predictions]
        if len(set(widths)) > 1:
            raise ShapeError(f"Ensemble.step: the members give {widths} logits; wanted one vocabulary for all.")
        logits = [prediction.logits.astype(jnp.float32) for prediction in predictions]
        if self.mean == "log-probabilities":  # what they lack to be normalised is one number a row
            return _total(share * x for share, x in zip(self.shares, logits, strict=True))
        parts = [x - normaliser(x)[..., None] + math.log(s) for s, x in zip(self.shares, logits, strict=True)]
        return jax.nn.logsumexp(jnp.stack(parts), axis=0)

    def _attention(self, predictions: tuple[Prediction, ...]) -> Array | None:
        """The average of those that are given, (batch, source)."""
        given = [(s, p.attention) for s, p in zip(self.shares, predictions, strict=True) if p.attention is not None]
        if len({attention.shape[-1] for _, attention in given}) != 1:
            return None
        total = sum(share for share, _ in given)
        return _total(share / total * attention.astype(jnp.float32) for share, attention in given)


def _total(arrays: Iterable[Array]) -> Array:
    return reduce(add, arrays)
