"""Which few static shapes hold pairs of many lengths with the least padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_CUTS, _CUTS_OF_BANDS = 256, 48  # places where the sorted pairs may be cut
_MOST_BANDS = 5
_LOOKED_AT = 1 << 18  # pairs that decide where to cut
_OUTLYING = 4  # how many times as long as the mean pair the longest may be before few pairs, too, are parted


class Shape(NamedTuple):
    """The static shape of a batch: time steps of source and target, and rows."""

    source: int
    target: int
    batch: int


class Bucket(NamedTuple):
    """A shape and the pairs (their indices, ascending) that go into batches of it."""

    shape: Shape
    rows: NDArray[np.int32]

    @property
    def batches(self) -> int:
        """How many batches hold the pairs, which are shared out evenly: any may have rows to fill up."""
        return -(-len(self.rows) // self.shape.batch)


def make_buckets(lengths: NDArray[np.int32], tokens: int, max_shapes: int, worth: float) -> list[Bucket]:
    """Part pairs into at most `max_shapes` buckets with little padding.

    The pairs are sorted by length, and a dynamic programme finds the cuts for which
    sum(count (max source + max target)) + worth * shapes is least, over four orders of sorting, and over bands of one
    length that are cut by the other; each pair then goes to the smallest shape that holds it. A batch has at most
    `tokens` padded time steps of source and target (but at least one row). Few pairs get few shapes: at least four
    batches a shape on average, as each shape is compiled; but three where a few pairs that are very long would fill all
    others up to their length. Of very many pairs, some that are drawn and the longest decide.

    lengths: (pairs, 2) time steps of source and target, the end counted.
    worth: time steps that each shape must save to be worth compiling.
    """
    real, longest = int(lengths.sum()), int(lengths.max(axis=0).sum())
    affordable = real // (4 * tokens)
    if len(lengths) * longest > _OUTLYING * real:
        affordable = max(affordable, 3)
    share, some = max(1.0, len(lengths) / _LOOKED_AT), lengths
    if share > 1:  # every n-th would be fooled by pairs that come in turns
        drawn = np.random.default_rng(0).integers(len(lengths), size=_LOOKED_AT)
        some = np.concatenate([lengths[np.sort(drawn)], lengths.max(axis=0, keepdims=True)])
    corners = _best_corners(some.astype(np.int64), max(1, min(max_shapes, affordable)), worth / share)
    corners = corners[np.argsort(corners.sum(axis=1), kind="stable")]
    smallest = np.empty(len(lengths), np.min_scalar_type(len(corners)))  # the shape of each pair
    tops, counts = np.zeros((len(corners), 2), np.int64), np.zeros(len(corners), np.int64)
    for start in range(0, len(lengths), _LOOKED_AT):
        part = lengths[start : start + _LOOKED_AT]
        found = (part[:, None, :] <= corners[None, :, :]).all(axis=2).argmax(axis=1)  # of (pairs, shapes)
        smallest[start : start + _LOOKED_AT] = found
        counts += np.bincount(found, minlength=len(corners))
        np.maximum.at(tops, found, part)
    # One array for all rows, in parts: of very many pairs it is the largest thing that is held.
    order, filled = np.empty(len(lengths), np.int32), counts.cumsum() - counts
    begins = filled.copy()
    for start in range(0, len(lengths), _LOOKED_AT):
        found = smallest[start : start + _LOOKED_AT]
        for index in range(len(corners)):
            rows = np.flatnonzero(found == index)
            order[filled[index] : filled[index] + len(rows)] = start + rows
            filled[index] += len(rows)
    several = zip(tops.tolist(), begins, filled, strict=True)
    return [
        Bucket(_shape(top, int(end - begin), tokens), order[begin:end]) for top, begin, end in several if end > begin
    ]


def _shape(longest: Sequence[int], count: int, tokens: int) -> Shape:
    """The shape of a bucket: as many rows as the budget takes, shared out evenly over the batches, in eights."""
    source, target = longest
    most = _in_eights(max(1, tokens // (source + target)))
    batches = -(-count // most)
    even = -(-count // batches)
    return Shape(source, target, min(most, -(-even // 8) * 8 if even >= 8 else even))


def _in_eights(rows: int) -> int:
    return rows - rows % 8 if rows >= 8 else rows


def _best_corners(lengths: NDArray[np.int64], most: int, worth: float) -> NDArray[np.int64]:
    """(shapes, 2): the largest source and target of each group, for the best way of grouping."""
    source, target = lengths[:, 0], lengths[:, 1]
    keys = (source + target, target * (source.max() + 1) + source, source * (target.max() + 1) + target)
    ways = [[_Cuts(lengths[np.argsort(key, kind="stable")], most)] for key in (*keys, lengths.max(axis=1))]
    ways += [_bands(lengths, axis, count, most) for axis in (0, 1) for count in range(2, min(most, _MOST_BANDS + 1))]
    return min((_share(way, most, worth) for way in ways), key=lambda found: found[0])[1]


class _Cuts:
    """Pairs in an order, parted into groups of neighbours: for each number of groups the least padded size.

    Attributes:
        padded: (groups + 1,) time steps, infinite for no group at all.
    """

    def __init__(self, ordered: NDArray[np.int64], most: int, cuts: int = _CUTS):
        edges = np.unique(np.linspace(0, len(ordered), min(cuts, len(ordered)) + 1).astype(np.int64))
        self._tops = np.maximum.reduceat(ordered, edges[:-1], axis=0)  # (cuts, 2)
        most = min(most, len(self._tops))
        cost = _costs(self._tops, edges)
        best = np.full((most + 1, len(edges)), np.inf)
        best[0, 0] = 0.0
        self._came_from = np.zeros((most + 1, len(edges)), np.int64)
        for groups in range(1, most + 1):
            total = best[groups - 1][:, None] + cost  # (begin, end)
            self._came_from[groups], best[groups] = total.argmin(axis=0), total.min(axis=0)
        self.padded = best[:, -1]

    def corners(self, groups: int) -> list[NDArray[np.int64]]:
        """The largest source and target of each of so many groups."""
        found: list[NDArray[np.int64]] = []
        end = len(self._tops)
        for left in range(groups, 0, -1):
            begin = int(self._came_from[left, end])
            found.append(self._tops[begin:end].max(axis=0))
            end = begin
        return found


def _bands(lengths: NDArray[np.int64], axis: int, count: int, most: int) -> list[_Cuts]:
    """About so many bands of one side's length, each to be cut by the other's.

    It is what pairs need whose two lengths have little to do with each other, such as a sentence and the next.
    """
    ordered = lengths[np.argsort(lengths[:, axis], kind="stable")]
    one_sided = _Cuts(ordered * (np.arange(2) == axis), count, _CUTS_OF_BANDS)
    tops = np.unique([corner[axis] for corner in one_sided.corners(len(one_sided.padded) - 1)])
    ends = np.searchsorted(ordered[:, axis], tops, side="right")
    parts = [ordered[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    most -= len(parts) - 1
    return [_Cuts(part[np.argsort(part[:, 1 - axis], kind="stable")], most, _CUTS_OF_BANDS) for part in parts]


def _share(parts: list[_Cuts], most: int, worth: float) -> tuple[float, NDArray[np.int64]]:
    """The best sharing out of at most `most` groups over the parts: its cost with `worth` a group, and all corners."""
    best = np.zeros(1)  # for each number of groups the least padded size,
    ways: list[tuple[int, ...]] = [()]  # and the groups of each part that reach it
    for part in parts:
        total = np.full(min(most + 1, len(best) + len(part.padded) - 1), np.inf)
        reached: list[tuple[int, ...]] = [()] * len(total)
        for before, groups in np.ndindex(len(best), len(part.padded)):
            at, padded = before + groups, best[before] + part.padded[groups]
            if at < len(total) and padded < total[at]:
                total[at], reached[at] = padded, (*ways[before], groups)
        best, ways = total, reached
    cost = best + worth * np.arange(len(best))
    chosen = ways[int(cost.argmin())]
    corners = [corner for part, groups in zip(parts, chosen, strict=True) for corner in part.corners(groups)]
    return float(cost.min()), np.array(corners)


def _costs(tops: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """(begin, end): the padded time steps of one group from edge `begin` to edge `end`; infinite where end <= begin."""
    cost = np.full((len(edges), len(edges)), np.inf)
    for begin in range(len(tops)):
        longest = np.maximum.accumulate(tops[begin:], axis=0).sum(axis=1)
        cost[begin, begin + 1 :] = (edges[begin + 1 :] - edges[begin]) * longest
    return cost
