"""`generate --mbr`: the candidates of the plain search, reordered by expected utility."""

from __future__ import annotations

import json
import math

import pytest

import seq2seq
from seq2seq import UTILITIES, Decoding, mbr
from seq2seq.app.hypothesis import EMPTY, Hypothesis, chosen

INPUT = b"abc\n\nfed\nbad\n"
TEXTS = ["abc", "", "fed", "bad"]


@pytest.mark.parametrize("name", UTILITIES)
def test_a_beam_is_reordered_by_utility(trained, name):
    model = seq2seq.load(trained)
    plain = model.hypotheses(TEXTS, Decoding(nbest=5))
    found = model.hypotheses(TEXTS, Decoding(nbest=5, mbr=name))
    for several, ranked in zip(plain, found, strict=True):
        if len(several) == 1 and not several[0].text:
            assert ranked == several
            continue
        texts = [one.text for one in several]
        wanted = mbr(texts, [one.log_probability for one in several], UTILITIES[name])
        assert [one.text for one in ranked] == [texts[index] for index, _ in wanted]
        assert [one.score for one in ranked] == pytest.approx([utility for _, utility in wanted], abs=1e-6)
        assert all(0 <= one.score <= 1 for one in ranked)
    assert model.generate(TEXTS, Decoding(mbr=name)) == [several[0].text for several in found]


def test_exact_takes_the_likeliest_of_the_beam(trained):
    model = seq2seq.load(trained)
    plain = model.hypotheses(TEXTS, Decoding(nbest=5))
    chosen = model.hypotheses(TEXTS, Decoding(mbr="exact"))
    for several, (one,) in zip(plain, chosen, strict=True):
        assert one.text == max(several, key=lambda other: other.log_probability).text
    narrow = Decoding(mbr="exact", beam=2, candidates=5)  # a beam of 5, then
    assert model.generate(TEXTS, narrow) == [one.text for (one,) in chosen]


def test_samples_weigh_alike(trained):
    model = seq2seq.load(trained)
    drawn = model.hypotheses(["abc"], Decoding(sample=True, nbest=32))[0]
    ended = [one for one in drawn if one.finished]
    wanted = mbr([one.text for one in ended], [0.0] * len(ended), UTILITIES["edit"])
    best = model.hypotheses(["abc"], Decoding(sample=True, mbr="edit"))[0]
    assert [(one.text, one.score) for one in best] == [(ended[wanted[0].index].text, wanted[0].utility)]
    few = model.hypotheses(["abc"], Decoding(sample=True, mbr="edit", candidates=3, nbest=3))[0]
    assert {one.text for one in few} == {one.text for one in drawn[:3]}  # each text once


def test_the_command_line_says_what_python_says(run, trained):
    model, options = seq2seq.load(trained), ("--mbr", "chrf", "--candidates", 4)
    wanted = model.hypotheses(TEXTS, Decoding(nbest=2, mbr="chrf", candidates=4))
    ran = run("generate", trained, *options, stdin=INPUT)
    assert (ran.code, ran.err) == (0, "") and ran.out.splitlines() == [several[0].text for several in wanted]
    lines = run("generate", trained, *options, "--nbest", 2, stdin=INPUT).out.splitlines()
    assert [line.split(" ||| ")[1] for line in lines] == [one.text for several in wanted for one in several]
    first = json.loads(run("generate", trained, *options, "--json", stdin=INPUT).out.splitlines()[0])["outputs"][0]
    assert first["text"] == wanted[0][0].text and math.isclose(first["score"], wanted[0][0].score, rel_tol=1e-6)


def test_evaluate_chooses_too(run, trained, tmp_path):
    model, sources = seq2seq.load(trained), ["abc", "fed", "bad", "cab", "fad"]
    chosen, plain = (model.generate(sources, decoding) for decoding in (Decoding(mbr="edit"), Decoding()))
    both = [(source, one) for source, one, other in zip(sources, chosen, plain, strict=True) if one and one != other]
    assert both  # or nothing is asked here
    (tmp_path / "own.tsv").write_text("".join(f"{source}\t{one}\n" for source, one in both))
    for words, right in ((("--mbr", "edit"), 100), ((), 0)):
        ran = run("evaluate", trained, tmp_path / "own.tsv", *words, "--json")
        assert ran.code == 0 and json.loads(ran.out)["exact_match_percent"] == right


def test_samples_that_came_to_nothing_are_not_chosen():
    def made(text: str, log_probability: float) -> Hypothesis:
        return EMPTY._replace(text=text, log_probability=log_probability)

    decoding = Decoding(sample=True, mbr="exact", candidates=4)
    found = [made("", -math.inf), made("a", -1.0), made("b", -2.0), made("b", -2.0)]
    assert [one.text for one in chosen(found, decoding)] == ["b"]
    assert [one.text for one in chosen(found[:1] * 3, decoding)] == [""]


def test_what_was_cut_off_comes_after_what_ended():
    def made(text: str, log_probability: float, finished: bool) -> Hypothesis:
        return EMPTY._replace(text=text, log_probability=log_probability, finished=finished)

    # By themselves the beginnings are far likelier, and alike.
    found = [made("caa", -9.0, True), made("cab", -9.5, True), made("aaaa", -0.1, False), made("aaab", -0.2, False)]
    best = chosen(found, Decoding(beam=4, nbest=4, mbr="chrf"))
    assert [one.text for one in best] == ["caa", "cab", "aaaa", "aaab"]
    assert [one.text for one in chosen(found[2:], Decoding(beam=4, mbr="chrf"))] == ["aaaa"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--candidates", 3], "--candidates are what --mbr, --mmi, --reverse-model or"),
        (["--sample", "--candidates", 3], "--candidates are what --mbr, --mmi, --reverse-model or"),
        (["--mbr", "chrf", "--candidates", 0], "--candidates is 0; wanted at least --nbest, which is 1."),
        (["--mbr", "chrf", "--candidates", 1], "--mbr chooses among several outputs, and here is 1"),
        (["--mbr", "chrf", "--beam", 1], "--mbr chooses among several outputs, and here is 1"),
        (["--mbr", "chrf", "--candidates", 2, "--nbest", 3], "--candidates is 2; wanted at least --nbest"),
        (["--mbr", "chrf", "--sample", "--candidates", 2, "--nbest", 3], "--candidates is 2; wanted"),
    ],
)
def test_what_cannot_be_chosen(fails, options, message):
    assert message in fails("generate", "no model is read", *options)


def test_an_unknown_utility_is_an_error(run):
    ran = run("generate", "no model is read", "--mbr", "meteor")
    assert ran.code == 2 and "chrf" in ran.err


def test_what_two_groups_of_a_beam_found_is_no_more_evidence():
    a, b = (EMPTY._replace(text=text, tokens=[text], log_probability=log) for text, log in (("a", -1.0), ("b", -0.8)))
    both = [b, a, a]
    assert chosen(both, Decoding(mbr="exact"))[0].text == "b"
    assert chosen(both, Decoding(mbr="exact", sample=True))[0].text == "a"  # where it was drawn twice
