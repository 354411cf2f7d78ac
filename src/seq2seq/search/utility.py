"""How like one output is to another: every hypothesis against every reference at once, 0 to 1.

Utilities for `mbr`. An n-gram is counted as often as it occurs; two texts share it as often as the one where it is
rarer has it, and min(a, b) = sum over t >= 1 of [a >= t] [b >= t], so that what all pairs share is a sum of products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

Table: TypeAlias = NDArray[np.float64]
Utility: TypeAlias = Callable[[Sequence[str], Sequence[str]], Table]
"""(hypotheses, references) -> u(h, r) for each pair, (hypotheses, references)."""
_LARGE = 1 << 27
"""Products of counts from which on BLAS is worth its threads."""
Cut: TypeAlias = Callable[[str], str | list[str]]
"""A text -> the pieces whose n-grams count: a text's characters, or a list."""


def exact(hypotheses: Sequence[str], references: Sequence[str]) -> Table:
    """1 where they are the same text, else 0. Over an n-best list, `mbr` then takes the likeliest text.

    Example:
        >>> exact(["a", "b"], ["b"]).tolist()
        [[0.0], [1.0]]
    """
    return np.array([[float(h == r) for r in references] for h in hypotheses]).reshape(len(hypotheses), -1)


def edit(hypotheses: Sequence[str], references: Sequence[str]) -> Table:
    """1 - d(h, r) / max(|h|, |r|), with Levenshtein's distance d and lengths in characters; 1 for two empty texts.

    Example:
        >>> edit(["abcd"], ["abce", "abcd", ""]).tolist()
        [[0.75, 1.0, 0.0]]
    """
    return cdist(hypotheses, references, scorer=Levenshtein.normalized_similarity, dtype=np.float64)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Table:
    """Sentence chrF2 / 100 (Popovic 2015) as sacrebleu has it: characters without spaces, up to 6-grams.

        P, R = mean over n of shared_n / count_n(h), shared_n / count_n(r)    chrF2 = 5 P R / (4 P + R)

    over the n for which both texts have an n-gram.

    Example:
        >>> chrf(["abc"], ["abc", "xyz"]).tolist()
        [[1.0, 0.0]]
    """
    precision, recall, orders = (np.zeros((len(hypotheses), len(references))) for _ in range(3))
    for grams in _ngrams(lambda text: "".join(text.split()), (hypotheses, references), 6):
        both = (grams.given[:, None] > 0) & (grams.wanted > 0)
        precision += np.where(both, grams.shared / np.maximum(grams.given[:, None], 1), 0)
        recall += np.where(both, grams.shared / np.maximum(grams.wanted, 1), 0)
        orders += both
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    return np.where(precision + recall > 0, 5 * precision * recall / np.maximum(4 * precision + recall, 1e-300), 0.0)


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> Table:
    """Sentence BLEU / 100 (Papineni et al. 2002) over what spaces part, smoothed as sacrebleu does ("exp").

        p_n = shared_n / count_n(h)
        BLEU = min(1, exp(1 - |r| / |h|)) * exp(mean over n = 1 ... min(4, |h|) of log p_n)

    where the k-th p_n that would be 0 is 1 / (2 ** k * count_n(h)) (Chen and Cherry 2014, method 3); 0 if nothing is
    shared.

    Example:
        >>> bleu(["a b c d"], ["a b c d", "x"]).round(6).tolist()
        [[1.0, 0.0]]
    """
    logs, shared, zeros = (np.zeros((len(hypotheses), len(references))) for _ in range(3))
    given = np.array([[len(h.split())] for h in hypotheses], float)
    wanted = np.array([len(r.split()) for r in references], float)
    for grams in _ngrams(str.split, (hypotheses, references), 4):
        zeros += grams.shared == 0
        shared += grams.shared
        precision = np.where(grams.shared > 0, grams.shared, 0.5**zeros) / np.maximum(grams.given[:, None], 1)
        logs += np.where(grams.given[:, None] > 0, np.log(precision), 0.0)
    brevity = np.minimum(0.0, 1 - wanted / np.maximum(given, 1))
    return np.where(shared > 0, np.exp(brevity + logs / np.clip(given, 1, 4)), 0.0)


