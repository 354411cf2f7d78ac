"""Which kind of tokens a side of the pairs wants: the `auto` of --source-tokens and --target-tokens.

Three questions, in this order. Do spaces part pieces of a small closed set (one half of the lines has next to none
that the other half lacks)? Then these are the symbols. Does a line have few spaces? Then it is a word or a phrase,
spelt. Else it is running text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol
from unicodedata import normalize

import numpy as np

from seq2seq.data.tokenizer import Form, Kind, letters
from seq2seq.errors import DataError

_LINES_LOOKED_AT, _CHARACTERS_LOOKED_AT = 20_000, 1 << 24
_CLOSED_SET = 1000
_PHRASE_WORDS = 5.0


class Lines(Protocol):
    """Texts that may be gone through again and again, and that have a number."""

    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...


class Choice(NamedTuple):
    """A kind of tokens for some text.

    Attributes:
        kind: the kind.
        pieces: the vocabulary that bpe or unigram should have on so much text.
        why: this kind was chosen, one clause of plain English.
    """

    kind: Kind
    pieces: int
    why: str


class _Look(NamedTuple):
    """What the lines look like when cut at spaces."""

    lines: int
    words: float  # a line
    word_length: float
    types: int
    new: float  # share of the pieces in every second line that the other lines do not have


def choose_kind(texts: Lines) -> Choice:
    """The kind of tokens for one side of the pairs.

    Raises:
        DataError: there is no text.

    Example:
        >>> choose_kind(["a b b a", "b a a", "a b", "b b a"] * 5).kind
        'symbols'
        >>> choose_kind(["hello", "goodbye", "good morning"]).kind
        'character'
    """
    if not len(texts):
        raise DataError("there is no text to choose tokens for.")
    look = _look(_some(texts))
    pieces = piece_vocabulary(look.words * len(texts))
    closed = look.types <= _CLOSED_SET and look.new <= 0.005
    tiny_but_short = look.word_length <= 2.0 and look.types <= _CLOSED_SET and look.new <= 0.1
    if look.words >= 1.5 and (closed or tiny_but_short):
        return Choice("symbols", pieces, f"spaces part {look.types} kinds of symbols, a closed set")
    if look.words < _PHRASE_WORDS:
        what = "single words" if look.words < 1.05 else f"words or short phrases, {look.words:.1f} words each"
        return Choice("character", pieces, f"the lines are {what}, so they are spelt")
    return Choice(
        "bpe", pieces, f"the lines are running text, {look.words:.0f} words each with {look.types:,} different ones"
    )


def choose_form(texts: Lines, kind: Kind) -> Form:
    """The Unicode form for letters: nfd if it leaves at most half as many different ones, as with Hangul.

    Of symbols, those count that are one letter.

    Example:
        >>> choose_form(["".join(map(chr, range(0xAC00, 0xAC00 + 200)))], "character")  # 200 syllables
        'nfd'
        >>> choose_form(["déjà vu"], "character")
        'none'
    """
    if kind not in ("character", "symbols"):
        return "none"
    whole = set[str]()
    for text in _some(texts):
        whole.update(letters(filter(None, text.split(" "))) if kind == "symbols" else normalize("NFC", text))
    whole = {piece for piece in whole if len(piece) == 1}
    apart = set(normalize("NFD", "".join(whole)))
    return "nfd" if 0 < 2 * len(apart) <= len(whole) else "none"


def _some(texts: Lines) -> list[str]:
    """Lines drawn by chance, always the same: every n-th line would be fooled by text that comes in turns."""
    chosen = np.random.default_rng(1).choice(len(texts), min(len(texts), _LINES_LOOKED_AT), replace=False)
    rows = set(chosen.tolist())
    found = [text for row, text in enumerate(texts) if row in rows]
    drawn = [found[int(place)] for place in np.random.default_rng(0).permutation(len(found))]
    sizes = list(accumulate(map(len, drawn)))
    return drawn[: bisect_right(sizes, _CHARACTERS_LOOKED_AT) or 1]


def _look(texts: Sequence[str]) -> _Look:
    cut = [text.split() for text in texts]
    known = {piece for pieces in cut[::2] for piece in pieces}
    others = [piece for pieces in cut[1::2] for piece in pieces]
    types = known.union(others)
    total = sum(map(len, cut))
    letters = sum(len(piece) for pieces in cut for piece in pieces)
    new = sum(piece not in known for piece in others) / len(others) if others else 1.0
    return _Look(len(cut), total / len(cut), letters / max(1, total), len(types), new)


def piece_vocabulary(words: float) -> int:
    """A vocabulary size for bpe or unigram on so many words: 13.5 sqrt(words), from 400 up to 8,000, in hundreds.

    Each piece should be seen often enough to be learnt; 350,000 words (29,000 captions) give 8,000.

    Example:
        >>> piece_vocabulary(350_000), piece_vocabulary(10_000)
        (8000, 1400)
    """
    return int(min(8000, max(400, round(13.5 * words**0.5, -2))))
