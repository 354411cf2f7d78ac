"""Models made of small tables, so that what a search finds can be worked out by hand, or by NumPy in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product

import jax.numpy as jnp
import numpy as np
from jax import Array

from seq2seq.core.module import as_node
from seq2seq.core.seams import BEGIN, END, Memory, Prediction, State
from seq2seq.search import BannedPhrases, MinimumLength, NoRepeat, Prefix, RequiredPhrases, Rule
from seq2seq.search.feasible import Demands

ALLOWED = (1, END, 4, 5)
"""What may be generated of a vocabulary of six, PAD and BEGIN being banned."""


@partial(as_node, leaves=("table", "transition", "focus"), statics=("gives_attention",))
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


def numpy_score(
    model: TableModel, source: list[int], tokens: tuple[int, ...], alpha: float, gnmt: bool = False, beta: float = 0.0
) -> float:
    """log p / norm(length) + coverage, in float64: Wu et al. 2016, equation 14, or the plain power of the length."""
    norm = ((5 + len(tokens)) / 6) ** alpha if gnmt else len(tokens) ** alpha
    sums = sum(numpy_attention(model, source, tokens[:i]) for i in range(len(tokens)))
    return numpy_log_probability(model, source, tokens) / norm + beta * float(np.log(np.minimum(sums, 1.0)).sum())


def keeps(tokens: tuple[int, ...], demands: Demands) -> bool:
    """Whether an output, ended or cut off, is what is asked for; what is required only counts where it ended."""
    body = tokens[:-1] if tokens[-1] == END else tokens
    if tokens[: len(demands.prefix)] != demands.prefix[: len(tokens)]:
        return False
    if any(body[i : i + len(phrase)] == phrase for phrase in demands.banned for i in range(len(body))):
        return False
    for size in demands.no_repeat:
        parts = [body[i : i + size] for i in range(len(body) - size + 1)]
        if len(set(parts)) < len(parts):
            return False
    if tokens[-1] != END:
        return True
    there = all(any(body[i : i + len(p)] == p for i in range(len(body))) for p in demands.required)
    return there and len(tokens) >= demands.minimum


def rules_of(rows: list[Demands], no_repeat: int | None = None, required: bool = True) -> list[Rule]:
    """The rules that ask for this; always of the same shapes for phrases of at most two tokens, two a row."""
    pad = [*rows, Demands(banned=((9, 9), (9, 9)), required=((9, 9), (9, 9)), prefix=(9, 9))]  # only for the shapes
    prefix = Prefix.of([d.prefix for d in pad])
    prefix = Prefix(np.asarray(prefix.ids)[:, :-1], np.asarray(prefix.lengths)[:-1])
    rules: list[Rule] = [MinimumLength(np.array([d.minimum for d in rows])), prefix]
    for kind, phrases in ((BannedPhrases, [d.banned for d in pad]), (RequiredPhrases, [d.required for d in pad])):
        if kind is BannedPhrases or required:
            made = kind.of_rows(phrases)
            rules.append(kind(np.asarray(made.ids)[:-1], np.asarray(made.lengths)[:-1]))
    return rules if no_repeat is None else [*rules, NoRepeat(no_repeat)]
