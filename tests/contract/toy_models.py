"""Models made of small tables, so that what a search finds can be worked out by hand, or by NumPy in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from seq2seq.core.seams import BEGIN, END, Memory, Prediction, State

ALLOWED = (1, END, 4, 5)
"""What may be generated of a vocabulary of six, PAD and BEGIN being banned."""


@partial(
    jax.tree_util.register_dataclass, data_fields=["table", "transition", "focus"], meta_fields=["gives_attention"]
)
@dataclass(frozen=True, eq=False)
class TableModel:
    """A finite automaton: every prefix leads to one of `hidden` states, and each (source kind, state) has its logits.

    Its State is deliberately awkward (a dict of a tuple and an array, of several dtypes and ranks) and carries the
    whole path in it, so that a search that mixes up its beams cannot hide.

    table: (kind, hidden, vocabulary); transition: (hidden, vocabulary) ids; focus: (hidden, 16) attention logits.
    """

    table: Array
    transition: Array
    focus: Array
    gives_attention: bool = True

    @classmethod
    def random(cls, seed: int, kinds: int = 7, hidden: int = 23, vocabulary: int = 6, scale: float = 1.0) -> TableModel:
        draw = np.random.default_rng(seed)
        return cls(
            jnp.asarray(draw.normal(size=(kinds, hidden, vocabulary)) * scale, jnp.float32),
            jnp.asarray(draw.integers(hidden, size=(hidden, vocabulary)), jnp.int32),
            jnp.asarray(draw.normal(size=(hidden, 16)), jnp.float32),
        )

    def start(self, source: Array, lengths: Array) -> tuple[Memory, State]:
        on = jnp.arange(source.shape[0])[:, None] < lengths
        kind = jnp.sum(jnp.where(on, source, 0), axis=0) % self.table.shape[0]
        path = jnp.zeros((len(lengths), 3, 2), jnp.float32)
        return {"kind": kind, "on": on.T}, {"at": (jnp.zeros_like(lengths), path), "kind": kind}

    def step(self, memory: Memory, state: State, token: Array) -> tuple[State, Prediction]:
        at, path = state["at"]
        at = self.transition[at, token]
        path = path * 0.5 + token[:, None, None].astype(jnp.float32)
        # The path adds a little that no merged automaton state could know; `numpy_logits` does the same.
        logits = self.table[memory["kind"], at] + 0.1 * jnp.sin(
            path[:, 0, :1] * jnp.arange(float(self.table.shape[-1]))
        )
        attention = None
        if self.gives_attention:
            weights = jnp.exp(self.focus[at][:, : memory["on"].shape[1]]) * memory["on"].astype(jnp.float32)
            attention = weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-9)
        return {"at": (at, path), "kind": state["kind"]}, Prediction(logits, attention)


def numpy_log_probabilities(model: TableModel, source: list[int], prefix: tuple[int, ...]) -> np.ndarray:
    """log p of each next token after BEGIN and `prefix`, (vocabulary,), in float64."""
    table, transition = np.asarray(model.table, np.float64), np.asarray(model.transition)
    at, path = 0, 0.0
    for token in (BEGIN, *prefix):
        at, path = transition[at, token], path * 0.5 + token
    logits = table[sum(source) % len(table), at] + 0.1 * np.sin(path * np.arange(table.shape[-1]))
    return logits - np.log(np.exp(logits).sum())


def numpy_attention(model: TableModel, source: list[int], prefix: tuple[int, ...]) -> np.ndarray:
    """Attention while predicting the token after `prefix`, (source,)."""
    at = 0
    for token in (BEGIN, *prefix):
        at = np.asarray(model.transition)[at, token]
    weights = np.exp(np.asarray(model.focus, np.float64)[at][: len(source)])
    return weights / weights.sum()


def all_strings(limit: int) -> list[tuple[int, ...]]:
    """Every string of `ALLOWED` that ends with its first END, or is cut off at `limit` tokens."""
    others = [token for token in ALLOWED if token != END]
    ended = [(*body, END) for n in range(limit) for body in product(others, repeat=n)]
    return ended + list(product(others, repeat=limit))


def numpy_log_probability(model: TableModel, source: list[int], tokens: tuple[int, ...]) -> float:
    """log p(tokens | source), in float64."""
    return sum(numpy_log_probabilities(model, source, tokens[:i])[token] for i, token in enumerate(tokens))


def brute_force(
    model: TableModel, source: list[int], limit: int, penalty: float
) -> list[tuple[float, tuple[int, ...]]]:
    """(score, tokens) of every string, best first: what ended before what was cut off, then by score."""
    scored = [(numpy_log_probability(model, source, s) / len(s) ** penalty, s) for s in all_strings(limit)]
    return sorted(scored, key=lambda found: (found[1][-1] != END, -found[0]))
