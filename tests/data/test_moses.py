"""Phrase tables and n-best lists come back byte for byte, but for what is added."""

from __future__ import annotations

import gzip
import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.lines import BadLineError
from seq2seq.data.moses import NBestLine, Phrase
from seq2seq.data.raw_lines import RawLines, windows
from seq2seq.errors import DataError

SPACES = st.text(" \t", max_size=3)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="|"), min_size=1, max_size=12).filter(
    lambda text: text.strip(" \t\r\n") == text
)
NUMBER = st.floats(-1e6, 1e6).map(lambda number: f"{number:.6g}")
END = st.sampled_from(["", "\n", "\r\n"])


def line(columns: list[str], spaces: list[str], end: str) -> bytes:
    padded = [f"{before}{column}{after}" for column, before, after in zip(columns, spaces, spaces[1:], strict=False)]
    return ("|||".join(padded) + end).encode()


@given(st.data())
def test_a_phrase_is_its_line_and_one_number_more(data: st.DataObject) -> None:
    source, target, rest = data.draw(TEXT), data.draw(TEXT | st.just("")), data.draw(st.lists(TEXT, max_size=4))
    scores = data.draw(st.lists(NUMBER, min_size=1, max_size=5))
    spaces = data.draw(st.lists(SPACES, min_size=9, max_size=9))
    end = data.draw(END)
    before = [source, target, " ".join(scores), *rest]
    phrase = Phrase.parse(line(before, spaces, end))
    assert (phrase.source, phrase.target) == (source, target)
    assert phrase.with_score(0.125) == line([source, target, " ".join([*scores, "0.125"]), *rest], spaces, end)


@given(st.data())
def test_an_n_best_line_is_its_line_and_one_feature_more(data: st.DataObject) -> None:
    number, text, total = data.draw(st.integers(0, 10**6)), data.draw(TEXT | st.just("")), data.draw(NUMBER)
    rest = data.draw(st.lists(TEXT, max_size=2))
    spaces = data.draw(st.lists(SPACES, min_size=7, max_size=7))
    end = data.draw(END)

    def of(features: str, total: str) -> bytes:
        return line([str(number), text, features, total, *rest], spaces, end)

    found = NBestLine.parse(of("LM0= -1 TM0= -2 -3", total))
    assert (found.id, found.text, found.features, found.total) == (number, text, ("LM0", "TM0"), float(total))
    assert found.with_feature("Ours", -4.5) == of("LM0= -1 TM0= -2 -3 Ours= -4.5", total)
    assert found.with_feature("Ours", -4.5, -7.25) == of("LM0= -1 TM0= -2 -3 Ours= -4.5", "-7.25")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for kind in (Phrase, NBestLine):
        try:
            assert kind.parse(raw).raw == raw
        except BadLineError as error:
            assert error.reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"a ||| b\n", "no phrase"),
        (b" ||| b ||| 1\n", "no source"),
        (b"a ||| b |||  ||| 0-0\n", "no score"),
        (b"a ||| b ||| 0-0 ||| 1\n", "no score"),
        (b"a ||| \xff ||| 1\n", "not UTF-8"),
        (b"a\0 ||| b ||| 1\n", "NUL character"),
    ],
)
def test_what_is_no_phrase(raw: bytes, reason: str) -> None:
    with pytest.raises(BadLineError) as error:
        Phrase.parse(raw)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"0 ||| a ||| LM= 1\n", "no hypothesis"),
        (b"x ||| a ||| LM= 1 ||| 1\n", "no id"),
        (b"-1 ||| a ||| LM= 1 ||| 1\n", "no id"),
        (b"0 ||| a ||| LM= 1 ||| one\n", "no total"),
    ],
)
def test_what_is_no_hypothesis(raw: bytes, reason: str) -> None:
    with pytest.raises(BadLineError) as error:
        NBestLine.parse(raw)
    assert error.value.reason == reason


@given(st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"") + b"\n"), max_size=20), st.booleans())
def test_lines_are_the_file_plain_or_packed(lines: list[bytes], packed: bool) -> None:
    content = b"".join(lines)
    if not packed and content[:2] == b"\x1f\x8b":
        return
    with RawLines(None, io.BytesIO(gzip.compress(content) if packed else content)) as found:
        assert list(found) == lines


def test_members_follow_each_other_and_a_cut_is_an_error() -> None:
    packed = gzip.compress(b"a\nb\n") + gzip.compress(b"c\n" * 1000)
    with RawLines("-", io.BytesIO(packed)) as found:
        assert len(list(found)) == 1002
    with RawLines("-", io.BytesIO(packed[:-9])) as found, pytest.raises(DataError, match="not a whole packed file"):
        list(found)


@given(st.lists(st.integers(0, 3), max_size=40).map(sorted), st.integers(1, 6), st.integers(1, 20))
def test_windows_part_only_where_the_column_changes(columns: list[int], least: int, most: int) -> None:
    lines = [f"{column} ||| {place}".encode() for place, column in enumerate(columns)]
    cut = list(windows(iter(lines), least, None))
    assert [line for window in cut for line in window] == lines
    for one, other in pairwise(cut):
        assert len(one) >= least and one[-1][:1] != other[0][:1]
        before = sum(map(len, cut[: cut.index(other)]))
        assert list(windows(iter(lines[before:]), least, None)) == cut[cut.index(other) :]
    assert all(len(window) <= max(least, most) for window in windows(iter(lines), least, max(least, most)))
