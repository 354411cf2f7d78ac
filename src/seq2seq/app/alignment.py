"""Which part of a source each part of a target comes from, by the attention of a model that reads both."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from seq2seq.data import Form, Tokenizer
from seq2seq.data.tokenizer import OF_BYTES
from seq2seq.metrics import spaced

_SPACE = "▁"


def links(
    attention: NDArray[np.float32], source: Tokenizer, target: Tokenizer, pair: tuple[str, str]
) -> list[tuple[int, int]]:
    """(place in the source, place in the target), from 0, of each target token and the source token it looked at most.

    A place is that of a token in the order of the text; where tokens are pieces of words (bpe, unigram), that of the
    word. The ends are no places, and to a source of nothing there are no links.

    Args:
        attention: (target, source) of the ids of both, each with its end; see `TextModel.attention`.
        source: of the source.
        target: of the target.
        pair: their texts.

    Example:
        >>> letters, sounds = Tokenizer.train("character", ["cat"]), Tokenizer.train("symbols", ["K AE T"])
        >>> links(np.eye(4, dtype=np.float32), letters, sounds, ("cat", "K AE T"))
        [(0, 0), (1, 1), (2, 2)]
    """
    here, there = places(source, pair[0]), places(target, pair[1])
    if not here or not there:
        return []
    looked = attention[: len(there), : len(here)].argmax(axis=1)
    return sorted({(here[place], there[token]) for token, place in enumerate(looked)}, key=lambda link: link[::-1])


def places(tokenizer: Tokenizer, text: str) -> list[int]:
    """The place in the text of each id of it, in the order of the ids: see `links`.

    Where a Unicode form takes letters apart or puts them together, a place is that of the letter of the text.

    Example:
        >>> places(Tokenizer.train("symbols", ["K AE T"]).turned(), "K AE T")
        [2, 1, 0]
        >>> places(Tokenizer.train("character", ["한a"], form="nfd"), "한a")
        [0, 0, 0, 1]
    """
    pieces = tokenizer.in_order(tokenizer.pieces(text))
    if tokenizer.kind in OF_BYTES:
        return tokenizer.in_order(_words(pieces))
    units = text if tokenizer.kind == "character" else spaced(text)
    return tokenizer.in_order(_units(pieces, units, tokenizer.form))


def as_pharaoh(several: Sequence[tuple[int, int]]) -> str:
    """Links as Moses and its aligners write them.

    Example:
        >>> as_pharaoh([(0, 0), (2, 1)])
        '0-0 2-1'
    """
    return " ".join(f"{source}-{target}" for source, target in several)


def _units(pieces: Sequence[str], units: Sequence[str], form: Form) -> list[int]:
    """The unit that each piece is of, of units that were normalised to become pieces: both are as long taken apart."""
    if form == "none":
        return list(range(len(pieces)))
    apart = "NFKD" if form.startswith("nfk") else "NFD"
    of = [place for place, unit in enumerate(units) for _ in unicodedata.normalize(apart, unit)]
    begins = accumulate((len(unicodedata.normalize(apart, piece)) for piece in pieces), initial=0)
    return [of[begin] for begin, _ in zip(begins, pieces, strict=False)]


def _words(pieces: Sequence[str]) -> list[int]:
    """The word that each piece is of; spaces are of the word that follows."""
    found, word, inside = list[int](), -1, False
    for piece in pieces:
        inside = inside and not piece.startswith(_SPACE)
        if piece.strip(_SPACE) and not inside:
            word, inside = word + 1, True
        found.append(word if inside else word + 1)
    return found
