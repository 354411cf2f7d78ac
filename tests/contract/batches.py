"""Small batches with padding in them, as a pytree that `jit` takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seq2seq.core.seams import BEGIN, END


class Pairs(NamedTuple):
    """A `BatchLike`."""

    source: np.ndarray
    source_lengths: np.ndarray
    target_in: np.ndarray
    target_out: np.ndarray
    target_mask: np.ndarray

    @property
    def size(self) -> int:
        return self.source.shape[1]

    def only(self, row: int) -> Pairs:
        """The same batch, of which only one row counts."""
        return self._replace(target_mask=self.target_mask * (np.arange(self.size) == row).astype(np.float32))


def batch_of(pairs: list[tuple[list[int], list[int]]], source: int, target: int) -> Pairs:
    """These sources and targets (without END), padded to `source` and `target` time steps."""
    lengths = np.array([len(words) for words, _ in pairs], np.int32)
    sources, ins, outs = (np.zeros((time, len(pairs)), np.int32) for time in (source, target, target))
    mask = np.zeros((target, len(pairs)), np.float32)
    for row, (words, wanted) in enumerate(pairs):
        sources[: len(words), row] = words
        ins[: len(wanted) + 1, row] = [BEGIN, *wanted]
        outs[: len(wanted) + 1, row] = [*wanted, END]
        mask[: len(wanted) + 1, row] = 1
    return Pairs(sources, lengths, ins, outs, mask)


PAIRS = [([4, 5, 6, 7, 8], [5, 6]), ([7, 4], [9, 4, 5]), ([], [6]), ([9], [])]
"""A full row, a short source, a source of length 0, and an empty target."""
MATES = [([8, 8, 1, 4, 5, 6, 9], [4] * 6), ([5, 5, 5], [7, 8])]
BATCH = batch_of(PAIRS, source=5, target=4)
LONGER = batch_of([MATES[0], *PAIRS[::-1], MATES[1]], source=8, target=7)
PLACES = [4, 3, 2, 1]
"""Where in `LONGER` the rows of `BATCH` are."""
VOCABULARY = 10
