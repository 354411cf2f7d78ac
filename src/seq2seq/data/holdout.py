"""Dev data out of the training data, free of leaks.

What is held out is chosen before anything is trained: whole documents where there are documents, else a block of
neighbouring lines of a text, else distinct sources. After that no held-out line is a source or a target in training
(pairs of a text), or no held-out source is a source in training (other pairs). The pairs are gone through a few times
and never held: memory is that of what is held out, and of the names of documents.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from hashlib import blake2b
from heapq import heappush, heappushpop
from itertools import islice
from typing import NamedTuple

import numpy as np

from seq2seq.data.corpus import Corpus
from seq2seq.data.formats import Pair
from seq2seq.data.spool import Pairs, select
from seq2seq.data.tokenizer import letters
from seq2seq.errors import DataError, did_you_mean

_SHARE, _MOST = 10, 1000  # a tenth of the sources, at most a thousand
_LARGEST = 5 * _MOST  # pairs that are held out, however many a document or a source has: each evaluation takes them


class Holdout(NamedTuple):
    """Pairs to train on, pairs to measure on, and what the pre-flight report says of the choice."""

    train: Pairs
    dev: list[Pair]
    notes: list[str]


def hold_out(corpus: Corpus, *, seed: int = 1, documents: Collection[str] = ()) -> Holdout:
    """Hold out the named documents, or about a tenth of the sources, at most 1,000, chosen by the seed.

    Where the pairs name their documents, whole ones are held out. Sources are instead if their sizes allow no choice of
    half as many pairs as are wanted (at most half of all pairs, and 5,000), or if training has their lines too.

    Raises:
        DataError: a named document is unknown, or too little is left on one side.

    Example:
        >>> corpus = Corpus([Pair("a", "x"), Pair("b", "y"), Pair("a", "z")])
        >>> train, dev, notes = hold_out(corpus, seed=1)
        >>> {pair.source for pair in train} & {pair.source for pair in dev}
        set()
    """
    pairs, survey = corpus.pairs, _Survey(corpus.pairs, seed)
    rng = np.random.default_rng(seed)
    chosen = _named(survey, documents) if documents else _some_documents(survey, corpus.next_sentence, rng)
    if chosen:
        train = select(pairs, lambda _, pair: pair.document not in chosen)
        dev = [pair for pair in pairs if pair.document in chosen]
        clean = _clean(train, dev, corpus.next_sentence)
        if documents or corpus.next_sentence or 2 * len(clean) >= survey.wanted:
            return _told(train, dev, clean, f"{len(chosen)} whole document{'s' * (len(chosen) > 1)}")
    if corpus.next_sentence:
        # Neighbouring pairs; the pairs at both ends share a line with the block and go to neither side.
        start = int(rng.integers(0, max(1, len(pairs) - survey.wanted + 1)))
        end = start + survey.wanted
        train = select(pairs, lambda number, _: not start - 1 <= number <= end)
        dev = list(islice(pairs, start, end))
        how = "a block of neighbouring lines"
    else:
        held = set(survey.sources)
        train = select(pairs, lambda _, pair: as_read(pair.source) not in held)
        dev = [pair for pair in pairs if as_read(pair.source) in held]
        how = "distinct sources"
    return _told(train, dev, _clean(train, dev, corpus.next_sentence), how)


class _Survey:
    """What a first look at the pairs finds.

    Attributes:
        wanted: about so many pairs, or at most so many sources, are to be held out.
        sources: so many distinct sources: those of the smallest hashes, which depend on the seed, but for such as would
            make more than 5,000 pairs.
        documents: the pairs of each.
        pairs: how many there are.
    """

    def __init__(self, pairs: Pairs, seed: int):
        key = str(seed).encode()
        self.documents: Counter[str] = Counter()
        self.pairs = len(pairs)
        distinct: set[bytes] = set()
        smallest: list[tuple[int, str]] = []  # a heap, the largest hash first
        among: dict[str, int] = {}  # the pairs of each source in the heap: what left it never comes back
        for written, _, document in pairs:
            source = as_read(written)
            if document:
                self.documents[document] += 1
            hashed = blake2b(source.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
            if len(distinct) < _SHARE * _MOST:
                distinct.add(hashed)
            number = -int.from_bytes(hashed, "big")
            if source in among:
                among[source] += 1
                continue
            if len(among) == _MOST and number < smallest[0][0]:
                continue
            among[source] = 1
            if len(among) <= _MOST:
                heappush(smallest, (number, source))
            else:
                del among[heappushpop(smallest, (number, source))[1]]
        self.wanted = max(1, len(distinct) // _SHARE)
        candidates = [source for _, source in sorted(smallest, reverse=True)[: self.wanted]]
        self.sources: list[str] = []
        count = 0
        for source in candidates:
            if count + among[source] <= _LARGEST:
                self.sources.append(source)
                count += among[source]
        if candidates and not self.sources:
            self.sources = [min(candidates, key=lambda source: among[source])]


def _named(survey: _Survey, documents: Collection[str]) -> set[str]:
    for name in documents:
        if name not in survey.documents:
            raise DataError(f"no document {name!r} to hold out; {did_you_mean(name, survey.documents)}")
    return set(documents)


def _some_documents(survey: _Survey, next_sentence: bool, rng: np.random.Generator) -> set[str]:
    """Documents in random order until there are enough pairs; none where their sizes allow no such choice.

    A text can then give a block of lines, and other pairs the smallest documents, or the smallest that is enough by
    itself: at most half of all pairs, and 5,000.
    """
    sizes, wanted = survey.documents, survey.wanted
    if len(sizes) < 2:
        return set()
    names = list(sizes)
    chosen: set[str] = set()
    count = 0
    for index in rng.permutation(len(names)):
        if count < wanted and count + sizes[names[index]] <= 2 * wanted:
            chosen.add(names[index])
            count += sizes[names[index]]
    if next_sentence or 2 * count >= wanted:
        return chosen if 2 * count >= wanted else set()
    smallest = sorted(names, key=lambda name: sizes[name])
    for several in ([*chosen, *(name for name in smallest if name not in chosen)], *([name] for name in smallest)):
        count = 0
        for end, name in enumerate(several, 1):
            count += sizes[name]
            if wanted <= 2 * count <= min(survey.pairs, 2 * _LARGEST):
                return set(several[:end])
    return set()


def _clean(train: Pairs, dev: list[Pair], both_sides: bool) -> list[Pair]:
    """What of dev does not also occur in training: a verse that stands in two books tells nothing when held out."""
    seen = shared_lines(train, dev, both_sides)
    return [pair for pair in dev if seen.isdisjoint(lines_of([pair], both_sides))]


def _told(train: Pairs, dev: list[Pair], clean: list[Pair], how: str) -> Holdout:
    """The choice, with what the report says of it.

    Raises:
        DataError: too little is left on one side.
    """
    if not len(train) or not clean:
        few = "nothing would be left to train on" if not len(train) else "every held-out line also occurs in training"
        raise DataError(f"cannot hold out dev pairs: {few}; give more pairs, or a file of dev pairs with --dev.")
    notes = [f"held out {how}: {len(clean)} dev pairs"]
    if len(clean) < len(dev):
        notes.append(f"left out {len(dev) - len(clean)} dev pairs with a line that also occurs in training")
    return Holdout(train, clean, notes)


def shared_lines(train: Pairs, dev: Iterable[Pair], both_sides: bool) -> set[str]:
    """The lines of the dev pairs that are lines of the training pairs too."""
    held = set(lines_of(dev, both_sides))
    return {line for line in lines_of(train, both_sides) if line in held}


def as_read(line: str) -> str:
    """What lines that a tokenizer may read alike have in common: one space for several, composed letters, one of those
    forms that NFKC takes for the same.

    Example:
        >>> as_read("a  b") == as_read("a b"), as_read("e\u0301") == as_read("e \u0301") == as_read("\u00e9")
        (True, True)
        >>> as_read("\uff41") == as_read("a")
        True
    """
    if line.isascii():
        return " ".join(line.split())
    return " ".join(letters(unicodedata.normalize("NFKC", line).split()))


def lines_of(pairs: Iterable[Pair], both_sides: bool) -> Iterable[str]:
    """The sources of pairs as they are read, and with `both_sides` their targets."""
    return (as_read(line) for pair in pairs for line in (pair[:2] if both_sides else pair[:1]))
