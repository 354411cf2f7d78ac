"""Plain text -> units (lines, sentences or clauses) that follow one another: pairs of next-sentence prediction."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby, pairwise
from typing import Literal, TypeAlias

from seq2seq.data.formats import Pair
from seq2seq.data.lines import AnyPath, BadLineError, Ledger, check_text, read_lines

Unit: TypeAlias = Literal["line", "sentence", "clause"]
_QUOTES = "[\"'”’»)\\]」』]*"
_ENDS = {
    "sentence": re.compile(rf"[.!?]+{_QUOTES}(?=\s|$)|[。！？]+{_QUOTES}"),
    "clause": re.compile(rf"[.!?,;:]+{_QUOTES}(?=\s|$)|[。！？，、；：]+{_QUOTES}"),
}


def split_text(text: str, unit: Literal["sentence", "clause"]) -> list[str]:
    """The sentences or clauses of a text, each with its punctuation.

    A sentence ends at . ! or ? before a space, a clause also at , ; and : (so that 1,000 stays whole).

    Example:
        >>> split_text("so abram departed, as the lord had spoken; and lot went.", "clause")
        ['so abram departed,', 'as the lord had spoken;', 'and lot went.']
    """
    return [piece for _, piece in _units(text, unit)]


def _units(text: str, unit: Literal["sentence", "clause"]) -> Iterator[tuple[int, str]]:
    """Where in the text each of its units begins, and the unit."""
    ends = [match.end() for match in _ENDS[unit].finditer(text)]
    for start, end in pairwise([0, *ends, len(text)]):
        if piece := text[start:end].strip():
            yield text.index(piece, start), piece


def next_pairs(units: Iterable[str], document: str = "") -> Iterator[Pair]:
    """Each unit with the next one.

    Example:
        >>> list(next_pairs(["a", "b", "c"]))
        [Pair(source='a', target='b', document=''), Pair(source='b', target='c', document='')]
    """
    return (Pair(source, target, document) for source, target in pairwise(units))


def next_sentence_pairs(path: AnyPath, unit: Unit, max_line: int, ledger: Ledger) -> Iterator[Pair]:
    """The pairs of a text file; blank lines part its documents, and no pair reaches over one, or over a bad line."""
    lines = _lines(path, max_line, ledger)
    if unit == "line":
        for (document, _, source), (_, _, target) in pairwise(lines):
            if source and target:
                yield Pair(source, target, document)
        return
    for whole, several in groupby(lines, key=lambda line: line[2] != ""):
        if not whole:
            continue
        block = list(several)
        starts = [0, *accumulate(len(text) + 1 for _, _, text in block)]  # of each line among them all
        units: list[str] = []
        for place, text in _units(" ".join(text for _, _, text in block), unit):
            try:
                check_text(text, max_line)
            except BadLineError as error:
                ledger.bad(error, path, block[bisect_right(starts, place) - 1][1])
                text = ""
            units.append(text)
        yield from (pair for pair in next_pairs(units, block[0][0]) if pair.source and pair.target)


def _lines(path: AnyPath, max_line: int, ledger: Ledger) -> Iterator[tuple[str, int, str]]:
    """(document, number, text) of every line; the text is "" where lines are parted: it is blank, or bad."""
    document = ""
    for number, text in read_lines(path, max_line, ledger):
        if isinstance(text, BadLineError):
            ledger.bad(text, path, number)
            yield document, number, ""
            continue
        stripped = text.strip()
        if stripped and stripped != text:
            ledger.note("outer spaces left out", path, number)
        document = (document or f"{path}:{number}") if stripped else ""
        yield document, number, stripped
