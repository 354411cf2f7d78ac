"""Does the decoder listen? What the source is worth, and whether targets and outputs are told by their source.

- nats per token that the true source is worth against the source of another pair, with a bootstrap interval;
- recall: how often the true target has the highest log p(target | source) among 10, and among 100, candidates; also
  by its mutual information with the source, log p(target | source) - log p(target), where log p(target) is the mean of
  log p(target | other) over 20 sources that no candidate belongs to, so that it is what this source is worth;
- own source: how often, of 10 and of 100 sources, an output is likeliest after the one that it was generated for;
- distinct-1 and distinct-2 of the outputs, and the share of unique ones.

Items stand in blocks of 100, of the same document where that is asked for, or of 10 where there are not so many: each
is a candidate for all others of its block. No two texts of a block are equal, nor is one among the targets and another
among the sources: where each line is the target of the one before, nothing overlaps with a source as it does itself.
The cost is 220 scores for each item, 40 in blocks of 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, TypeAlias

import numpy as np
import tyro
from numpy.typing import NDArray

from seq2seq import metrics
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.text_model import TextModel
from seq2seq.errors import ConfigError

Pairs: TypeAlias = Sequence[tuple[str, str]]
Texts: TypeAlias = list[str]
Block: TypeAlias = NDArray[np.int64]
"""The numbers of items that are candidates for each other: 10 or 100."""
COUNTS = (10, 100)
_OTHERS = 20
_AT_ONCE = 1 << 17  # pairs that are scored together
_OPEN = 256  # blocks that are filled at a time: of equal texts each opens one, and is compared with all that are open


@dataclass(frozen=True)
class ListeningOptions:
    """What `evaluate` is told of the report."""

    listening: bool = False
    """Measure how much the model listens to the source: recall of the true target, outputs that tell their own source,
    variety."""
    listening_items: int = 1000
    """How many items are ranked, in blocks of 100 (of 10 below 100 items); each costs up to 220 scores."""
    distractors: Annotated[Literal["file", "document"], tyro.conf.arg(name="distractors-from")] = "file"
    """Where the wrong candidates come from: all pairs, or those of the same document ("document" in JSON lines, or
    what blank lines part in plain text). Items that fill no block are left out."""

    def check_listening(self) -> None:
        """Refuse what measures nothing.

        Raises:
            ConfigError: fewer items than a block has, or numbers of a report that nobody asked for.
        """
        if self.listening_items < COUNTS[0]:
            raise ConfigError(f"--listening-items is {self.listening_items}; wanted {COUNTS[0]} or more.")
        told = (self.listening_items, self.distractors)
        if not self.listening and told != (ListeningOptions.listening_items, ListeningOptions.distractors):
            raise ConfigError("--listening-items and --distractors-from are for --listening: add it.")


@dataclass(frozen=True)
class Listening:
    """The report: call it with what a text model has generated.

    Attributes:
        items: how many are ranked; each costs up to 220 scores.
        documents: of each pair; empty if candidates come from all pairs.
        split: an output to the tokens that distinct-n counts.
        arithmetic: how scores are computed.
        seed: of the candidates and of the bootstrap.
    """

    items: int = 1000
    documents: Sequence[str] = ()
    split: Callable[[str], Sequence[str]] = metrics.spaced
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
        items = min(self.items, pairs)
        among = COUNTS[-1] if items >= COUNTS[-1] else COUNTS[0]
        return 2 * pairs + (2 * among + _OTHERS) * items

    def _worth(self, model: TextModel, pairs: Pairs) -> dict[str, float]:
        """A 95 % interval of the nats per token that the source is worth."""
        if len(pairs) < 2:
            return {}
        true, other = (model.pair_scores(each, self.arithmetic) for each in (pairs, shuffled(pairs)))
        ids = model.target_tokenizer.encode_batch(target for _, target in pairs)
        gained, lengths = _less(true, other), np.array([len(tokens) + 1 for tokens in ids])
        possible = np.isfinite(gained)  # a model may say of a target that it cannot be
        if not possible.any():
            return {}
        low, high = metrics.interval(gained[possible].tolist(), lengths[possible].tolist(), self.seed)
        return {"listening_low_nats_per_token": low, "listening_high_nats_per_token": high}

    def _recall(self, model: TextModel, pairs: Pairs, documents: Sequence[str]) -> dict[str, float]:
        sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
        found = blocks(targets, sources, documents, self.items, self.seed)
        others = [self._others(block, sources, targets, documents) for block in found]
        rows = [[sources[n] for n in block] + other for block, other in zip(found, others, strict=True)]
        tables = self._tables(model, rows, [[targets[n] for n in block] for block in found])
        scores = {"listening_items": float(sum(map(len, found)))}
        scores |= first("recall", [table[: len(block)] for table, block in zip(tables, found, strict=True)])
        # Where no other source is left (there is but one block), nothing is told.
        informed = [_information(table) for table in tables if len(table) > table.shape[1]]
        return scores | first("pmi_recall", informed)

    def _others(self, block: Block, sources: Sequence[str], targets: Sequence[str], documents: Sequence[str]) -> Texts:
        """Sources of other items, of the same document first, that are equal to no text of the block."""
        taken = {sources[n] for n in block} | {targets[n] for n in block}
        order = map(int, np.random.default_rng([self.seed, int(block[0])]).permutation(len(sources)))
        free = [n for n in order if sources[n] not in taken]
        free.sort(key=lambda n: documents[n] != documents[block[0]])
        distinct = dict.fromkeys(sources[n] for n in free)
        return list(distinct)[:_OTHERS]

    def _own_source(self, model: TextModel, outputs: Mapping[str, str], documents: Sequence[str]) -> dict[str, float]:
        sources, texts = list(outputs), list(outputs.values())
        found = blocks(sources, texts, documents, self.items, self.seed)
        rows = [[sources[n] for n in block] for block in found]
        tables = self._tables(model, rows, [[texts[n] for n in block] for block in found])
        return first("own_source", [table.T for table in tables])

    def _tables(
        self, model: TextModel, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]
    ) -> list[NDArray[np.float64]]:
        """log p(target | source) for each block: (sources, targets); some blocks at a time."""
        found: list[NDArray[np.float64]] = []
        sizes = [(len(rows), len(columns)) for rows, columns in zip(sources, targets, strict=True)]
        together = max(1, _AT_ONCE // max((a * b for a, b in sizes), default=1))
        for start in range(0, len(sizes), together):
            some = slice(start, start + together)
            several = zip(sources[some], targets[some], strict=True)
            pairs = [pair for rows, columns in several for pair in product(rows, columns)]
            scores = np.split(model.pair_scores(pairs, self.arithmetic), np.cumsum([a * b for a, b in sizes[some]]))
            found += [part.reshape(size) for part, size in zip(scores[:-1], sizes[some], strict=True)]
        return found


def _information(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p(target | source) - the mean of log p(target | other source), the other sources being the last rows.

    (The log of the mean p would follow the one other source that suits the target best: a noisier rank.)
    """
    size = table.shape[1]
    return _less(table[:size], table[size:].mean(axis=0))


