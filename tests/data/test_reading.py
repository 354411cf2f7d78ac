"""Readers: every format gives its pairs; every bad input is told with file, line and cure, or skipped and counted."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import (
    Ledger,
    Pair,
    PairFiles,
    inflection_source,
    parse_inflection_source,
    read_pairs,
    source_of_line,
    stream_lines,
)
from seq2seq.data.lines import BadLineError
from seq2seq.data.sentences import _units, split_text
from seq2seq.errors import ConfigError, DataError


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def pairs_of(files: PairFiles) -> list[tuple[str, str]]:
    return [(pair.source, pair.target) for pair in read_pairs(files).pairs]


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("name", "content", "found", "pairs"),
    [
        ("a.tsv", "a b\tx\nc\ty z\n", "tsv", [("a b", "x"), ("c", "y z")]),
        ("a", "Fest\tpos=N,num=PL\tFeste\n", "sigmorphon", [("F e s t +pos=N +num=PL", "Feste")]),
        ("b", "Fest\tN;PL\tFeste", "sigmorphon", [("F e s t +N +PL", "Feste")]),
        ("a.jsonl", '{"source": "a\\tb", "target": "c", "id": 3}\n', "jsonl", [("a\tb", "c")]),
        ("a.txt", '{"source": "a", "target": "c"}\n', "jsonl", [("a", "c")]),
        ("s.txt", "IN: jump twice OUT: I_JUMP I_JUMP\n", "scan", [("jump twice", "I_JUMP I_JUMP")]),
        ("brace.tsv", '{"\tx\n', "tsv", [('{"', "x")]),
    ],
)
def test_formats_are_recognised(tmp_path, name, content, found, pairs):
    corpus = read_pairs(PairFiles((write(tmp_path / name, content),)))
    assert (corpus.format, [pair[:2] for pair in corpus.pairs]) == (found, pairs)
    assert not corpus.skipped and not corpus.notes


def test_json_of_a_pair_may_be_as_long_as_its_escapes_make_it(tmp_path):
    pair = ("\U0001f600" * 100, "\U0001f600" * 90)
    line = json.dumps({"source": pair[0], "target": pair[1]}) + "\n"
    assert len(line) > 1000
    path = write(tmp_path / "a.txt", line)
    assert [found[:2] for found in read_pairs(PairFiles((path,), max_line=100)).pairs] == [pair]
    with pytest.raises(DataError, match="over-long"):
        read_pairs(PairFiles((path,), max_line=99))


def test_the_format_can_be_told(tmp_path):
    path = write(tmp_path / "a.txt", "go\tV\twent\n")
    assert pairs_of(PairFiles((path,), format="sigmorphon")) == [("g o +V", "went")]
    with pytest.raises(DataError, match=r"a\.txt:1: extra column.*--format sigmorphon"):
        read_pairs(PairFiles((path,)))


def test_files_are_read_one_after_the_other(tmp_path):
    one, two = write(tmp_path / "1.tsv", "a\tb\n"), write(tmp_path / "2.tsv", "c\td\n")
    assert pairs_of(PairFiles((one, two))) == [("a", "b"), ("c", "d")]
    with pytest.raises(ConfigError, match="written alike"):
        read_pairs(PairFiles((one, write(tmp_path / "3", "IN: a OUT: b\n"))))


def test_parallel_files(tmp_path):
    files = PairFiles(source=write(tmp_path / "en", "a\nb\n"), target=write(tmp_path / "fr", "x\ny"))
    assert pairs_of(files) == [("a", "x"), ("b", "y")]
    assert read_pairs(files).format == "parallel"


def test_space_around_json_is_of_no_text(tmp_path):
    path = write(tmp_path / "a.jsonl", '  {"source": "a", "target": "b"} \n{"source": " a", "target": "b"}')
    assert read_pairs(PairFiles((path,))).notes == [f"outer spaces left out (1 line, first {path}:2)"]


def test_a_misspelt_choice_is_refused():
    with pytest.raises(ConfigError, match="format is 'tvs'; did you mean tsv"):
        read_pairs(PairFiles(("a",), format="tvs"))  # pyright: ignore[reportArgumentType]


def test_jsonl_documents(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"source": "a", "target": "b", "document": "Ruth"}))
    assert read_pairs(PairFiles((path,))).pairs == [Pair("a", "b", "Ruth")]


features = st.lists(st.text("abcNPL=+{}/", min_size=1), min_size=1)


@given(st.text(min_size=1), features)
def test_lemma_and_features_come_back_from_their_symbols(lemma, names):
    line = inflection_source(lemma, ",".join(names))
    assert parse_inflection_source(line) == (lemma, ",".join(names))


def test_input_of_an_inflection_model():
    assert source_of_line("Fest\tpos=N\tFeste", "sigmorphon") == source_of_line("Fest\tpos=N", "sigmorphon")
    with pytest.raises(BadLineError, match="lemma TAB features"):
        source_of_line("Fest", "sigmorphon")
    with pytest.raises(BadLineError, match="features last"):
        source_of_line("walk\twalked\tV;PST", "sigmorphon")


# ---------------------------------------------------------------- next sentence


def test_next_line_stays_within_documents(tmp_path):
    path = write(tmp_path / "t", "a\nb\nc\n\n\nd\ne\n\nf\n")
    corpus = read_pairs(PairFiles((path,), next_sentence=True))
    assert [pair[:2] for pair in corpus.pairs] == [("a", "b"), ("b", "c"), ("d", "e")]
    assert [pair.document for pair in corpus.pairs] == [f"{path}:1"] * 2 + [f"{path}:6"]


def test_no_pair_reaches_over_a_bad_line(tmp_path):
    path = write(tmp_path / "t", b"a\nb\n\xff\nc\nd\n")
    corpus = read_pairs(PairFiles((path,), next_sentence=True, skip_bad=True))
    assert [pair[:2] for pair in corpus.pairs] == [("a", "b"), ("c", "d")]
    assert corpus.skipped == {"not UTF-8": 1}
    assert len({pair.document for pair in corpus.pairs}) == 1


def test_sentences_and_clauses_reach_over_line_ends(tmp_path):
    path = write(tmp_path / "t", "So he went,\nand she 1,000 times; said:\nno. Yes!\n")
    units = {"sentence": ["So he went, and she 1,000 times; said: no.", "Yes!"]}
    units["clause"] = ["So he went,", "and she 1,000 times;", "said:", "no.", "Yes!"]
    for unit in ("sentence", "clause"):
        found = pairs_of(PairFiles((path,), next_sentence=True, split=unit))
        assert found == list(zip(units[unit], units[unit][1:], strict=False))


def test_a_sentence_that_is_too_long_is_left_out_alone_and_told_with_its_line(tmp_path):
    good = "".join(f"This is {n}.\n" for n in "abcd")
    path = write(tmp_path / "t", good + "no end, no\n" * 9 + "at last.\n" + good)
    files = PairFiles((path,), next_sentence=True, split="sentence", max_line=60, skip_bad=True)
    corpus = read_pairs(files)
    assert [pair[:2] for pair in corpus.pairs] == [
        (f"This is {a}.", f"This is {b}.") for a, b in ("ab", "bc", "cd")
    ] * 2
    assert list(corpus.skipped.values()) == [1]
    with pytest.raises(DataError, match="t:5: "):
        read_pairs(replace(files, skip_bad=False))


@pytest.mark.parametrize(
    ("unit", "pieces"), [("sentence", ["वह आया।", "هل جاء؟", "Եկավ։"]), ("clause", ["نعم،", "لا؛"])]
)
def test_ends_of_other_scripts(unit, pieces):
    assert split_text(" ".join(pieces), unit) == pieces


def test_a_text_without_a_blank_line_is_not_held_at_once():
    def lines():
        for n in range(200_000):
            held.append(n)
            yield n + 1, "no end here" if n % 2 else "and. one"

    held: list[int] = []
    units = _units(lines(), "sentence", 100)
    assert next(units) == (1, "and.") and len(held) == 1
    assert next(units) == (1, "one no end here and.") and len(held) == 3


@given(st.text("ab ,.;!?。、\"'", max_size=30), st.sampled_from(["sentence", "clause"]))
def test_splitting_loses_nothing_but_spaces(text, unit):
    assert "".join(split_text(text, unit)).replace(" ", "") == text.replace(" ", "")


# ---------------------------------------------------------------- bad input

GOOD = b"a\tx\n"
BAD_LINES = [
    (b"b\n", "no TAB", "source TAB target"),
    (b"b\ty\tz\tw\n", "extra column", "4 columns"),
    (b"\ty\n", "empty side", "source"),
    (b"b\t \n", "empty side", "target"),
    (b"\n", "empty line", "delete"),
    (b"caf\xe9\ty\n", "not UTF-8", "0xe9 at byte 4 .*iconv"),
    (b"b\0\ty\n", "NUL character", "character 2"),
    (b"b" * 100_000 + b"\ty\n", "over-long line", "20000"),
    ("é".encode() * 21_000 + b"\ty\n", "over-long line", "20000"),
    (b"b\ty\rc\tz\n", "carriage return inside the line", "Mac"),
]


@pytest.mark.parametrize(("line", "reason", "cure"), BAD_LINES, ids=[f"{b[1]} {i}" for i, b in enumerate(BAD_LINES)])
def test_a_bad_line_is_told_or_counted(tmp_path, line, reason, cure):
    path = write(tmp_path / "p.tsv", GOOD + line + b"c\tz\n")
    with pytest.raises(DataError, match=rf"p\.tsv:2: {reason}: .*{cure}.*--skip-bad") as caught:
        read_pairs(PairFiles((path,)))
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert "\n" not in str(caught.value)
    corpus = read_pairs(PairFiles((path,), skip_bad=True))
    assert [pair[:2] for pair in corpus.pairs] == [("a", "x"), ("c", "z")]
    assert corpus.skipped == {reason: 1}
    assert corpus.notes == [f"skipped: {reason} (1 line, first {path}:2)"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{nothing", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 19_000, "not JSON"),
        ('{"source": "a"}', "missing or not text"),
        ('{"source": 1, "target": "b"}', "missing or not text"),
        ('{"source": "a\\u0000", "target": "b"}', "NUL character"),
        ('{"source": "\\ud800", "target": "b"}', "not UTF-8"),
        ('{"source": "", "target": "b"}', "empty side"),
        ('{"source": "a", "target": "b", "document": "d\\u0000x"}', "NUL character"),
        ('{"source": "a", "target": "b", "document": "\\ud800"}', "not UTF-8"),
    ],
)
def test_a_bad_json_line(tmp_path, line, reason):
    path = write(tmp_path / "p.jsonl", '{"source": "a", "target": "b"}\n' + line)
    with pytest.raises(DataError, match=rf"p\.jsonl:2: {reason}"):
        read_pairs(PairFiles((path,)))
    assert read_pairs(PairFiles((path,), skip_bad=True)).skipped == {reason: 1}


def test_a_csv_is_known_by_its_look(tmp_path):
    for line, told in (
        ("abc,cba", "looks like CSV"),
        ("abc;cba", "looks like CSV"),
        ("so he went, and", "next-sentence"),
    ):
        with pytest.raises(DataError, match=told):
            read_pairs(PairFiles((write(tmp_path / "p.csv", f"{line}\n" * 2),)))


def test_json_is_known_by_its_look_and_may_name_no_document(tmp_path):
    path = write(tmp_path / "pairs", '{ "source": "a", "target": "b", "document": null}\n')
    assert read_pairs(PairFiles((path,))).pairs[0] == ("a", "b", "")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("go\tV", "not three columns"),
        ("go\tV,,PST\twent", "empty feature"),
        ("go\tV, PAST TENSE\twent", "space inside a feature"),
        ("go\t\twent", "empty side"),
    ],
)
def test_a_bad_inflection_line(tmp_path, line, reason):
    path = write(tmp_path / "p", f"go\tV,PST\twent\n{line}\n")
    with pytest.raises(DataError, match=rf"p:2: {reason}"):
        read_pairs(PairFiles((path,)))


def test_a_bad_scan_line(tmp_path):
    with pytest.raises(DataError, match=r"p:2: not IN: \.\.\. OUT: \.\.\.: write"):
        read_pairs(PairFiles((write(tmp_path / "p", "IN: a OUT: b\na\tb\n"),)))


def test_mended_lines_are_noted(tmp_path):
    path = write(tmp_path / "p.tsv", b"\xef\xbb\xbfa\tx\r\n b \ty\r\n")
    corpus = read_pairs(PairFiles((path,)))
    assert [pair[:2] for pair in corpus.pairs] == [("a", "x"), ("b", "y")]
    assert corpus.notes == [
        f"byte-order mark left out (1 line, first {path}:1)",
        f"CR LF line end read as LF (2 lines, first {path}:1)",
        f"outer spaces left out (1 line, first {path}:2)",
    ]


def test_a_stream_is_read_like_a_file():
    ledger = Ledger()
    found = list(stream_lines(io.BytesIO(b"a\r\n" + b"b" * 60 + b"\nc"), "stdin", 10, ledger))
    assert [(number, str(text).split(":")[0]) for number, text in found] == [(1, "a"), (2, "over-long line"), (3, "c")]
    assert ledger.notes == ["CR LF line end read as LF (1 line, first stdin:1)"]


def test_a_bad_side_of_parallel_files_leaves_out_the_pair(tmp_path):
    source, target = write(tmp_path / "en", b"a\n\nc\n\xff\n"), write(tmp_path / "fr", b"x\n\nz\nw\n")
    with pytest.raises(DataError, match=r"en:2: empty side"):
        read_pairs(PairFiles(source=source, target=target))
    corpus = read_pairs(PairFiles(source=source, target=target, skip_bad=True))
    assert [pair[:2] for pair in corpus.pairs] == [("a", "x"), ("c", "z")]
    assert corpus.skipped == {"empty side": 1, "not UTF-8": 1}
    with pytest.raises(DataError, match=r"de:1: NUL"):
        read_pairs(PairFiles(source=source, target=write(tmp_path / "de", b"\0\n\n\n\n")))


@pytest.mark.parametrize(("ours", "theirs"), [("a\nb\n", "x\n"), ("a\n", "x\ny\n")])
def test_parallel_files_of_unequal_length(tmp_path, ours, theirs):
    source, target = write(tmp_path / "en", ours), write(tmp_path / "fr", theirs)
    with pytest.raises(DataError, match=r":2: .*has no line 2.*cut off"):
        read_pairs(PairFiles(source=source, target=target, skip_bad=True))


def test_files_that_cannot_be_read(tmp_path):
    write(tmp_path / "pairs.tsv", "a\tb\n")
    with pytest.raises(DataError, match=r"pair\.tsv: no such file; did you mean pairs\.tsv"):
        read_pairs(PairFiles((str(tmp_path / "pair.tsv"),)))
    with pytest.raises(DataError, match="folder"):
        read_pairs(PairFiles((str(tmp_path),)))
    with pytest.raises(DataError, match="the file is empty"):
        read_pairs(PairFiles((write(tmp_path / "empty", ""),)))
    with pytest.raises(DataError, match=r"u16:1: .*iconv -f UTF-16"):
        read_pairs(PairFiles((write(tmp_path / "u16", "a\tb\n".encode("utf-16")),)))
    with pytest.raises(DataError, match="every line was left out"):
        read_pairs(PairFiles((write(tmp_path / "x.tsv", "a\nb\n"),), skip_bad=True))
    with pytest.raises(DataError, match="two lines in a document"):
        read_pairs(PairFiles((write(tmp_path / "x.txt", "a\n\nb\n"),), next_sentence=True))
    with pytest.raises(DataError, match="two lines in a document, and 1 were left out as bad"):
        read_pairs(PairFiles((write(tmp_path / "x.txt", "a\n\0\nb\n"),), next_sentence=True, skip_bad=True))


@pytest.mark.parametrize(
    "files",
    [
        PairFiles(),
        PairFiles(source="a"),
        PairFiles(("a",), source="b", target="c"),
        PairFiles(("a",), format="tsv", next_sentence=True),
        PairFiles(("a",), split="clause"),
        PairFiles(source="a", target="b", format="jsonl"),
        PairFiles(("a",), max_line=0),
    ],
)
def test_fields_that_do_not_go_together(files):
    with pytest.raises(ConfigError):
        read_pairs(files)


files_of_bytes = st.binary(max_size=60) | st.lists(st.sampled_from([b"a\tb", b'{"', b"\n", b"\r", b"IN: ", b" "])).map(
    b"".join
)


@given(files_of_bytes, st.sampled_from(["any.tsv", "any.jsonl"]), st.booleans())
def test_any_bytes_give_pairs_or_one_clear_line(tmp_path_factory, content, name, next_sentence):
    path = write(tmp_path_factory.mktemp("any") / name, content)
    for skip_bad in (False, True):
        try:
            corpus = read_pairs(PairFiles((path,), skip_bad=skip_bad, next_sentence=next_sentence))
        except DataError as error:
            assert str(error).startswith((path, "no pair")) and "\n" not in str(error)
        else:
            assert len(corpus.pairs) and all(pair.source.strip() and pair.target.strip() for pair in corpus.pairs)
            assert skip_bad or not corpus.skipped
