"""Does the decoder listen? What the source is worth, and whether targets and outputs are told by their source.

- nats per token that the true source is worth against the source of another pair, with a bootstrap interval;
- recall: how often the true target has the highest log p(target | source) among 10, and among 100, candidates; also
  by log p(target | source) - log p(target | no source), its pointwise mutual information with the source;
- own source: how often, of 100 sources, an output is likeliest after the one that it was generated for;
- distinct-1 and distinct-2 of the outputs, and the share of unique ones.

Candidates are the pair's own and those of 9 or 99 other pairs, of the same document where that is asked for, whose
text differs from it, from each other, and from what they are candidates for: where each line is the target of the one
before, a source is among the targets too, and nothing overlaps with it as it does itself. Which ones depends on the
number of the pair and the seed alone. The cost is 2 * 100 scores for each item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
import tyro
from numpy.typing import NDArray

from seq2seq import metrics
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.text_model import TextModel
from seq2seq.errors import ConfigError

Pairs: TypeAlias = Sequence[tuple[str, str]]
Picks: TypeAlias = dict[int, NDArray[np.int64]]
"""The number of an item -> the numbers of its candidates, its own first."""
COUNTS = (10, 100)


@dataclass(frozen=True)
class ListeningOptions:
    """What `evaluate` is told of the report."""

    listening: bool = False
    """Measure how much the model listens to the source: recall of the true target, outputs that tell their own source,
    variety. Each item costs 200 scores."""
    listening_items: int = 1000
    """So many items, evenly spread over the pairs, for what costs 100 scores each."""
    distractors: Annotated[Literal["file", "document"], tyro.conf.arg(name="distractors-from")] = "file"
    """Where the wrong candidates come from: all pairs, or those of the same document ("document" in JSON lines, or
    what blank lines part in plain text). Items that lack candidates are left out."""

    def check_listening(self) -> None:
        """Refuse what measures nothing.

        Raises:
            ConfigError: no items.
        """
        if self.listening_items < 1:
            raise ConfigError(f"--listening-items is {self.listening_items}; wanted 1 or more.")


@dataclass(frozen=True)
class Listening:
    """The report: call it with what a text model has generated.

    Attributes:
        items: so many of what costs 100 scores each, evenly spread.
        documents: of each pair; empty if candidates come from all pairs.
        split: an output to the tokens that distinct-n counts.
        arithmetic: how scores are computed.
        seed: of the candidates and of the bootstrap.
    """

    items: int = 1000
    documents: Sequence[str] = ()
    split: Callable[[str], Sequence[str]] = str.split
    arithmetic: Arithmetic = Arithmetic()  # noqa: RUF009 (frozen)
    seed: int = 0

    def __call__(self, model: TextModel, pairs: Pairs, outputs: Mapping[str, str]) -> dict[str, float]:
        """The numbers by the names of `metrics.METRICS`; `outputs` are the model's, by source."""
        scores = self._worth(model, pairs)
        documents = self.documents or [""] * len(pairs)
        scores |= self._recall(model, pairs, documents)
        of_source = dict(zip((source for source, _ in pairs), documents, strict=True))
        scores |= self._own_source(model, outputs, [of_source[source] for source in outputs])
        tokens = [self.split(output) for output in outputs.values()]
        scores |= {f"distinct_{n}": metrics.distinct(tokens, n) for n in (1, 2)}
        return scores | {"unique_outputs_percent": metrics.unique_percent(list(outputs.values()))}

    def pairs_to_score(self, pairs: int) -> int:
        """About how many pairs that will score, for whoever wants to know how far it is."""
        return 2 * pairs + (2 * COUNTS[-1] + 1) * min(self.items, pairs)

    def _worth(self, model: TextModel, pairs: Pairs) -> dict[str, float]:
        """A 95 % interval of the nats per token that the source is worth."""
        if len(pairs) < 2:
            return {}
        true, other = (model.token_scores(each, self.arithmetic) for each in (pairs, shuffled(pairs)))
        gains = [sum(ours) - sum(theirs) for (_, ours), (_, theirs) in zip(true, other, strict=True)]
        low, high = metrics.interval(gains, [len(ours) for _, ours in true], self.seed)
        return {"listening_low_nats_per_token": low, "listening_high_nats_per_token": high}

    def _recall(self, model: TextModel, pairs: Pairs, documents: Sequence[str]) -> dict[str, float]:
        targets = [target for _, target in pairs]
        picks = draw(targets, [source for source, _ in pairs], documents, self.items, self.seed)
        numbers = np.unique(np.concatenate([*picks.values(), np.zeros(0, np.int64)]))
        alone = model.token_scores([("", targets[n]) for n in numbers], self.arithmetic)
        prior = np.zeros(len(pairs))
        prior[numbers] = [sum(scores) for _, scores in alone]
        found = self._scores(model, [[(pairs[n][0], targets[k]) for k in several] for n, several in picks.items()])
        pointwise = [row - prior[pick] for row, pick in zip(found, picks.values(), strict=True)]
        return {"listening_items": float(len(picks))} | first("recall", found) | first("pmi_recall", pointwise)

    def _own_source(self, model: TextModel, outputs: Mapping[str, str], documents: Sequence[str]) -> dict[str, float]:
        sources, texts = list(outputs), list(outputs.values())
        picks = draw(sources, texts, documents, self.items, self.seed)
        rows = [[(sources[k], texts[n]) for k in several] for n, several in picks.items()]
        return first("own_source", self._scores(model, rows))

    def _scores(self, model: TextModel, rows: Sequence[Pairs]) -> list[NDArray[np.float64]]:
        """log p(target | source) of the pairs of each row."""
        scores = model.pair_scores([pair for row in rows for pair in row], self.arithmetic)
        return np.split(scores, np.cumsum([len(row) for row in rows])[:-1]) if rows else []


