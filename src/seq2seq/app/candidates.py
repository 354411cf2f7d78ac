"""Many targets for each of many sources, scored: log p(target | source)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.text_model import TextModel
from seq2seq.core.seams import BEGIN, END, PAD, Memory, Searchable, State
from seq2seq.data import inference_batches
from seq2seq.search import score_candidates

_SOURCES, _CANDIDATES, _STEPS = 16, 32, 8
"""Scored together: so many targets of so many sources; time steps are a multiple of the last."""


class Matrix:
    """Scores targets behind sources: each source is read once, and targets of about one length meet in a batch.

    Example:
        ```
        Matrix(model)(["so abram departed"], ["and lot went", "selah"], [np.array([0, 1])])
        ```
    """

    def __init__(self, text_model: TextModel, arithmetic: Arithmetic = Arithmetic()):  # noqa: B008 (frozen)
        self._text, self._arithmetic = text_model, arithmetic

    def __call__(
        self, sources: Sequence[str], targets: Sequence[str], picks: Sequence[NDArray[np.int64]]
    ) -> list[NDArray[np.float64]]:
        """log p(targets[n] | source), in nats, the end counted, for each n of the source's `picks`, in their order."""
        used = sorted({int(n) for several in picks for n in several})
        ids = dict(zip(used, self._text.target_tokenizer.encode_batch(targets[n] for n in used), strict=True))
        lengths = {n: len(ids[n]) for n in used}
        found = [np.zeros(len(several)) for several in picks]
        for rows, source, source_lengths in inference_batches(
            self._text.source_tokenizer.encode_batch(sources), batch=_SOURCES
        ):
            memory, state = _start(self._model, source, source_lengths)
            # The columns of each row by length, so that short targets do not wait for long ones.
            columns = [np.argsort([lengths[int(n)] for n in picks[row]], kind="stable") for row in rows]
            for begin in range(0, max(map(len, columns)), _CANDIDATES):
                taken = [several[begin : begin + _CANDIDATES] for several in columns]
                texts = [[ids[int(picks[row][n])] for n in some] for row, some in zip(rows, taken, strict=True)]
                scores = np.asarray(score_candidates(self._model, memory, state, *_padded(texts, len(source_lengths))))
                for place, (row, some) in enumerate(zip(rows, taken, strict=True)):
                    found[row][some] = scores[place, : len(some)]
        return found

    @cached_property
    def _model(self) -> Searchable:
        return self._arithmetic.of(self._text.model)


def _padded(texts: list[list[list[int]]], batch: int) -> tuple[Any, Any, Any]:
    """The targets of each row as (target, batch, candidates) arrays: what is read, what is to come, and the mask."""
    longest = max((len(ids) for row in texts for ids in row), default=0) + 1
    out = np.full((-(-longest // _STEPS) * _STEPS, batch, _CANDIDATES), PAD, np.int32)
    for row, several in enumerate(texts):
        for column, ids in enumerate(several):
            out[: len(ids) + 1, row, column] = [*ids, END]
    given = np.concatenate([np.full((1, *out.shape[1:]), BEGIN, np.int32), out[:-1]])
    return given, out, out != PAD


@jax.jit
def _start(model: Searchable, source: Array, lengths: Array) -> tuple[Memory, State]:
    return model.start(source, lengths)
