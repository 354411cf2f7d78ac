"""How good outputs are, measured on strings: exact match, error rates, BLEU, chrF.

An item is one source with all its references. It is right if its hypothesis equals any of them, and its token errors
are counted against the closest one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from rapidfuzz.distance import Levenshtein

from seq2seq.errors import DataError

References: TypeAlias = Sequence[Sequence[str]]
Split: TypeAlias = Callable[[str], Sequence[str]]


class Metric(NamedTuple):
    """A number that training can watch: how people read it, and which of two values is better."""

    label: str
    better: Literal["higher", "lower"]


METRICS = {
    "loss_nats_per_token": Metric("loss, nats/token", "lower"),
    "perplexity": Metric("perplexity", "lower"),
    "shuffled_loss_nats_per_token": Metric("loss given other sources, nats/token", "higher"),
    "listening_nats_per_token": Metric("gain from the right source, nats/token", "higher"),
    "listening_low_nats_per_token": Metric("  95 % interval, low", "higher"),
    "listening_high_nats_per_token": Metric("  95 % interval, high", "higher"),
    "exact_match_percent": Metric("exact match, % of items", "higher"),
    "wer_percent": Metric("wrong lines (WER), % of items", "lower"),
    "token_error_rate_percent": Metric("token errors, %", "lower"),
    "bleu": Metric("BLEU", "higher"),
    "chrf": Metric("chrF", "higher"),
    "listening_items": Metric("items ranked", "higher"),
    "recall_at_1_of_10_percent": Metric("true target first of 10, %", "higher"),
    "recall_at_1_of_100_percent": Metric("true target first of 100, %", "higher"),
    "pmi_recall_at_1_of_10_percent": Metric("  by mutual information, of 10, %", "higher"),
    "pmi_recall_at_1_of_100_percent": Metric("  by mutual information, of 100, %", "higher"),
    "own_source_at_1_of_10_percent": Metric("outputs that tell their source of 10, %", "higher"),
    "own_source_at_1_of_100_percent": Metric("outputs that tell their source of 100, %", "higher"),
    "distinct_1": Metric("distinct-1 of outputs", "higher"),
    "distinct_2": Metric("distinct-2 of outputs", "higher"),
    "unique_outputs_percent": Metric("unique outputs, %", "higher"),
}
"""By the name that `--metric` and `evaluate --json` use."""


def group(pairs: Iterable[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Pairs (source, target, ...) as items: the distinct sources in order, and the distinct references of each.

    Example:
        >>> group([("read", "R IY D"), ("a", "AH"), ("read", "R EH D")])
        (['read', 'a'], [['R IY D', 'R EH D'], ['AH']])
    """
    items: dict[str, dict[str, None]] = {}
    for pair in pairs:
        items.setdefault(pair[0], {})[pair[1]] = None
    return list(items), [list(targets) for targets in items.values()]


def exact_match_percent(hypotheses: Sequence[str], references: References) -> float:
    """The percentage of items whose hypothesis equals one of the references.

    Example:
        >>> exact_match_percent(["a", "b"], [["a"], ["c", "d"]])
        50.0
    """
    _check(hypotheses, references)
    right = sum(one in several for one, several in zip(hypotheses, references, strict=True))
    return 100.0 * right / len(hypotheses)


def wer_percent(hypotheses: Sequence[str], references: References) -> float:
    """100 minus the exact match: the "word error rate" of pronunciation, where an item is a word."""
    return 100.0 - exact_match_percent(hypotheses, references)


def spaced(text: str) -> list[str]:
    """The tokens that spaces part, as the tokenizer of words cuts them: other white space is a part of a token.

    Example:
        >>> spaced("a  b\u00a0c")
        ['a', 'b\\xa0c']
    """
    return [token for token in text.split(" ") if token]


def token_error_rate_percent(hypotheses: Sequence[str], references: References, split: Split = spaced) -> float:
    """100 sum(edit distance to the closest reference) / sum(length of that reference), in tokens that `split` cuts.

    With phonemes for tokens this is the PER, with `split=list` the character error rate. Of equally close references
    the longest counts.

    Example:
        >>> token_error_rate_percent(["R IY T", "AH"], [["R EH D", "R IY D"], ["AH"]])
        25.0
    """
    errors = total = 0
    for written, wanted in _closest(hypotheses, references, split):
        errors, total = errors + Levenshtein.distance(written, wanted), total + len(wanted)
    return 100.0 * errors / max(1, total)


