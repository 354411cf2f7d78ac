"""Dev data out of the training data, free of leaks.

What is held out is chosen before anything is trained: whole documents where there are documents, else a block of
neighbouring lines of a text, else distinct sources. After that no held-out line is a source or a target in training
(pairs of a text), or no held-out source is a source in training (other pairs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from seq2seq.data.corpus import Corpus
from seq2seq.data.formats import Pair
from seq2seq.errors import DataError, did_you_mean

_SHARE, _MOST = 10, 1000  # a tenth of the sources, at most a thousand


class Holdout(NamedTuple):
    """Pairs to train on, pairs to measure on, and what the pre-flight report says of the choice."""

    train: list[Pair]
    dev: list[Pair]
    notes: list[str]


def hold_out(corpus: Corpus, *, seed: int = 1, documents: Collection[str] = ()) -> Holdout:
    """Hold out the named documents, or about a tenth of the sources, at most 1,000, chosen by the seed.

    Raises:
        DataError: a named document is unknown, or too little is left on one side.

    Example:
        >>> corpus = Corpus([Pair("a", "x"), Pair("b", "y"), Pair("a", "z")])
        >>> train, dev, notes = hold_out(corpus, seed=1)
        >>> {pair.source for pair in train} & {pair.source for pair in dev}
        set()
    """
    wanted = max(1, min(_MOST, len({pair.source for pair in corpus.pairs}) // _SHARE))
    rng = np.random.default_rng(seed)
    chosen = _named(corpus, documents) if documents else _some_documents(corpus, wanted, rng)
    if chosen:
        train = [pair for pair in corpus.pairs if pair.document not in chosen]
        dev = [pair for pair in corpus.pairs if pair.document in chosen]
        how = f"{len(chosen)} whole document{'s' * (len(chosen) > 1)}"
    elif corpus.next_sentence:
        train, dev = _block(corpus.pairs, wanted, rng)
        how = "a block of neighbouring lines"
    else:
        train, dev = _by_source(corpus.pairs, wanted, rng)
        how = "distinct sources"
    return _without_leaks(train, dev, corpus.next_sentence, how)


def _named(corpus: Corpus, documents: Collection[str]) -> set[str]:
    known = {pair.document for pair in corpus.pairs}
    for name in documents:
        if name not in known:
            raise DataError(f"no document {name!r} to hold out; {did_you_mean(name, known - {''})}")
    return set(documents)


def _some_documents(corpus: Corpus, wanted: int, rng: np.random.Generator) -> set[str]:
    """Documents in random order until there are enough pairs; none where every one would be far too much."""
    sizes = Counter(pair.document for pair in corpus.pairs if pair.document)
    if len(sizes) < 2:
        return set()
    names = list(sizes)
    chosen: set[str] = set()
    count = 0
    for index in rng.permutation(len(names)):
        if count < wanted and count + sizes[names[index]] <= 2 * wanted:
            chosen.add(names[index])
            count += sizes[names[index]]
    if chosen or corpus.next_sentence:  # a text can give a block of lines instead
        return chosen
    return {min(names, key=lambda name: sizes[name])}


def _block(pairs: list[Pair], wanted: int, rng: np.random.Generator) -> tuple[list[Pair], list[Pair]]:
    """Neighbouring pairs; the pairs at both ends share a line with the block and go to neither side."""
    start = int(rng.integers(0, max(1, len(pairs) - wanted + 1)))
    end = start + wanted
    return pairs[: max(0, start - 1)] + pairs[end + 1 :], pairs[start:end]


def _by_source(pairs: list[Pair], wanted: int, rng: np.random.Generator) -> tuple[list[Pair], list[Pair]]:
    sources = list(dict.fromkeys(pair.source for pair in pairs))
    held = {sources[index] for index in rng.permutation(len(sources))[:wanted]}
    return [pair for pair in pairs if pair.source not in held], [pair for pair in pairs if pair.source in held]


def _without_leaks(train: list[Pair], dev: list[Pair], both_sides: bool, how: str) -> Holdout:
    """Leave out of dev what also occurs in training: a verse that stands in two books tells nothing when held out."""
    seen = set(lines_of(train, both_sides))
    clean = [pair for pair in dev if not seen.intersection(lines_of([pair], both_sides))]
    if not train or not clean:
        few = "nothing would be left to train on" if not train else "every held-out line also occurs in training"
        raise DataError(f"cannot hold out dev pairs: {few}; give more pairs, or a file of dev pairs with --dev.")
    notes = [f"held out {how}: {len(clean)} dev pairs"]
    if len(clean) < len(dev):
        notes.append(f"left out {len(dev) - len(clean)} dev pairs with a line that also occurs in training")
    return Holdout(train, clean, notes)


def lines_of(pairs: Iterable[Pair], both_sides: bool) -> Iterable[str]:
    """The sources of pairs, and with `both_sides` their targets."""
    return (line for pair in pairs for line in (pair[:2] if both_sides else pair[:1]))