UTILITIES: dict[str, Utility] = {"chrf": chrf, "bleu": bleu, "edit": edit, "exact": exact}
"""By the name that `generate --mbr` uses."""


class _Grams(NamedTuple):
    """Of one n: how many each hypothesis has, how many each reference, and how many each pair shares."""

    given: Table
    wanted: Table
    shared: Table


def _ngrams(cut: Cut, sides: tuple[Sequence[str], Sequence[str]], orders: int) -> Iterator[_Grams]:
    """For n = 1 ... `orders`, of what `cut` cuts the hypotheses and the references into."""
    place = {text: kind for kind, text in enumerate(dict.fromkeys((*sides[0], *sides[1])))}
    given, wanted = ([place[text] for text in side] for side in sides)
    pieces = [cut(text) for text in place]
    row = np.repeat(np.arange(len(pieces)), [len(several) for several in pieces])
    units, kinds = _numbered(pieces)
    grams, at = units.copy(), np.arange(len(units))  # the n-gram that begins at each place, and where one does
    for n in range(1, orders + 1):
        if n > 1:
            at = at[at + n - 1 < len(row)]
            at = at[row[at + n - 1] == row[at]]
            grams[at] = np.unique(grams[at] * kinds + units[at + n - 1], return_inverse=True)[1]
        common = _in_several(row[at], grams[at])
        counts = _counts(row[at[common]], np.unique(grams[at[common]], return_inverse=True)[1], len(pieces))
        totals, alone = (np.bincount(row[of], minlength=len(pieces)).astype(float) for of in (at, at[~common]))
        shared = _shared(counts[given], counts[wanted])
        same = np.equal.outer(given, wanted)  # a text shares with itself what no other has
        yield _Grams(totals[given], totals[wanted], shared + same * alone[given][:, None])


def _numbered(pieces: Sequence[str | list[str]]) -> tuple[NDArray[np.int64], int]:
    """All the pieces of all texts as numbers, and how many kinds of them there are."""
    if all(isinstance(text, str) for text in pieces):  # characters
        codes = np.frombuffer("".join(map(str, pieces)).encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds, units = np.unique(codes, return_inverse=True)
        return units.astype(np.int64), len(kinds)
    ids: dict[str, int] = {}
    return np.array([ids.setdefault(unit, len(ids)) for text in pieces for unit in text], np.int64), len(ids)


def _in_several(rows: NDArray[Any], grams: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the n-grams, each in the text of its row, at least two texts have: few do in hundreds of long texts."""
    kinds = int(grams.max(initial=-1)) + 1
    texts = np.bincount(np.unique(rows * kinds + grams) % max(1, kinds), minlength=kinds)
    return texts[grams] > 1


def _counts(rows: NDArray[Any], grams: NDArray[Any], texts: int) -> NDArray[Any]:
    """How often each text has each n-gram, (texts, kinds)."""
    kinds = int(grams.max(initial=-1)) + 1
    return np.bincount(rows * kinds + grams, minlength=texts * kinds).reshape(texts, kinds)


def _shared(given: NDArray[Any], wanted: NDArray[Any]) -> Table:
    """How many n-grams each pair shares, (hypotheses, references)."""
    shared, most = np.zeros((len(given), len(wanted))), np.minimum(given.max(axis=0), wanted.max(axis=0))
    for often in range(1, int(most.max(initial=0)) + 1):
        columns = most >= often
        has, has_too = ((side[:, columns] >= often).astype(np.float32) for side in (given, wanted))
        if has.size * len(has_too) > _LARGE:
            shared += has @ has_too.T
        else:  # the threads of BLAS would wait for each other longer than they compute
            shared += np.einsum("hk,rk->hr", has, has_too)
    return shared
