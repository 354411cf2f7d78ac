"""Every kind of bad line: one clear line with file, line and cure and exit code 2; or skipped and counted."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from command_line import TINY, job, report
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.app.arguments import in_chunks, read_input
from seq2seq.data import Ledger, PairFiles, iterate_rows, read_pairs
from seq2seq.data.raw_lines import RawLines
from seq2seq.errors import DataError

GOOD = b"".join(b"%c%c\t%c\n" % (a, b, a) for a in b"abcd" for b in b"abcde")
BAD = {
    "not UTF-8": (b"caf\xe9\tx", "iconv"),
    "no TAB": (b"plain", "--next-sentence"),
    "empty side": (b"abc\t", "write it, or delete the pair"),
    "over-long line": (b"x" * 100_000 + b"\ty", "line breaks"),
    "NUL character": (b"a\0b\tc", "text file"),
    "extra column": (b"a\tb\tc\td", "2"),
    "empty line": (b"", "delete it"),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_line(fails, tmp_path, reason):
    line, cure = BAD[reason]
    (tmp_path / "pairs.tsv").write_bytes(GOOD + line + b"\n")
    message = fails("train", "pairs.tsv", "--out", "run", *TINY)
    assert message.startswith(f"pairs.tsv:21: {reason}") and cure in message and "--skip-bad" in message


def test_all_of_them_skipped(tmp_path):
    (tmp_path / "pairs.tsv").write_bytes(GOOD + b"".join(line + b"\n" for line, _ in BAD.values()))
    said = report(job("pairs.tsv", "--skip-bad"))
    assert f"{len(BAD)} skipped" in said
    for reason in BAD:
        assert f"skipped: {reason} (1 line, first pairs.tsv:" in said


def test_bad_files(fails, tmp_path):
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "one.tsv").write_text("a\tb\n")
    (tmp_path / "same.tsv").write_text("a\tb\n" * 20)
    (tmp_path / "utf16.tsv").write_text("a\tb\n", "utf-16")
    (tmp_path / "bad.tsv").write_text("bad\n")
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "two.txt").write_text("a\nb\n")
    for words, message in (
        (["empty.tsv"], "empty.tsv: the file is empty"),
        (["missing.tsv"], "missing.tsv: no such file"),
        ([tmp_path], "this is a folder"),
        (["one.tsv"], "nothing would be left to train on"),
        (["same.tsv"], "nothing would be left to train on"),
        (["utf16.tsv"], "utf16.tsv:1: this file is UTF-16"),
        (["bad.tsv", "--skip-bad"], "every line was left out as bad"),
        (["--source", "three.txt", "--target", "two.txt"], "two.txt has no line 3"),
    ):
        assert message in fails("train", *words, "--out", "run", *TINY)


@contextmanager
def piped(content: bytes) -> Iterator[str]:
    """What bash makes of <(command): a pipe, which can be read once."""
    reader, writer = os.pipe()
    try:
        with open(writer, "wb") as file:
            file.write(content)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def test_pipes_are_read_where_once_is_enough(tmp_path):
    for pack in (bytes, gzip.compress):
        with piped(pack(b"a\tx\nb\ty\n")) as pairs:
            assert len(read_pairs(PairFiles((pairs,), format="tsv")).pairs) == 2
        with piped(pack(b"a\nb\n")) as source, piped(b"x\ny\n") as target:
            assert len(read_pairs(PairFiles(source=source, target=target)).pairs) == 2
        with piped(pack(b"a\nb\n")) as text:
            assert len(read_pairs(PairFiles((text,), next_sentence=True)).pairs) == 1
        with piped(pack(b"a\nb\n")) as text:
            assert [line for _, line in read_input(text)] == ["a", "b"]
        with piped(pack(b"a ||| b\n")) as text, RawLines(text, io.BytesIO()) as lines:
            assert (list(lines), lines.size, lines.position) == ([b"a ||| b\n"], None, 0)
    os.mkfifo(tmp_path / "fifo")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: list(read_input(str(tmp_path / "fifo"))))
        (tmp_path / "fifo").write_text("a\n")
        assert found.result() == [(1, "a")]


def test_pipes_that_would_be_read_twice_are_told(fails):
    with piped(b"a\tx\n") as pairs:
        message = fails("train", pairs, "--out", "run", *TINY)
    assert message.startswith("/dev/fd/") and "say --format" in message
    with piped(b"a") as pairs, pytest.raises(DataError, match="not a regular file"):
        read_pairs(PairFiles((pairs,), format="parquet"))


def test_nothing_is_nothing_wherever_it_comes_from(tmp_path):
    (tmp_path / "empty").touch()
    with piped(b"") as pipe:
        assert [list(read_input(path)) for path in (str(tmp_path / "empty"), pipe, os.devnull)] == [[], [], []]
    with RawLines(tmp_path / "empty", io.BytesIO()) as lines:
        assert list(lines) == []


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_whatever_the_bytes_a_file_is_read_or_says_where_it_is_bad(tmp_path, lines):
    path = tmp_path / "any.tsv"
    path.write_bytes(b"a\tb\n" + b"\n".join(lines))
    for skip in (True, False):
        try:
            found = read_pairs(PairFiles((str(path),), format="tsv", skip_bad=skip))
            assert all(pair.source.strip() and pair.target.strip() for pair in found.pairs)
        except DataError as error:
            assert not skip and str(path) in str(error) and "\n" not in str(error)


LEFT_OUT = {
    "tsv": b"abc\tcba\n\n\xff\tb\nfed\tdef\n",
    "jsonl": b'{"source": "abc", "target": "cba"}\n{}\n[\n{"source": "fed", "target": "def"}\n',
    "sigmorphon": b"abc\tN\tcba\nabc\nx\t\ty\nabc\tN\tcba\n",
    "scan": b"IN: abc OUT: cba\nIN: a\n\0\nIN: fed OUT: def\n",
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_line_that_is_left_out_keeps_its_place(tmp_path, kind):
    (tmp_path / "pairs").write_bytes(LEFT_OUT[kind])
    rows = list(iterate_rows(PairFiles((str(tmp_path / "pairs"),), format=kind), Ledger(skip_bad=True)))
    assert [row is None for row in rows] == [False, True, True, False]


def test_parallel_lines_keep_their_place_whichever_side_is_bad(tmp_path):
    (tmp_path / "source").write_bytes(b"a\n\nb\n\xff\nc\n")
    (tmp_path / "target").write_bytes(b"x\ny\n\n\xff\nz\n")
    files = PairFiles(source=str(tmp_path / "source"), target=str(tmp_path / "target"))
    rows = list(iterate_rows(files, Ledger(skip_bad=True)))
    assert [row and row.source for row in rows] == ["a", None, None, None, "c"]


def test_what_was_read_before_an_error_comes_out_before_it():
    def numbers():
        yield from range(5)
        raise DataError("the sixth")

    found = []
    with pytest.raises(DataError, match="the sixth"):
        for chunk in in_chunks(numbers(), 3):
            found.append(chunk)
    assert found == [[0, 1, 2], [3, 4]]