def confusions(hypotheses: Sequence[str], references: References, split: Split = spaced) -> Counter[tuple[str, str]]:
    """How often (wanted, written): a token of the closest reference, and what the hypothesis has in its place.

    A token that is missing has "" written for it, and for one too many "" was wanted. The counts add up to the errors
    of `token_error_rate_percent`; of several ways to make one text of the other with as few errors, one is taken.

    Example:
        >>> dict(confusions(["R IY T", "AH AH"], [["R EH D", "R IY D"], ["AH"]]))
        {('D', 'T'): 1, ('', 'AH'): 1}
    """
    found: Counter[tuple[str, str]] = Counter()
    for written, wanted in _closest(hypotheses, references, split):
        for edit in Levenshtein.editops(wanted, written):
            lost = "" if edit.tag == "insert" else wanted[edit.src_pos]
            made = "" if edit.tag == "delete" else written[edit.dest_pos]
            found[lost, made] += 1
    return found


def bleu(hypotheses: Sequence[str], references: References, tokenize: Literal["none", "13a"] = "none") -> float:
    """Corpus BLEU by sacrebleu, 0 to 100: over tokens that any white space parts ("none"), or over raw text ("13a").

    Example:
        >>> round(bleu(["a b c d"], [["a b c d", "e f"]]), 6)
        100.0
    """
    from sacrebleu.metrics.bleu import BLEU  # slow to import, and few commands measure

    _check(hypotheses, references)
    score = BLEU(tokenize=tokenize, force=True).corpus_score(list(hypotheses), _streams(references)).score
    return min(score, 100.0)  # of a perfect output it is a little more, by rounding


def chrf(hypotheses: Sequence[str], references: References) -> float:
    """Corpus chrF2 (characters up to 6-grams) by sacrebleu, 0 to 100.

    Example:
        >>> chrf(["abc"], [["abc"]])
        100.0
    """
    from sacrebleu.metrics.chrf import CHRF

    _check(hypotheses, references)
    return CHRF().corpus_score(list(hypotheses), _streams(references)).score


def distinct(outputs: Sequence[Sequence[str]], n: int) -> float:
    """distinct-n: the number of different n-grams in all outputs over the number of tokens in them.

    (Li et al. 2016, section 5.3: "scaled by the total number of generated tokens".) 0 where there is no token.

    Example:
        >>> distinct([["i", "do", "not", "know"], ["i", "do"]], 1), distinct([["i", "do"], ["i", "do"]], 2)
        (0.6666666666666666, 0.25)
    """
    grams = {tuple(tokens[at : at + n]) for tokens in outputs for at in range(len(tokens) - n + 1)}
    return len(grams) / max(1, sum(map(len, outputs)))


def unique_percent(outputs: Sequence[str]) -> float:
    """100 times the number of different outputs over the number of outputs.

    Example:
        >>> unique_percent(["amen", "amen", "selah", "amen"])
        50.0
    """
    return 100.0 * len(set(outputs)) / max(1, len(outputs))


def interval(sums: Sequence[float], counts: Sequence[float], seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """The 95 % bootstrap interval of sum(sums) / sum(counts): items are drawn again with replacement (Efron 1979).

    Example:
        >>> interval([2.0, 2.0, 2.0], [1, 1, 1])
        (2.0, 2.0)
    """
    rng, table = np.random.default_rng(seed), np.array([sums, counts], float)
    drawn = [table[:, rng.integers(len(sums), size=len(sums))].sum(axis=1) for _ in range(rounds)]
    low, high = np.percentile([total / max(1.0, count) for total, count in drawn], [2.5, 97.5])
    return float(low), float(high)


def evaluate(
    hypotheses: Sequence[str],
    references: References,
    *,
    split: Split = spaced,
    bleu_tokenize: Literal["none", "13a"] = "none",
) -> dict[str, float]:
    """All the metrics of strings, by name.

    Raises:
        DataError: there is nothing to measure, or not one list of references for each hypothesis.

    Example:
        >>> list(evaluate(["a"], [["a"]]))
        ['exact_match_percent', 'wer_percent', 'token_error_rate_percent', 'bleu', 'chrf']
    """
    return {
        "exact_match_percent": exact_match_percent(hypotheses, references),
        "wer_percent": wer_percent(hypotheses, references),
        "token_error_rate_percent": token_error_rate_percent(hypotheses, references, split),
        "bleu": bleu(hypotheses, references, bleu_tokenize),
        "chrf": chrf(hypotheses, references),
    }


def _closest(
    hypotheses: Sequence[str], references: References, split: Split
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """The tokens of each hypothesis and of the reference closest to it; of equally close ones the longest."""
    _check(hypotheses, references)
    for one, several in zip(hypotheses, references, strict=True):
        written = split(one)
        cut = [split(reference) for reference in several]
        yield written, min(cut, key=lambda wanted: (Levenshtein.distance(written, wanted), -len(wanted)))


def _streams(references: References) -> list[list[Any]]:
    """The first reference of every item, the second of every item, and so on; None where an item has fewer."""
    return [list(stream) for stream in zip_longest(*references)]


def _check(hypotheses: Sequence[str], references: References) -> None:
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} hypotheses for {len(references)} items; they must be as many.")
    if not hypotheses or not all(references):
        raise DataError("nothing to measure: every item needs a hypothesis and at least one reference.")
