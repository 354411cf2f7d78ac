"""Minimum Bayes risk: of several outputs, the one that is most like all the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.errors import SearchError
from seq2seq.search.utility import Utility

_DIGITS = 9
"""Expected utilities that agree to so many digits are equal: sums in another order differ in the last ones."""


class Ranked(NamedTuple):
    """A hypothesis: where it stands among those given, and the utility to be expected of it."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    utility: float


def mbr(hypotheses: Sequence[str], log_weights: ArrayLike, utility: Utility) -> list[Ranked]:
    """The hypotheses by expected utility, best first; they are candidates and evidence at once.

        best = argmax over h of sum over r of w_r u(h, r)    w = softmax(log_weights)

    Minimum Bayes risk, the risk being 1 - u (Kumar and Byrne 2004). With samples, all of one weight, the sum
    is an unbiased estimate of the expectation under the model (Eikema and Aziz 2020); with an n-best list the
    weights are its log-probabilities. Among equals the first of those given comes first. A text that was given more
    than once comes once, at its first place.

    Args:
        hypotheses: the outputs of one input.
        log_weights: (hypotheses,) in nats, up to a constant; zeros for samples.
        utility: u(h, r) of all pairs: `seq2seq.UTILITIES["chrf"]`, or any function of two lists of texts.

    Raises:
        SearchError: no hypothesis, or not one finite weight for each.

    Example:
        >>> from seq2seq.search.utility import edit
        >>> best, *_ = mbr(["abxy", "abcd", "abce"], [0.0, 0.0, 0.0], edit)
        >>> best.index, round(best.utility, 4)
        (1, 0.75)
    """
    logs = np.asarray(log_weights, np.float64)
    if not hypotheses or logs.shape != (len(hypotheses),) or not np.isfinite(logs).all():
        wanted = "wanted one finite number for each of one hypothesis or more"
        raise SearchError(f"mbr: {len(hypotheses)} hypotheses with log_weights of shape {logs.shape}; {wanted}.")
    first: dict[str, int] = {}
    for index, text in enumerate(hypotheses):
        first.setdefault(text, index)
    place = {text: kind for kind, text in enumerate(first)}
    weights = np.bincount([place[text] for text in hypotheses], np.exp(logs - logs.max()))
    expected = (utility(list(first), list(first)) @ (weights / weights.sum())).round(_DIGITS)
    order = np.argsort(-expected, kind="stable")
    indices = list(first.values())
    return [Ranked(indices[kind], float(expected[kind])) for kind in order]
