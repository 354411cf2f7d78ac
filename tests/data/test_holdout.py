"""Holding out: nothing held out is ever seen in training."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import Corpus, Pair, PairFiles, hold_out, read_pairs
from seq2seq.data.sentences import next_pairs
from seq2seq.data.spool import Selected, Spooled
from seq2seq.errors import DataError

words = st.text("abc", min_size=1, max_size=3)
seeds = st.integers(0, 5)


def lines(pairs):
    return {line for pair in pairs for line in pair[:2]}


def sources(pairs):
    return {pair.source for pair in pairs}


def held(corpus, **options):
    """The holdout, or None where there is too little to hold out (which must be said)."""
    try:
        return hold_out(corpus, **options)
    except DataError as error:
        assert "--dev" in str(error)
        return None


@given(st.lists(st.lists(words, min_size=2, max_size=12), min_size=1, max_size=8), seeds)
def test_no_held_out_line_of_a_text_is_a_source_or_target_in_training(documents, seed):
    pairs = [pair for i, document in enumerate(documents) for pair in next_pairs(document, f"d{i}")]
    found = held(Corpus(pairs, format="next sentence"), seed=seed)
    if found is not None:
        assert found.train and found.dev
        assert not lines(found.train) & lines(found.dev)
        assert set(found.train) | set(found.dev) <= set(pairs)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=60), seeds)
def test_all_pairs_of_a_source_are_on_one_side_and_none_is_lost(rows, seed):
    corpus = Corpus([Pair(*row) for row in rows])
    found = held(corpus, seed=seed)
    if found is None:
        assert len(sources(corpus.pairs)) == 1
    else:
        assert not sources(found.train) & sources(found.dev)
        assert sorted(found.train + found.dev) == sorted(corpus.pairs)
        assert len(sources(found.dev)) == max(1, len(sources(corpus.pairs)) // 10)


def test_a_text_without_documents_gives_a_block_and_loses_only_its_edges(tmp_path):
    path = tmp_path / "text"
    path.write_text("\n".join(f"line {i}" for i in range(101)))
    corpus = read_pairs(PairFiles((str(path),), next_sentence=True))
    train, dev, notes = hold_out(corpus, seed=3)
    assert len(dev) == 10 and 88 <= len(train) <= 89
    numbers = [int(pair.source.split()[1]) for pair in dev]
    assert numbers == list(range(numbers[0], numbers[0] + 10))
    assert notes == ["held out a block of neighbouring lines: 10 dev pairs"]


def test_whole_documents_are_held_out():
    pairs = [pair for d in range(20) for pair in next_pairs([f"{d} {i}" for i in range(11)], f"d{d}")]
    train, dev, notes = hold_out(Corpus(pairs, format="next sentence"))
    held_documents = {pair.document for pair in dev}
    assert len(held_documents) == 2 and "2 whole documents" in notes[0]
    assert not held_documents & {pair.document for pair in train}
    assert len(train) + len(dev) == len(pairs)


@given(seeds)
def test_a_document_far_too_large_is_not_held_out(seed):
    sizes = [1000] + [11] * 30
    pairs = [pair for d, n in enumerate(sizes) for pair in next_pairs([f"{d} {i}" for i in range(n)], f"d{d}")]
    dev = hold_out(Corpus(pairs, format="next sentence"), seed=seed).dev
    assert "d0" not in {pair.document for pair in dev}
    assert 120 <= len(dev) <= 260


def test_documents_of_other_pairs_are_held_out_whole_however_large():
    pairs = [Pair(f"s{d}{i}", "t", f"d{d}") for d in range(3) for i in range(5 + d)]
    assert {pair.document for pair in hold_out(Corpus(pairs)).dev} == {"d0"}


def test_documents_that_are_too_much_to_measure_on_are_not():
    pairs = [Pair(f"{n}", "x", f"d{n % 3}") for n in range(18_000)]
    _, dev, notes = hold_out(Corpus(pairs))
    assert len(dev) == 1000 and "distinct sources" in notes[0]


def test_documents_that_share_their_sources_are_parted_by_source():
    pairs = [Pair(f"prompt {n}", f"answer {d}", f"speaker {d}") for d in range(20) for n in range(50)]
    train, dev, notes = hold_out(Corpus([*pairs, Pair("once", "x", "speaker 0")]))
    assert "distinct sources" in notes[0] and len({pair.source for pair in dev}) == 5
    assert not {pair.source for pair in dev} & {pair.source for pair in train}


@pytest.mark.parametrize("seed", range(3))
def test_a_tiny_document_is_not_all_that_is_held_out(seed):
    title, book = ["title", "author"], [f"line {n}" for n in range(2001)]
    pairs = [pair for name, several in (("a", title), ("b", book)) for pair in next_pairs(several, name)]
    _, dev, notes = hold_out(Corpus(pairs, format="next sentence"), seed=seed)
    assert len(dev) > 190 and "block" in notes[0]
    sizes = {"tiny": 1, "small": 60, "large": 470, "largest": 469}
    pairs = [Pair(f"{name}{n}", "x", name) for name, size in sizes.items() for n in range(size)]
    _, dev, _ = hold_out(Corpus(pairs), seed=seed)
    assert {pair.document for pair in dev} == {"tiny", "small"} and len(dev) == 61
    three = [Pair(f"{name}{n}", "x", name) for name, size in {"t": 5, "a": 300, "b": 301}.items() for n in range(size)]
    assert {pair.document for pair in hold_out(Corpus(three), seed=seed).dev} == {"a"}  # with t it would be too much
    pairs = [pair for pair in pairs if pair.document in ("tiny", "large")]  # no choice of documents will do
    _, dev, notes = hold_out(Corpus(pairs), seed=seed)
    assert len(dev) == 47 and "distinct sources" in notes[0]


def test_named_documents_and_a_line_that_occurs_in_both():
    pairs = [*next_pairs(["a", "b", "c", "amen"], "Mark"), *next_pairs(["d", "e", "amen"], "Luke")]
    train, dev, notes = hold_out(Corpus(pairs, format="next sentence"), documents=["Luke"])
    assert (len(train), dev) == (3, [Pair("d", "e", "Luke")])
    assert "left out 1 dev pairs" in notes[1]
    with pytest.raises(DataError, match="did you mean Luke"):
        hold_out(Corpus(pairs), documents=["Lukas"])


@pytest.mark.parametrize("seed", range(5))
def test_lines_that_are_read_alike_are_one_source(seed):
    twins = [(f"{n} b", f"{n}  b") for n in range(20)] + [(f"\u00e9{n}", f"e\u0301{n}") for n in range(20)]
    twins += [(f"\uff41{n}", f"a{n}") for n in range(20)]  # for nfkc
    pairs = [Pair(text, "x") for both in twins for text in both]
    train, dev, _ = hold_out(Corpus(pairs), seed=seed)
    known, held = ({unicodedata.normalize("NFKC", "".join(p.source.split())) for p in part} for part in (train, dev))
    assert len(train) + len(dev) == len(pairs) and not known & held


def test_the_seed_decides():
    corpus = Corpus([Pair(str(i), "t") for i in range(100)])
    assert hold_out(corpus, seed=1) == hold_out(corpus, seed=1)
    assert hold_out(corpus, seed=1).dev != hold_out(corpus, seed=2).dev


def test_sources_with_very_many_targets_are_not_all_held_out():
    rows = [(f"s{n}", f"t{k}") for n in range(200) for k in range(400)]
    train, dev, _ = hold_out(Corpus([Pair(*row) for row in rows]), seed=1)
    held = Counter(pair.source for pair in dev)
    assert len(dev) <= 5000 and len(held) == 12 and set(held.values()) == {400}
    assert len(train) + len(dev) == len(rows)
    _, dev, _ = hold_out(
        Corpus([Pair(f"s{n}", f"t{k}") for n in range(30) for k in range(9000 if n % 2 else 2)]), seed=2
    )
    assert dev and len(dev) < 100  # of the sources that are not too large
    _, dev, _ = hold_out(Corpus([Pair(f"s{n}", f"t{k}") for n in range(10) for k in range(6000 + n)]), seed=1)
    assert len({pair.source for pair in dev}) == 1  # or of all that there are


def test_what_is_wanted_is_asked_once_of_each_pair(tmp_path):
    pairs = [Pair(str(n), "x") for n in range(9)]
    asked = []
    found = Selected(Spooled.write(pairs, tmp_path / "pairs"), lambda number, pair: asked.append(number) or number % 2)
    next(iter(found))  # a look that does not go to the end
    for _ in range(3):
        assert list(found) == pairs[1::2] and len(found) == 4
    assert asked == [0, 1, *range(9)]


def test_at_most_a_thousand():
    assert len(hold_out(Corpus([Pair(str(i), "t") for i in range(12_000)])).dev) == 1000
