"""Pieces of bpe undone into the two that they were merged of, by chance and anew in each batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.dataset import Dataset
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import ConfigError

Ids = NDArray[np.int32]
_BLOCK = 1 << 22  # tokens


@dataclass(frozen=True, eq=False)
class PieceDropout:
    """Cuts training texts otherwise than the tokenizer does, so that no model learns to know a word by one cut alone.

    Each piece is undone with probability p into the two that it was merged of, and so are these, down to bytes. (After
    BPE-dropout, Provilkov et al. 2020, where merges are left out from below, which may lead to other merges; here a cut
    is always one of the merges' own tree, so that ids suffice and a corpus is tokenised once. A piece stays whole with
    probability 1 - p, there with (1 - p)^m of m merges: at the same p, theirs cuts more.)

    Attributes:
        rate: p.
        halves: of source and target, (vocabulary, 2): what each piece was merged of, -1 where it was not.

    Example:
        >>> pieces = Tokenizer.train("bpe", ["abab ab"] * 9, vocabulary=300)
        >>> dropout, ids = PieceDropout.of(0.5, pieces, pieces), np.array(pieces.encode("abab"), np.int32)
        >>> found, lengths = dropout(0, ids, np.array([len(ids)]), 99, np.random.default_rng(2))
        >>> [[pieces.token(one) for one in several] for several in (ids, found)], pieces.decode(found)
        ([['▁abab'], ['▁', 'ab', 'ab']], 'abab')
    """

    rate: float
    halves: tuple[Ids, Ids]

    @classmethod
    def of(cls, rate: float, source: Tokenizer, target: Tokenizer) -> PieceDropout:
        """That of two tokenizers.

        Raises:
            ConfigError: the rate is no probability, or neither side has pieces that were merged.
        """
        if not 0 < rate < 1:
            raise ConfigError(f"--piece-dropout is {rate}; wanted a probability between 0 and 1.")
        halves = source.halves, target.halves
        if not any((side >= 0).any() for side in halves):
            raise ConfigError(
                f"--piece-dropout undoes the merges of bpe; here sources are {source.kind} and targets {target.kind}, "
                "without any: say --source-tokens bpe or --target-tokens bpe, or leave it out."
            )
        return cls(rate, halves)

    def __call__(
        self, side: int, ids: Ids, lengths: NDArray[np.int64], most: int, rng: np.random.Generator
    ) -> tuple[Ids, NDArray[np.int64]]:
        """The ids of texts, one after the other, cut otherwise, and how many each text now has.

        Args:
            side: 0 for sources, 1 for targets.
            ids: (tokens,) of all texts.
            lengths: (texts,) ids of each.
            most: ids that a text may have; where it has so many, the rest of it is left as it is.
            rng: what is drawn from.
        """
        halves, fresh = self.halves[side], np.ones(len(ids), bool)
        while fresh.any():
            undone = fresh & (rng.random(len(ids)) < self.rate) & (halves[ids, 0] >= 0)
            row = np.repeat(np.arange(len(lengths)), lengths)
            so_far = np.cumsum(undone)
            before = np.concatenate([[0], so_far])[np.cumsum(lengths) - lengths]  # in the texts above
            undone &= so_far - before[row] <= (most - lengths)[row]
            at = np.cumsum(1 + undone) - 1 - undone
            parted = np.empty(len(ids) + int(undone.sum()), np.int32)
            parted[at] = np.where(undone, halves[ids, 0], ids)
            parted[at[undone] + 1] = halves[ids[undone], 1]
            fresh = np.zeros(len(parted), bool)
            fresh[at[undone]] = fresh[at[undone] + 1] = True
            lengths = lengths + np.bincount(row[undone], minlength=len(lengths))
            ids = parted
        return ids, lengths

    def expected(self, side: int) -> NDArray[np.float64]:
        """(vocabulary,) how many pieces one becomes, on average: 1, or 1 - p + p (those of its halves)."""
        halves, found = self.halves[side], np.ones(len(self.halves[side]))
        for _ in range(len(halves)):
            grown = np.where(halves[:, 0] >= 0, 1 - self.rate + self.rate * found[halves].sum(axis=1), 1.0)
            if np.array_equal(grown, found):
                break
            found = grown
        return found

    def steps(self, dataset: Dataset) -> NDArray[np.float64]:
        """(pairs, 2) time steps of source and target, the end counted, as many as they have on average."""
        inner = dataset.lengths.astype(np.float64) - 1
        return 1 + inner * np.array([self._growth(dataset, side) for side in (0, 1)])

    def with_room(self, dataset: Dataset) -> NDArray[np.int32]:
        """(pairs, 2) time steps that shapes should have room for: those expected, and one more."""
        return 1 + np.ceil(self.steps(dataset)).astype(np.int32)

    def _growth(self, dataset: Dataset, side: int) -> float:
        """How many pieces one of the data set becomes on average."""
        ids, expected, total = (dataset.source, dataset.target)[side], self.expected(side), 0.0
        for start in range(0, len(ids), _BLOCK):
            counts = np.bincount(ids[start : start + _BLOCK], minlength=len(expected))
            total += float(counts @ expected)
        return total / len(ids) if len(ids) else 1.0
