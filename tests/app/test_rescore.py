"""`seq2seq rescore`: the feature is `TextModel.score`, the order that of the new totals, and ids are checked."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

import seq2seq
from seq2seq.app import rescoring

NBEST = (
    "0 ||| cba  ||| LM0= -1 TM0= -2 -3 ||| -6 ||| 0-0\n"
    "0 ||| fed ||| LM0= -2 TM0= -2 -3 ||| -6.5\n"
    "0 ||| abcabcabc ||| LM0= -2 ||| -7\r\n"
    "1 |||  |||  ||| -1e1\n"
    "2 ||| a ||| LM0= 0 ||| 2\n"
    "2 ||| ab ||| LM0= 0 ||| 1\n"
)
SOURCE = "abc\n def \r\nfed\n"


@pytest.fixture(autouse=True)
def files(own_folder: Path) -> None:
    Path("nbest").write_bytes(NBEST.encode())
    Path("source").write_bytes(SOURCE.encode())


def parsed(text: str) -> list[tuple[str, str, float, float]]:
    """(id, hypothesis, our feature, total) of each line."""
    columns = [[column.strip() for column in line.split("|||")] for line in text.splitlines()]
    return [(c[0], c[1], float(c[2].split("Seq2Seq0= ")[1]), float(c[3])) for c in columns]


def scores(trained: Path) -> list[float]:
    sources = [line.strip() for line in SOURCE.splitlines()]
    lines = [line.split("|||") for line in NBEST.splitlines()]
    return seq2seq.load(trained).score([(sources[int(line[0])], line[1].strip()) for line in lines])


def test_weight_0_only_adds_the_feature(run, trained):
    ran = run("rescore", trained, "nbest", "--source", "source", "--weight", 0)
    assert ran.code == 0, ran.err
    assert [one[2] for one in parsed(ran.out)] == pytest.approx(scores(trained), abs=1e-4)
    shown = [line.split("Seq2Seq0= ")[1].split(" ")[0] for line in ran.out.splitlines()]
    back = "".join(
        line.replace(f" Seq2Seq0= {number}", "") for line, number in zip(ran.out.splitlines(True), shown, strict=True)
    )
    assert back == NBEST
    assert "6 hypotheses rescored" in ran.err


@pytest.mark.parametrize(("weight", "penalty"), [(1.0, 0.0), (0.5, 0.0), (3.0, 1.0), (-2.0, 0.0)])
def test_lists_are_in_the_order_of_their_new_totals(run, trained, weight, penalty):
    chosen = [] if (weight, penalty) == (1.0, 0.0) else ["--weight", weight, "--length-penalty", penalty]
    found = parsed(run("rescore", trained, "nbest", "--source", "source", *chosen).out)
    lines = [[column.strip() for column in line.split("|||")] for line in NBEST.splitlines()]
    totals = [
        float(line[3]) + weight * score / (len(line[1]) + 1) ** penalty
        for line, score in zip(lines, scores(trained), strict=True)
    ]
    wanted = sorted(
        ((line[0], line[1], total) for line, total in zip(lines, totals, strict=True)), key=lambda x: (x[0], -x[2])
    )
    assert [(one[0], one[1]) for one in found] == [(one[0], one[1]) for one in wanted]
    assert [one[3] for one in found] == pytest.approx([one[2] for one in wanted], abs=1e-4)


def test_gzip_stdin_and_out_are_the_same_lists(run, trained):
    plain = run("rescore", trained, "nbest", "--source", "source").out.encode()
    packed = gzip.compress(NBEST.encode())
    Path("source").write_bytes(gzip.compress(SOURCE.encode()))
    ran = run("rescore", trained, "--source", "source", "--out", "out.gz", "--feature", "Seq2Seq0", stdin=packed)
    assert ran.code == 0 and ran.out == ""
    assert gzip.decompress(Path("out.gz").read_bytes()).replace(b"\r\n", b"\n") == plain.replace(b"\r\n", b"\n")


def test_windows_change_nothing(run, trained, monkeypatch):
    whole = run("rescore", trained, "nbest", "--source", "source").out
    monkeypatch.setattr(rescoring, "_WINDOW", 1)
    several = run("rescore", trained, "nbest", "--source", "source").out
    for one, other in zip(parsed(several), parsed(whole), strict=True):
        assert one[:2] == other[:2] and one[2:] == pytest.approx(other[2:], abs=1e-4)


def test_a_last_line_without_an_end_gets_one(run, trained):
    for order in (("a", "b"), ("b", "a")):
        lines = [f"0 ||| {text} ||| ||| {-(text == 'a')}" for text in order]
        Path("nbest").write_text("\n".join(lines))
        ran = run("rescore", trained, "nbest", "--source", "source", "--allow-gaps")
        assert len(ran.out.splitlines()) == 2 and ran.out.endswith("\n")


@pytest.mark.parametrize(
    ("nbest", "said"),
    [
        ("1 ||| a ||| L= 1 ||| 1\n", "nbest:1: list 1 comes where list 0 was wanted"),
        ("0 ||| a ||| L= 1 ||| 1\n2 ||| a ||| L= 1 ||| 1\n", "nbest:2: list 2 comes where list 1 was wanted"),
        ("0 ||| a ||| ||| 1\n1 ||| a ||| ||| 1\n0 ||| a ||| ||| 1\n", "nbest:3: list 0 comes after list 1"),
        ("".join(f"{n} ||| a ||| ||| 1\n" for n in range(4)), "nbest:4: list 3 has no source: source has 3 lines"),
        ("0 ||| a ||| ||| 1\n", "nbest: the lists end with 0, and source has more lines"),
        ("0 ||| a ||| 1\n", "nbest:1: no hypothesis: 3 columns"),
        ("", "nbest: there is no list in it"),
        ("0 ||| a ||| Seq2Seq0= 1 ||| 1\n", "nbest:1: there is a feature Seq2Seq0 already"),
    ],
)
def test_lists_that_do_not_fit_their_sources(fails, trained, nbest, said):
    Path("nbest").write_text(nbest)
    assert fails("rescore", trained, "nbest", "--source", "source", "--out", "out").startswith(said)
    assert not Path("out").exists()


def test_gaps_where_they_are_allowed(run, trained):
    Path("nbest").write_text("1 ||| cba ||| L= 1 ||| -1\n")
    ran = run("rescore", trained, "nbest", "--source", "source", "--allow-gaps")
    assert parsed(ran.out)[0][2] == pytest.approx(seq2seq.load(trained).score([("def", "cba")])[0], abs=1e-4)


def test_a_byte_order_mark_is_no_part_of_a_source(run, trained):
    Path("nbest").write_text("0 ||| cba ||| LM= 1 ||| 1\n")
    for name, mark in (("plain", b""), ("marked", b"\xef\xbb\xbf")):
        Path(name).write_bytes(mark + b"abc\n")
    plain, marked = (run("rescore", trained, "nbest", "--source", name) for name in ("plain", "marked"))
    assert plain.code == marked.code == 0 and plain.out == marked.out


def test_a_line_that_is_no_source_of_the_model_is_named(run, fails, trained):
    model = seq2seq.load(trained)
    replace(model, settings=replace(model.settings, format="sigmorphon")).save("inflects.npz")
    Path("nbest").write_text("".join(f"{n} ||| a ||| ||| 1\n" for n in range(3)))
    Path("source").write_text("abc\tf=1\ndef\nfed\tf=1\n")
    assert fails("rescore", "inflects.npz", "nbest", "--source", "source").startswith("source:2: no features")
    Path("table").write_text("abc\tf=1 ||| cba ||| 1\nabc ||| cba ||| 1\n")
    assert fails("score", "inflects.npz", "--phrase-table", "table").startswith("table:2: no features")
    ran = run("score", "inflects.npz", "--phrase-table", "table", "--skip-bad")
    assert ran.code == 0 and ran.out.splitlines()[1] == "abc ||| cba ||| 1"
    assert fails("plot", "inflects.npz", "--attention", "abc", "--target", "cba").startswith("input:1: no features")


def test_what_cannot_be_rescored(fails, trained):
    assert "--source FILE" in fails("rescore", trained, "nbest")
    assert "--feature is 'a b'" in fails("rescore", trained, "nbest", "--source", "source", "--feature", "a b")
    assert "no such file" in fails("rescore", trained, "nbest", "--source", "sources")
    assert "--weight is nan" in fails("rescore", trained, "nbest", "--source", "source", "--weight", "nan")
    assert "wanted 0 to 10" in fails("rescore", trained, "nbest", "--source", "source", "--length-penalty", 2000)
    Path("folder").mkdir()
    assert "is a folder" in fails("rescore", trained, "nbest", "--source", "source", "--out", "folder")
    Path("source").write_bytes(b"abc\nd\0f\nfed\n")
    assert fails("rescore", trained, "nbest", "--source", "source").startswith("source:2: NUL")
