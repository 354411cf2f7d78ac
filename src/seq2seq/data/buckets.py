"""Which few static shapes hold pairs of many lengths with the least padding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_CUTS = 256  # places where the sorted pairs may be cut
_WORTH = 1.03  # another shape must save about 3 % of the work to be worth compiling


class Shape(NamedTuple):
    """The static shape of a batch: time steps of source and target, and rows."""

    source: int
    target: int
    batch: int


class Bucket(NamedTuple):
    """A shape and the pairs (their indices, ascending) that go into batches of it."""

    shape: Shape
    rows: NDArray[np.int64]

    @property
    def batches(self) -> int:
        """How many batches hold the pairs; the last may have rows to fill up."""
        return -(-len(self.rows) // self.shape.batch)


def make_buckets(lengths: NDArray[np.int64], tokens: int, max_shapes: int) -> list[Bucket]:
    """Part pairs into at most `max_shapes` buckets with little padding.

    The pairs are sorted by length, and a dynamic programme finds the cuts for which
    sum(count (max source + max target)) is least, over four orders of sorting; each pair then goes to the smallest
    shape that holds it. A batch has at most `tokens` padded time steps of source and target (but at least one row).
    Few pairs get few shapes: at least four batches a shape on average, as each shape is compiled.

    lengths: (pairs, 2) time steps of source and target, the end counted.
    """
    affordable = int(lengths.sum() // (4 * tokens))
    corners = _best_corners(lengths, max(1, min(max_shapes, affordable)))
    corners = corners[np.argsort(corners.sum(axis=1), kind="stable")]
    fits = (lengths[:, None, :] <= corners[None, :, :]).all(axis=2)  # (pairs, shapes)
    smallest = fits.argmax(axis=1)
    groups = [np.flatnonzero(smallest == index) for index in range(len(corners))]
    return [Bucket(_shape(lengths[rows], tokens), rows) for rows in groups if len(rows)]


def _shape(lengths: NDArray[np.int64], tokens: int) -> Shape:
    """The shape of a bucket: as many rows as the budget takes, shared out evenly over the batches, in eights."""
    source, target = (int(longest) for longest in lengths.max(axis=0))
    most = _in_eights(max(1, tokens // (source + target)))
    batches = -(-len(lengths) // most)
    even = -(-len(lengths) // batches)
    return Shape(source, target, min(most, -(-even // 8) * 8 if even >= 8 else even))


def _in_eights(rows: int) -> int:
    return rows - rows % 8 if rows >= 8 else rows


def _best_corners(lengths: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """(shapes, 2): the largest source and target of each group, for the best order of sorting."""
    source, target = lengths[:, 0], lengths[:, 1]
    keys = (source + target, target * (source.max() + 1) + source, source * (target.max() + 1) + target)
    found = [_cut(lengths[np.argsort(key, kind="stable")], most) for key in (*keys, lengths.max(axis=1))]
    return min(found, key=lambda answer: answer[0])[1]


def _cut(ordered: NDArray[np.int64], most: int) -> tuple[float, NDArray[np.int64]]:
    """The least padded size in at most about `most` groups of neighbours, and the corners of the groups."""
    edges = np.unique(np.linspace(0, len(ordered), min(_CUTS, len(ordered)) + 1).astype(np.int64))
    tops = np.maximum.reduceat(ordered, edges[:-1], axis=0)  # (cuts, 2)
    cost = _costs(tops, edges)
    best = np.full((most + 1, len(edges)), np.inf)
    best[0, 0] = 0.0
    came_from = np.zeros((most + 1, len(edges)), np.int64)
    for groups in range(1, most + 1):
        total = best[groups - 1][:, None] + cost  # (begin, end)
        came_from[groups], best[groups] = total.argmin(axis=0), total.min(axis=0)
    final = best[:, -1]
    groups = int(np.flatnonzero(final <= _WORTH * final.min())[0])
    corners: list[NDArray[np.int64]] = []
    end = len(edges) - 1
    for left in range(groups, 0, -1):
        begin = int(came_from[left, end])
        corners.append(tops[begin:end].max(axis=0))
        end = begin
    return float(final[groups]), np.array(corners)


def _costs(tops: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """(begin, end): the padded time steps of one group from edge `begin` to edge `end`; infinite where end <= begin."""
    cost = np.full((len(edges), len(edges)), np.inf)
    for begin in range(len(tops)):
        longest = np.maximum.accumulate(tops[begin:], axis=0).sum(axis=1)
        cost[begin, begin + 1 :] = (edges[begin + 1 :] - edges[begin]) * longest
    return cost
