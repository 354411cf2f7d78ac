"""The lines of Moses's phrase tables and n-best lists, kept as bytes: what is not ours to change comes back as it was.

A phrase table has `source ||| target ||| scores ||| alignment ||| counts ||| ...`, of which three columns are needed;
an n-best list has `id ||| hypothesis ||| features ||| total` and perhaps more (the Moses manual, Koehn et al. 2007).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from seq2seq.data.lines import LONGEST_LINE, BadLineError, clean_line

BAR = b"|||"
_DIGITS = 18  # of a line number
_SPACES = b" \t\r\n"


class Phrase(NamedTuple):
    """A line of a phrase table.

    Attributes:
        source: the source phrase, without the spaces around it.
        target: the target phrase, likewise; may be empty.
        raw: the whole line.
        end: where in `raw` the scores end: another one belongs there.
    """

    source: str
    target: str
    raw: bytes
    end: int

    @classmethod
    def parse(cls, raw: bytes) -> Phrase:
        """Read a line.

        Raises:
            BadLineError: it is not text, has fewer than three columns or no source, or its scores are not numbers.

        Example:
            >>> Phrase.parse(b"das haus ||| the house ||| 0.5 0.25 ||| 0-0 1-1\\n")[:2]
            ('das haus', 'the house')
        """
        clean_line(raw, LONGEST_LINE)
        columns = raw.split(BAR, 3)
        if len(columns) < 3:
            found = f"{len(columns)} column{'s' * (len(columns) > 1)} parted by |||"
            raise BadLineError("no phrase", f"{found}, wanted source ||| target ||| scores ||| ...")
        source, target, scores = (column.strip(_SPACES) for column in columns[:3])
        if not source:
            raise BadLineError("no source", "the first column is empty")
        _check_numbers(scores.split(), "score", "is this a phrase table?")
        begin = len(columns[0]) + len(columns[1]) + 2 * len(BAR)
        return cls(source.decode(), target.decode(), raw, begin + len(columns[2].rstrip(_SPACES)))

    def with_score(self, number: float) -> bytes:
        """The line with one more number at the end of its scores; every other byte as it was.

        Example:
            >>> Phrase.parse(b"das haus ||| the house ||| 0.5 0.25 ||| 0-0 1-1\\n").with_score(0.125)
            b'das haus ||| the house ||| 0.5 0.25 0.125 ||| 0-0 1-1\\n'
        """
        return self.raw[: self.end] + f" {number:.6g}".encode() + self.raw[self.end :]


class NBestLine(NamedTuple):
    """A line of an n-best list.

    Attributes:
        id: the number of its source: line `id` of the source file, counted from 0.
        text: the hypothesis, without the spaces around it; may be empty.
        features: the names before `=` among the features.
        total: the decoder's score.
        raw: the whole line.
        ends: where in `raw` the features end, and where the total begins and ends.
    """

    id: int
    text: str
    features: tuple[str, ...]
    total: float
    raw: bytes
    ends: tuple[int, int, int]

    @classmethod
    def parse(cls, raw: bytes) -> NBestLine:
        """Read a line.

        Raises:
            BadLineError: it is not text, has fewer than four columns, or its id or total is no number.

        Example:
            >>> NBestLine.parse(b"0 ||| the house  ||| LM0= -3.5 TM0= -1 -2 ||| -6.5\\n")[:4]
            (0, 'the house', ('LM0', 'TM0'), -6.5)
        """
        clean_line(raw, LONGEST_LINE)
        columns = raw.split(BAR, 4)
        if len(columns) < 4:
            found = f"{len(columns)} column{'s' * (len(columns) > 1)} parted by |||"
            raise BadLineError("no hypothesis", f"{found}, wanted id ||| hypothesis ||| features ||| total")
        number, text, features, total = (column.strip(_SPACES) for column in columns[:4])
        if not number.isdigit() or len(number) > _DIGITS:
            raise BadLineError("no id", f"the first column is {number.decode()!r}, wanted the number of a source line")
        _check_numbers([total], "total", "the fourth column is the decoder's score")
        names = tuple(word[:-1].decode() for word in features.split() if word.endswith(b"="))
        third = len(columns[0]) + len(columns[1]) + 2 * len(BAR)
        fourth = third + len(columns[2]) + len(BAR)
        begin = fourth + len(columns[3]) - len(columns[3].lstrip(_SPACES))
        ends = third + len(columns[2].rstrip(_SPACES)), begin, begin + len(total)
        return cls(int(number), text.decode(), names, float(total), raw, ends)

    def with_feature(self, name: str, value: float, total: float | None = None) -> bytes:
        """The line with one more feature, and with another total where one is given; every other byte as it was.

        Example:
            >>> line = NBestLine.parse(b"0 ||| the house  ||| LM0= -3.5 ||| -6.5\\n")
            >>> line.with_feature("Seq2Seq0", -2.0, -8.5)
            b'0 ||| the house  ||| LM0= -3.5 Seq2Seq0= -2 ||| -8.5\\n'
        """
        features, begin, end = self.ends
        middle = self.raw[features:begin]
        shown = self.raw[begin:end] if total is None else f"{total:.9g}".encode()
        return self.raw[:features] + f" {name}= {value:.9g}".encode() + middle + shown + self.raw[end:]


def _check_numbers(words: list[bytes], what: str, cure: str) -> None:
    if not words:
        raise BadLineError(f"no {what}", cure)
    for word in words:
        try:
            good = not math.isnan(float(word))
        except ValueError:
            good = False
        if not good:
            raise BadLineError(f"no {what}", f"{word.decode()!r} is not a number; {cure}")
