"""Batches of few static shapes, in an order that is a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.buckets import Bucket, Shape, make_buckets
from seq2seq.data.columns import Integers
from seq2seq.data.dataset import Dataset
from seq2seq.data.dropping import Dropping
from seq2seq.data.merging import PieceDropout
from seq2seq.data.tokenizer import BEGIN, END, PAD
from seq2seq.errors import ConfigError

Rows = NDArray[np.int32] | NDArray[np.int64]
Ids = NDArray[np.int32]
Cut = Callable[[int, NDArray[np.int32], NDArray[np.int64], int], tuple[NDArray[np.int32], NDArray[np.int64]]]
"""(side, ids, lengths, most) -> the same texts in other ids, as `PieceDropout` cuts them."""
_MOST_STEPS = 32_768


class Batch(NamedTuple):
    """One batch, time-major. A row that only fills the batch up has source length 0 and mask 0 everywhere.

    Attributes:
        source: (source, batch) int32, `END` last, then 0.
        source_lengths: (batch,) int32, the end counted: an empty text has length 1.
        target_in: (target, batch) int32, `BEGIN` first.
        target_out: (target, batch) int32, `END` last: what `target_in` should predict.
        target_mask: (target, batch) float32, 1 on tokens.
    """

    source: NDArray[np.int32]
    source_lengths: NDArray[np.int32]
    target_in: NDArray[np.int32]
    target_out: NDArray[np.int32]
    target_mask: NDArray[np.float32]

    @property
    def size(self) -> int:
        """The number of rows, filling ones included."""
        return self.source.shape[1]


class Batches:
    """The batches of a data set, epoch after epoch; there is no state but (seed, epoch, index).

    A batch holds at most `tokens` time steps of source and target together, padding included (but at least one
    pair). Every pair comes once an epoch. Pairs of one bucket meet in other company each epoch, and the batches of all
    buckets are mixed. What `dropping` leaves out of a batch, and how `pieces` cuts its texts, is also a function of
    (seed, epoch, index); `once` leaves nothing out and cuts nothing otherwise.

    Each of the shapes, at most `max_shapes`, saves at least `worth` time steps of padding an epoch, since each has to
    be compiled; None is 2 % of all steps.

    Example:
        >>> from seq2seq.data.tokenizer import Tokenizer
        >>> letters = Tokenizer.train("character", ["ab"])
        >>> batches = Batches(Dataset.build([("ab", "b")] * 5, letters, letters), tokens=10, seed=1)
        >>> batches.shapes, batches.count, round(batches.padding_waste, 3)
        ([Shape(source=3, target=2, batch=2)], 3, 0.167)
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        tokens: int,
        seed: int,
        max_shapes: int = 5,
        worth: float | None = None,
        dropping: Dropping = Dropping(),  # noqa: B008 (frozen)
        pieces: PieceDropout | None = None,
    ):
        if tokens < 1 or max_shapes < 1:
            raise ConfigError(f"Batches: tokens is {tokens} and max_shapes {max_shapes}; both must be at least 1.")
        if seed < 0:
            raise ConfigError(f"Batches: the seed is {seed}; it must not be negative.")
        self.dataset, self.tokens, self.seed = dataset, tokens, seed
        self.dropping, self.pieces = dropping, pieces
        lengths = dataset.lengths if pieces is None else pieces.with_room(dataset)
        self._steps = float((dataset.lengths if pieces is None else pieces.steps(dataset)).sum())
        worth = 0.02 * self._steps if worth is None else worth
        self._buckets: list[Bucket] = make_buckets(lengths, tokens, max_shapes, worth)

    @property
    def shapes(self) -> list[Shape]:
        """All the shapes that batches have: what will be compiled."""
        return [bucket.shape for bucket in self._buckets]

    @property
    def pairs(self) -> int:
        """The number of pairs in every epoch."""
        return sum(len(bucket.rows) for bucket in self._buckets)

    @property
    def count(self) -> int:
        """The number of batches in every epoch."""
        return sum(bucket.batches for bucket in self._buckets)

    @cached_property
    def padding_waste(self) -> float:
        """The share of all time steps of an epoch, source and target, that only pad."""
        steps = sum(
            bucket.batches * shape.batch * (shape.source + shape.target)
            for bucket in self._buckets
            for shape in [bucket.shape]
        )
        return 1.0 - self._steps / steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on: what an uninterrupted epoch would have had left."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = [rng.permutation(bucket.rows) for bucket in self._buckets]
        for place, index in enumerate(rng.permutation(self.count)[start:], start):
            shape, several = self._part(rows, int(index))
            batch = collate(self.dataset, several, shape, self._cut(epoch, place))
            yield self.dropping(batch, np.random.default_rng([self.seed, epoch, place]))

    def once(self) -> Iterator[tuple[Rows, Batch]]:
        """Every pair once, unshuffled, as (indices of the pairs in the data set, batch): to score and to evaluate.

        Row n of the batch is pair `indices[n]`; the rows after the last index only fill it up.
        """
        every = [bucket.rows for bucket in self._buckets]
        for index in range(self.count):
            shape, rows = self._part(every, index)
            yield rows, collate(self.dataset, rows, shape)

    def _cut(self, epoch: int, place: int) -> Cut | None:
        if self.pieces is None:
            return None
        return partial(self.pieces, rng=np.random.default_rng([self.seed, epoch, place, 1]))

    def _part(self, rows_of_buckets: Sequence[Rows], index: int) -> tuple[Shape, Rows]:
        """The shape and the rows of a batch, which are numbered bucket after bucket."""
        for bucket, rows in zip(self._buckets, rows_of_buckets, strict=True):
            if index < bucket.batches:  # shared out evenly: a last batch of few pairs would count as one of many
                begin, end = (share * len(rows) // bucket.batches for share in (index, index + 1))
                return bucket.shape, rows[begin:end]
            index -= bucket.batches
        raise IndexError(index)


def collate(dataset: Dataset, rows: Rows, shape: Shape, cut: Cut | None = None) -> Batch:
    """The pairs `rows` as one batch of a shape that holds them, their texts cut otherwise if `cut` says so.

    Example:
        >>> from seq2seq.data.tokenizer import Tokenizer
        >>> letters = Tokenizer.train("character", ["ab"])
        >>> batch = collate(Dataset.build([("ab", "b")], letters, letters), np.array([0]), Shape(4, 3, 2))
        >>> batch.source.T.tolist(), batch.source_lengths.tolist(), batch.target_in.T.tolist()
        ([[4, 5, 3, 0], [0, 0, 0, 0]], [3, 0], [[2, 5, 0], [0, 0, 0]])
    """
    sources, targets = (
        _texts(*side, rows)
        for side in ((dataset.source, dataset.source_offsets), (dataset.target, dataset.target_offsets))
    )
    if cut is not None:
        sources, targets = cut(0, *sources, shape.source - 1), cut(1, *targets, shape.target - 1)
    source, lengths = _ended(*sources, shape.source, shape.batch)
    target, target_lengths = _ended(*targets, shape.target, shape.batch)
    mask = (np.arange(shape.target)[:, None] < target_lengths).astype(np.float32)
    return Batch(source, lengths, begun(target, target_lengths), target, mask)


def _texts(flat: Integers, offsets: Integers, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The ids of the texts `rows`, one after the other, and how many each has."""
    lengths = (offsets[rows + 1] - offsets[rows]).astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    ids = flat[np.repeat(offsets[rows] - begins, lengths) + np.arange(lengths.sum())]
    return ids.astype(np.int32, copy=False), lengths


def _ended(flat: Ids, inner: NDArray[np.int64], steps: int, rows: int) -> tuple[Ids, Ids]:
    """((time, batch) ids with their `END`, (batch,) lengths) of texts that stand one after the other."""
    ids = np.full((rows, steps), PAD, np.int32)
    lengths = np.zeros(rows, np.int32)
    times = np.arange(steps)
    ids[: len(inner)][times < inner[:, None]] = flat
    ids[: len(inner)][times == inner[:, None]] = END
    lengths[: len(inner)] = inner + 1
    return np.ascontiguousarray(ids.T), lengths


def padded(texts: Sequence[Sequence[int]], steps: int, rows: int) -> tuple[Ids, Ids]:
    """((time, batch) ids with their `END`, (batch,) lengths) of texts, in so many time steps and rows.

    Example:
        >>> ids, lengths = padded([[5, 6], []], 4, 3)
        >>> ids.T.tolist(), lengths.tolist()
        ([[5, 6, 3, 0], [3, 0, 0, 0], [0, 0, 0, 0]], [3, 1, 0])
    """
    inner = np.array([len(ids) for ids in texts], np.int64)
    return _ended(np.fromiter(chain.from_iterable(texts), np.int32, int(inner.sum())), inner, steps, rows)


def begun(target: Ids, lengths: Ids) -> Ids:
    """What a decoder reads, (time, batch): `BEGIN` and then each token of the targets but the end."""
    read = np.concatenate([np.where(lengths > 0, BEGIN, PAD)[None], target[:-1]]).astype(np.int32)
    read[read == END] = PAD  # what follows the end is padding
    return read


class SourceBatch(NamedTuple):
    """Sources to decode.

    Attributes:
        indices: (rows,) which inputs these are: row n is input `indices[n]`; rows after these only fill up.
        source: (source, batch) int32, `END` last, then 0.
        lengths: (batch,) int32, the end counted, and 0 for a row that only fills up.
    """

    indices: Rows
    source: NDArray[np.int32]
    lengths: NDArray[np.int32]


def inference_batches(sources: Sequence[Sequence[int]], *, batch: int = 64, queue: int = 1) -> Iterator[SourceBatch]:
    """Sources (ids without begin and end) sorted by length into batches of few static shapes.

    Batches have `batch` rows, or for fewer sources the next power of two; where sources are so long that a batch would
    have more than 32,768 time steps, fewer. The time steps are rounded up to 16, 32, 64, ..., so that any input meets
    few shapes.

    Args:
        sources: the ids of each text.
        batch: rows that are in work at once.
        queue: where more than `batch` sources of one rounded length are left, that many times `batch` come together,
            the longest first, for a search that decodes them in `batch` slots.

    Example:
        >>> answers = [""] * 3
        >>> for indices, source, lengths in inference_batches([[5, 6], [7], []], batch=2):
        ...     for row, index in enumerate(indices):
        ...         answers[index] = str(source[: lengths[row], row])
        >>> answers
        ['[5 6 3]', '[7 3]', '[3]']
    """
    if batch < 1 or queue < 1:
        raise ConfigError(f"inference_batches: batch is {batch} and queue {queue}; both must be at least 1.")
    steps = np.array([len(ids) + 1 for ids in sources], np.int64)
    order = np.argsort(steps, kind="stable")
    size = min(batch, 1 << max(0, len(sources) - 1).bit_length())
    start = 0
    while start < len(order):
        left = steps[order[start:]]
        rows, used = _queue(left, size, queue) or (_rows(left[:size], size), size)
        indices = order[start : start + min(rows, used)]
        yield _padded(sources, indices[::-1] if rows > size else indices, rows)
        start += len(indices)


def _padded(sources: Sequence[Sequence[int]], indices: Rows, rows: int) -> SourceBatch:
    """The sources `indices` with their ends, in as many rows."""
    texts = [sources[index] for index in indices]
    return SourceBatch(indices, *padded(texts, _on_grid(max(map(len, texts)) + 1), rows))


def _queue(steps: NDArray[np.int64], size: int, queue: int) -> tuple[int, int] | None:
    """The rows of a queue and how many of the next sources go into it; None where a batch of `size` holds them all."""
    width = _on_grid(int(steps[0]))
    same = int(np.searchsorted(steps, width, side="right"))
    while queue > 1 and size * queue * width > _MOST_STEPS:
        queue //= 2
    return (size * queue, min(same, size * queue)) if queue > 1 and same > size else None


def _rows(steps: NDArray[np.int64], size: int) -> int:
    """How many of the next sources, of ascending lengths, go into a batch: `size`, halved until they fit."""
    while size > 1 and size * _on_grid(int(steps[:size][-1])) > _MOST_STEPS:
        size //= 2
    return size


def _on_grid(steps: int) -> int:
    """The next of 16, 32, 64, ...: each shape costs seconds to compile, padding a short source next to nothing."""
    return max(16, 1 << (steps - 1).bit_length())