def _less(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """one - other, of logs: two that are impossible are alike."""
    with np.errstate(invalid="ignore"):
        return np.where(one == other, 0.0, one - other)


def shuffled(pairs: Pairs) -> list[tuple[str, str]]:
    """Each target with another source: if the loss is the same, the source was not listened to.

    Where more than half of the pairs have the same source, some keep it.

    Example:
        >>> sorted(shuffled([("a", "x"), ("b", "y")]))
        [('a', 'y'), ('b', 'x')]
        >>> sorted(shuffled([("a", "w"), ("a", "x"), ("b", "y"), ("c", "z")]))[2:]
        [('b', 'w'), ('c', 'x')]
    """
    order, by = np.random.default_rng(0).permutation(len(pairs)), 1
    numbers = {source: number for number, source in enumerate(dict.fromkeys(source for source, _ in pairs))}
    ids = np.array([numbers[source] for source, _ in pairs], np.int64)
    if (ids[order] == ids[np.roll(order, 1)]).any():  # equal ones side by side, and each gets that of the next group
        order, by = order[np.argsort(ids[order], kind="stable")], int(np.bincount(ids).max())
    sources = {int(here): pairs[int(there)][0] for here, there in zip(order, np.roll(order, by), strict=True)}
    return [(sources[i], pair[1]) for i, pair in enumerate(pairs)]


def blocks(texts: Sequence[str], of: Sequence[str], documents: Sequence[str], items: int, seed: int) -> list[Block]:
    """The numbers of about so many items in blocks of 100, all of one document; in blocks of 10 where a document has
    not so many, or where fewer than 100 items are asked for.

    The items of a document, in an order that the seed gives, each go to the first block that has room, where no text
    is equal to theirs and no text of `texts` to one of `of`. What fills no block is left out, and so is what 256 open
    blocks have no room for; hundreds go first.

    Example:
        >>> found = blocks([f"y{n}" for n in range(330)], [f"x{n}" for n in range(330)], [""] * 330, 300, seed=0)
        >>> [len(set(block.tolist())) for block in found]
        [100, 100, 100]
    """
    places: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        places.setdefault(document, []).append(number)
    rng = np.random.default_rng(seed)
    found: list[Block] = []
    for several in places.values():
        order = [int(n) for n in rng.permutation(several)]
        sizes = [size for size in reversed(COUNTS) if size <= items]
        found += next(filter(None, (_filled(order, texts, of, size) for size in sizes)), [])
    chosen, left = list[Block](), items
    for block in sorted((found[n] for n in rng.permutation(len(found))), key=len, reverse=True):
        if len(block) <= left:
            chosen.append(block)
            left -= len(block)
    return chosen


def _filled(order: Sequence[int], texts: Sequence[str], of: Sequence[str], size: int) -> list[Block]:
    """The blocks of this size that are full."""
    full: list[Block] = []
    open_: list[tuple[list[int], set[str], set[str]]] = []
    for n in order:
        text, source = texts[n], of[n]
        fits = (each for each in open_ if not (text in each[1] or text in each[2] or source in each[1]))
        found = next(fits, None)
        if found is None and len(open_) == _OPEN:
            continue
        if found is None:
            open_.append(found := ([], set(), set()))
        block, ours, theirs = found
        block.append(n)
        ours.add(text)
        theirs.add(source)
        if len(block) == size:
            full.append(np.array(block))
            open_.remove(found)
    return full


def first(name: str, tables: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """The percentage of rows whose number on the diagonal is the highest, among 10 columns from there on and among
    100; of k equally high ones each is the highest one k-th of the time. Tables with fewer columns do not count.

    Example:
        >>> first("recall", [np.eye(10) + np.eye(10, k=1)])
        {'recall_at_1_of_10_percent': 55.0}
    """
    found = {}
    for count in COUNTS:
        several = (np.where(np.isnan(table), -np.inf, table) for table in tables if table.shape[1] >= count)
        among = [row for table in several for row in _turned(table)[:, :count]]
        if among:
            right = [float(row[0] == row.max()) / float((row == row.max()).sum()) for row in among]
            found[f"{name}_at_1_of_{count}_percent"] = 100.0 * sum(right) / len(right)
    return found


def _turned(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row from its diagonal on, and round to the column before."""
    places = np.arange(table.shape[1])
    return np.take_along_axis(table, (places[: len(table), None] + places) % len(places), axis=1)
