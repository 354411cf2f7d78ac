"""Pieces of bpe undone into the two that they were merged of, by chance and anew in each batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.dataset import Dataset
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import ConfigError

Ids = NDArray[np.int32]
_LOOKED_AT = 1 << 20  # tokens


@dataclass(frozen=True, eq=False)
class PieceDropout:
    """Cuts training texts otherwise than the tokenizer does, so that no model learns to know a word by one cut alone.

    Each piece is undone with probability p into the two that it was merged of, and so are these, down to bytes. (After
    BPE-dropout, Provilkov et al. 2020, where merges are left out from below, which may lead to other merges; here a cut
    is always one of the merges' own tree, so that ids suffice and a corpus is tokenised once.)

    Attributes:
        rate: p.
        halves: of source and target, (vocabulary, 2): what each piece was merged of, -1 where it was not.

    Raises:
        ConfigError: the rate is no probability, or neither side has pieces that were merged.

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
        """That of two tokenizers."""
        if not 0 < rate < 1:
            raise ConfigError(f"--piece-dropout is {rate}; wanted 0 or more, and below 1.")
        if "bpe" not in (source.kind, target.kind):
            raise ConfigError(
                f"--piece-dropout undoes the merges of bpe; here sources are {source.kind} and targets {target.kind}."
            )
        return cls(rate, (source.halves, target.halves))

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

    def with_room(self, dataset: Dataset) -> NDArray[np.int32]:
        """(pairs, 2) time steps that shapes should have room for, the end counted: those expected, and one more."""
        sides = []
        for side, ids in enumerate((dataset.source, dataset.target)):
            some = np.asarray(ids[:_LOOKED_AT])
            growth = float(self.expected(side)[some].mean()) if len(some) else 1.0
            longer = growth * (dataset.lengths[:, side] - 1) + (growth > 1)
            sides.append(1 + np.ceil(longer).astype(np.int32))
        return np.stack(sides, axis=1)