def shuffled(pairs: Pairs) -> list[tuple[str, str]]:
    """Each target behind the source of another pair: if the loss is the same, the source was not listened to.

    Example:
        >>> sorted(shuffled([("a", "x"), ("b", "y")]))
        [('a', 'y'), ('b', 'x')]
    """
    order = np.random.default_rng(0).permutation(len(pairs))
    sources = {int(here): pairs[int(there)][0] for here, there in zip(order, np.roll(order, 1), strict=True)}
    return [(sources[i], pair[1]) for i, pair in enumerate(pairs)]


def draw(texts: Sequence[str], of: Sequence[str], documents: Sequence[str], items: int, seed: int) -> Picks:
    """For `items` texts, evenly spread, their candidates: itself and 99 others of its document, or 9 where there are
    not so many; an item with fewer is left out.

    Item n meets the other texts in the order that `numpy.random.default_rng([seed, n])` gives, and takes those that
    are equal to none that it has, nor to `of[n]`, the text that they are candidates for.

    Example:
        >>> picks = draw([str(n) for n in range(300)], [""] * 300, [""] * 300, 2, seed=0)
        >>> {item: (len(set(several)), int(several[0])) for item, several in picks.items()}
        {0: (100, 0), 299: (100, 299)}
    """
    places: dict[str, list[int]] = {}
    items = min(items, len(texts))
    for number, document in enumerate(documents):
        places.setdefault(document, []).append(number)
    picks: Picks = {}
    for item in map(int, np.linspace(0, len(texts) - 1, items).round()):
        chosen: dict[str, int] = {texts[item]: item}
        for other in np.random.default_rng([seed, item]).permutation(places[documents[item]]):
            if texts[int(other)] != of[item]:
                chosen.setdefault(texts[int(other)], int(other))
            if len(chosen) == COUNTS[-1]:
                break
        size = max((count for count in COUNTS if count <= len(chosen)), default=0)
        if size:
            picks[item] = np.array(list(chosen.values())[:size])
    return picks


def first(name: str, rows: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """The percentage of rows whose first number is the highest, among the first 10 and the first 100; of k equally
    high ones each is the highest one k-th of the time. Rows with fewer numbers do not count.

    Example:
        >>> first("recall", [np.array([2.0] + [1.0] * 9), np.array([1.0, 2.0] * 5)])
        {'recall_at_1_of_10_percent': 50.0}
    """
    found = {}
    for count in COUNTS:
        among = [row[:count] for row in rows if len(row) >= count]
        if among:
            right = [float(row[0] == row.max()) / float((row == row.max()).sum()) for row in among]
            found[f"{name}_at_1_of_{count}_percent"] = 100.0 * sum(right) / len(right)
    return found
