"""Plain text -> units (lines, sentences or clauses) that follow one another: pairs of next-sentence prediction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from typing import Literal, TypeAlias

from seq2seq.data.formats import Pair
from seq2seq.data.lines import AnyPath, BadLineError, Ledger, over_long, read_lines

Unit: TypeAlias = Literal["line", "sentence", "clause"]
_QUOTES = "[\"'”’»)\\]」』]*"
_ENDS = {
    "sentence": re.compile(rf"[.!?؟۔।॥։]+{_QUOTES}(?=\s|$)|[。！？]+{_QUOTES}"),
    "clause": re.compile(rf"[.!?؟۔।॥։,;:،؛]+{_QUOTES}(?=\s|$)|[。！？，、；：]+{_QUOTES}"),
}


def split_text(text: str, unit: Literal["sentence", "clause"]) -> list[str]:
    """The sentences or clauses of a text, each with its punctuation.

    A sentence ends at . ! or ? before a space, a clause also at , ; and : (so that 1,000 stays whole).

    Example:
        >>> split_text("so abram departed, as the lord had spoken; and lot went.", "clause")
        ['so abram departed,', 'as the lord had spoken;', 'and lot went.']
    """
    return [str(piece) for _, piece in _units([(1, text)], unit, len(text))]


def _units(
    lines: Iterable[tuple[int, str]], unit: Literal["sentence", "clause"], most: int
) -> Iterator[tuple[int, str | BadLineError]]:
    """The number of the line that each unit begins in, and the unit; no more than one is held at a time.

    One of more than `most` characters is told as such.
    """
    parts: list[str] = []
    begun = size = 0

    def whole() -> tuple[int, str | BadLineError]:
        return begun, " ".join(parts) if size <= most else over_long(size, most)

    for number, line in lines:
        start = 0
        for end in [*(match.end() for match in _ENDS[unit].finditer(line)), None]:
            if piece := line[start:end].strip():
                begun, size = (begun, size + 1 + len(piece)) if size else (number, len(piece))
                parts.append(piece)
                if size > most:
                    parts.clear()
            if size and end is not None:
                yield whole()
                parts.clear()
                size = 0
            start = end or 0
    if size:
        yield whole()


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
    for (document, whole), block in groupby(lines, key=lambda line: (line[0], line[2] != "")):
        if whole:
            units = _good_units(((number, text) for _, number, text in block), unit, max_line, path, ledger)
            yield from (pair for pair in next_pairs(units, document) if pair.source and pair.target)


def _good_units(
    lines: Iterable[tuple[int, str]], unit: Literal["sentence", "clause"], max_line: int, path: AnyPath, ledger: Ledger
) -> Iterator[str]:
    """The units of lines; "" for one that is over-long, of which the ledger hears."""
    for number, text in _units(lines, unit, max_line):
        if isinstance(text, BadLineError):
            ledger.bad(text, path, number)
            text = ""
        yield text


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
