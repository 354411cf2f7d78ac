"""Pairs of which many share a source, as batches to score: each source is read once, and any text has few shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.batches import begun, padded

Rows = NDArray[np.int64]
_STEPS = 16_384  # time steps in a batch, padding included
_READ = 1 << 16  # time steps of sources beside the targets of a batch, each of which has its own in memory


class Targets(NamedTuple):
    """Targets to score against the sources of a block.

    Attributes:
        indices: (rows,) which pairs these are; rows of the batch after these only fill up.
        of: (batch,) the row of each pair's source in its block.
        target_in: (target, batch) int32, `BEGIN` first.
        target_out: (target, batch) int32, `END` last.
        target_mask: (target, batch) float32, 1 on tokens.
    """

    indices: Rows
    of: NDArray[np.int32]
    target_in: NDArray[np.int32]
    target_out: NDArray[np.int32]
    target_mask: NDArray[np.float32]


class Block(NamedTuple):
    """Sources, and the batches of their targets.

    Attributes:
        source: (source, batch) int32, `END` last, then 0.
        lengths: (batch,) int32, the end counted; 0 for a row that only fills up.
        targets: what is to be scored.
    """

    source: NDArray[np.int32]
    lengths: NDArray[np.int32]
    targets: list[Targets]


def grouped_batches(sources: Sequence[Sequence[int]], of: Rows, targets: Sequence[Sequence[int]]) -> Iterator[Block]:
    """Blocks in which each pair, target `i` with source `of[i]`, stands once.

    Sources of like length come together, and in a block targets of like length. Time steps are rounded up to 8, 12, 16,
    24, ... for sources and to 2 to 8, 12, 16, 24, ... for targets, so that any text meets few shapes.

    Args:
        sources: the ids of each source, without begin and end.
        of: (pairs,) the source of each target.
        targets: the ids of each target.

    Example:
        >>> (block,) = grouped_batches([[5], [6, 7]], np.array([1, 0, 1]), [[8], [9], []])
        >>> [batch] = block.targets
        >>> block.source.shape, batch.target_out.shape, batch.indices.tolist(), batch.of[:3].tolist()
        ((8, 64), (2, 16), [2, 1, 0], [1, 0, 1])
    """
    lengths = np.array([len(ids) + 1 for ids in sources], np.int64)
    target_lengths = np.array([len(ids) + 1 for ids in targets], np.int64)
    order = np.argsort(lengths, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    pairs = np.argsort(place[of], kind="stable")  # by source, in the order of their blocks
    begins = np.searchsorted(place[of][pairs], np.arange(len(order) + 1))
    for start, stop in _cuts(lengths[order], _SOURCE):
        rows = order[start:stop]
        source, source_lengths = _padded([sources[row] for row in rows], _SOURCE)
        mine = pairs[begins[start] : begins[stop]]
        mine = mine[np.argsort(target_lengths[mine], kind="stable")]
        grid = _TARGET.beside(len(source))
        cuts = list(_cuts(target_lengths[mine], grid))
        batches = [_targets(mine[a:b], place[of[mine[a:b]]] - start, targets, grid) for a, b in cuts]
        yield Block(source, source_lengths, batches)


class _Grid(NamedTuple):
    """The static shapes of one side: `rows` at most; steps `first`, `between`, then 4, 6, 8, 12, 16, ..."""

    rows: int
    first: int
    between: tuple[int, ...]

    def beside(self, source: int) -> _Grid:
        """The same of fewer rows, where sources have so many time steps that memory has no room for as many."""
        most = max(1, _READ // source)
        return self._replace(rows=min(self.rows, 1 << (most.bit_length() - 1)))

    def steps(self, length: int) -> int:
        """The next time steps on the grid."""
        if length <= self.first:
            return self.first
        power = 1 << (length - 1).bit_length()
        return min(steps for steps in (*self.between, power // 4 * 3, power) if steps >= length)

    def full(self, length: int) -> int:
        """The rows of a full batch of texts of this length."""
        rows = self.rows
        while rows > 1 and rows * self.steps(length) > _STEPS:
            rows //= 2
        return rows


_SOURCE = _Grid(2048, 8, ())
_TARGET = _Grid(512, 2, (3, 5, 7))


def _targets(indices: Rows, of: Rows, targets: Sequence[Sequence[int]], grid: _Grid) -> Targets:
    out, lengths = _padded([targets[index] for index in indices], grid)
    rows = np.zeros(len(lengths), np.int32)
    rows[: len(of)] = of
    mask = (np.arange(len(out))[:, None] < lengths).astype(np.float32)
    return Targets(indices, rows, begun(out, lengths), out, mask)


def _cuts(lengths: Rows, grid: _Grid) -> Iterator[tuple[int, int]]:
    """Where to cut texts of ascending lengths into batches."""
    start = 0
    while start < len(lengths):
        size = grid.rows
        while size > 1 and size > grid.full(int(lengths[start : start + size][-1])):
            size //= 2
        yield start, min(start + size, len(lengths))
        start += size


def _padded(texts: Sequence[Sequence[int]], grid: _Grid) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """((time, batch) ids with their `END`, (batch,) lengths), of a shape on the grid; few rows in a quarter of a full
    batch, and very few in a 32nd."""
    longest = max(len(ids) for ids in texts) + 1
    steps, full = grid.steps(longest), grid.full(longest)
    return padded(texts, steps, next(rows for rows in (full // 32, full // 4, full) if rows >= len(texts)))
