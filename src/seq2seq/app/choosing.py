"""Choosing among several outputs of a search: minimum Bayes risk, as the command line asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seq2seq.errors import SearchError
from seq2seq.search import UTILITIES, Ranked, mbr

SAMPLES = 32
"""Drawn, if nobody says how many candidates there are to be."""


@dataclass(frozen=True)
class Choosing:
    """Whether the outputs are those that a search ranks first, or those most like all that it found."""

    mbr: Literal["none", "chrf", "bleu", "edit", "exact"] = "none"
    """Minimum Bayes risk: of several candidates put out the one that is most like the others, by chrF, sentence BLEU,
    edit distance or equality; the score is then that likeness, 0 to 1. Samples weigh alike, a beam's by log p."""
    candidates: int | None = None
    """With --mbr, --mmi, --reverse-model or --second-model: how many outputs to choose among; a narrower beam is
    widened. None: 32 samples, or the whole beam."""

    def width(self, nbest: int, beam: int | None) -> int:
        """How many outputs the search must find for `nbest` to be chosen; `beam` is None for sampling.

        Raises:
            SearchError: there are fewer candidates than outputs asked for, or than two, or no --mbr to choose by.

        Example:
            >>> Choosing("chrf").width(1, beam=None), Choosing("chrf").width(1, beam=5), Choosing().width(2, beam=5)
            (32, 5, 2)
        """
        if self.mbr == "none":
            if self.candidates is not None:
                raise SearchError(
                    "--candidates are what --mbr, --mmi, --reverse-model or --second-model choose among: add one."
                )
            return nbest
        count = self.candidates
        if count is None:
            count = max(nbest, beam or SAMPLES)
        if not 1 <= nbest <= count:
            raise SearchError(f"--candidates is {count}; wanted at least --nbest, which is {nbest}.")
        if count == 1:
            raise SearchError("--mbr chooses among several outputs, and here is 1: widen --beam or --candidates.")
        return count

    def ranked(self, texts: Sequence[str], log_probabilities: NDArray[np.float64], sampled: bool) -> list[Ranked]:
        """The texts of one input by expected utility; samples are evidence of one weight, others weigh by log p."""
        weights = np.zeros(len(texts)) if sampled else log_probabilities
        return mbr(texts, weights, UTILITIES[self.mbr])
