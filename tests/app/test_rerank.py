"""Re-ranking by mutual information is its definition, whatever the candidates, and refuses what it cannot do."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from command_line import LAST, TINY, exit_code

import seq2seq
from seq2seq import Decoding, Reranker
from seq2seq.app.hypothesis import EMPTY, Hypothesis
from seq2seq.app.rerank import _rank
from seq2seq.app.text_model import TextModel
from seq2seq.errors import SearchError

TEXTS = ["abc", "", "fedcba", "aa"]
BEAM, DRAWN = Decoding(beam=6, nbest=6, length_penalty=0.0), Decoding(sample=True, nbest=9)
NORMALISED = Decoding(beam=6, nbest=6, length_penalty=0.7)


@pytest.fixture(scope="module")
def backwards(trained):
    """A model from targets to sources, trained with sources dropped."""
    home = trained.parent
    lines = [line.split("\t") for line in (home / "pairs.tsv").read_text().splitlines()]
    (home / "back.tsv").write_text("".join(f"{target}\t{source}\n" for source, target in lines))
    words = ["train", home / "back.tsv", "--out", home / "back", *TINY, "--updates", LAST, "--source-dropout", 0.5]
    assert exit_code(words) == 0
    return home / "back"


@pytest.fixture(scope="module")
def turned(trained):
    """Two models that write pieces from right to left: other tokens than those of `trained`."""
    home = trained.parent
    runs = [home / f"turned-{seed}" for seed in (1, 2)]
    for seed, run in enumerate(runs, 1):
        words = ["train", home / "pairs.tsv", "--dev", home / "dev.tsv", "--right-to-left", "--target-tokens", "bpe"]
        assert exit_code([*words, "--out", run, *TINY, "--updates", LAST, "--seed", seed, "--vocabulary", 300]) == 0
    return runs


def test_the_coverage_penalty_counts_among_candidates_too(trained):
    model = seq2seq.load(trained)
    covered = Decoding(beam=4, nbest=4, max_length=4, coverage_penalty=1.0, precision="float32")
    text = "fedcba"  # of which some letter gets less than 1 of the 4 in all, whatever the output
    alone = {h.text: h for h in model.hypotheses([text], covered)[0]}
    found = Reranker(second_model=model, nu=2.0, candidates=4).hypotheses(model, [text], covered)[0]
    for h in found:
        agreed = 2.0 * h.second_log_probability / (len(h.text) + 1)
        assert h.score == pytest.approx(alone[h.text].score + agreed, abs=1e-4)
    assert any(
        alone[h.text].score < h.log_probability / len(h.tokens) - 0.01 for h in found
    )  # or there is nothing to see


def by_definition(model, texts, decoding, weight, other=None, reverse=None, mu=0.0):
    """(text, score) of each hypothesis, best first, one score after another."""
    answers = []
    found = model.hypotheses(texts, decoding)
    flat = [(text, h) for text, several in zip(texts, found, strict=True) for h in several]
    alone = iter((other or model).score([("", h.text) for _, h in flat]))
    back = iter(reverse.score([(h.text, text or "a") for text, h in flat]) if reverse else [0.0] * len(flat))
    for text, several in zip(texts, found, strict=True):
        scored = {}
        for h in several:
            prior, behind, alpha = next(alone), next(back), decoding.length_penalty
            score = (h.log_probability - weight * prior * bool(h.tokens)) / max(1, len(h.tokens)) ** alpha
            if reverse and h.tokens:
                score += mu * behind / (len(text) + 1) ** alpha  # of characters
            scored.setdefault(h.text, (not h.finished, -score, h.text))
        answers.append([(text, -cost) for _, cost, text in sorted(scored.values())])
    return answers


def assert_same(found, expected):
    for several, wanted in zip(found, expected, strict=True):
        assert [h.score for h in several] == pytest.approx([score for _, score in wanted], abs=1e-4)
        assert {h.text for h in several} == {text for text, _ in wanted}


@pytest.mark.parametrize("decoding", [BEAM, NORMALISED, DRAWN], ids=["beam", "normalised", "samples"])
def test_it_is_its_definition(trained, backwards, decoding):
    model, reverse = seq2seq.load(trained), seq2seq.load(backwards)
    reranker = Reranker(0.7, None, reverse, mu=0.3, candidates=decoding.nbest)
    found = reranker.hypotheses(model, TEXTS, decoding)
    assert_same(found, by_definition(model, TEXTS, decoding, 0.7, None, reverse, 0.3))
    best = reranker.hypotheses(model, TEXTS, replace(decoding, beam=1, nbest=1))
    assert [h[0].text for h in best] == [h[0].text for h in found] and all(len(h) == 1 for h in best)


@pytest.mark.parametrize("decoding", [BEAM, NORMALISED], ids=["sum", "normalised"])
def test_a_second_model_adds_what_it_says_over_its_own_length(trained, turned, decoding):
    model, second = seq2seq.load(trained), seq2seq.load(turned[0])
    found = Reranker(0.0, second_model=second, nu=0.6, candidates=6).hypotheses(model, TEXTS, decoding)
    power, plain = decoding.length_penalty, model.hypotheses(TEXTS, decoding)
    for text, several, expected in zip(TEXTS, found, plain, strict=True):
        scores = {}
        for h in expected:
            if h.tokens:
                [q] = second.score([(text, h.text)])
                long = len(second.target_tokenizer.encode(h.text)) + 1
                scores[h.text] = h.log_probability / len(h.tokens) ** power + 0.6 * q / long**power
        assert {h.text: h.score for h in several if h.tokens} == pytest.approx(scores, abs=1e-4)
        said = [(h.finished, h.score) for h in several]
        assert said == sorted(said, reverse=True)


def test_the_command_with_second_models(run, trained, turned):
    both = TextModel.ensemble([seq2seq.load(one) for one in turned])
    words = ("generate", trained, "--second-model", turned[0], "--second-model", turned[1], "--nbest", 3, "--json")
    for line, text in zip(run(*words, stdin=b"abc\nfed\n").out.splitlines(), ("abc", "fed"), strict=True):
        for h in json.loads(line)["outputs"]:
            q = h["second_log_probability"]
            assert q == pytest.approx(both.score([(text, h["text"])])[0], abs=1e-4)
            long = len(both.target_tokenizer.encode(h["text"])) + 1
            assert h["score"] == pytest.approx(h["log_probability"] / len(h["tokens"]) + q / long, abs=1e-4)


def test_evaluate_with_a_second_model_of_inflections(run, fails, trained, tmp_path):
    (tmp_path / "forms.tsv").write_text("".join(f"{w}\tpos=N,num=PL\t{w}s\n" for w in ("cat", "dog", "hat", "cog")))
    for more in ("--no-right-to-left", "--right-to-left"):
        words = ("train", "forms.tsv", "--dev", "forms.tsv", "--format", "sigmorphon", more, "--updates", 2, *TINY)
        assert run(*words, "--out", more[2:]).code == 0
    words = ("evaluate", "no-right-to-left", "--second-model", "right-to-left", "forms.tsv")
    found = json.loads(run(*words, "--format", "sigmorphon", "--json").out)
    assert found["items"] == 4
    (tmp_path / "plain.tsv").write_text("cat\tcats\n")
    told = fails("evaluate", trained, "--second-model", "right-to-left", "plain.tsv")
    assert "trained on tsv and --second-model on sigmorphon" in told
    for command in ("generate", "chat"):
        told = fails(command, "no-right-to-left", "--second-model", trained, stdin=b"cat\tpos=N,num=PL\n")
        assert "trained on sigmorphon and --second-model on tsv" in told
    told = fails("generate", "no-right-to-left", "right-to-left", stdin=b"")
    assert "right-to-left may choose among the outputs of the other (--second-model)" in told


def test_without_a_weight_the_order_is_that_of_log_p(trained):
    model = seq2seq.load(trained)
    plain = model.hypotheses(TEXTS, BEAM)
    found = Reranker(0.0, candidates=6).hypotheses(model, TEXTS, BEAM)
    for several, expected in zip(found, plain, strict=True):
        assert [h.text for h in several] == list(dict.fromkeys(h.text for h in expected))


def test_the_command(run, trained, backwards):
    model = seq2seq.load(trained)
    stdin = "\n".join([*TEXTS, ""]).encode()
    asked = ("generate", trained, "--mmi", 0.5, "--language-model", backwards, "--candidates", 6, "--nbest", 4)
    asked += ("--length-penalty", 0)
    ran = run(*asked, "--json", stdin=stdin)
    found = [json.loads(line)["outputs"] for line in ran.out.splitlines()]
    expected = by_definition(model, TEXTS, BEAM, 0.5, seq2seq.load(backwards))
    for several, wanted in zip(found, expected, strict=True):
        assert [h["score"] for h in several] == pytest.approx([score for _, score in wanted[:4]], abs=1e-4)
        for h in several:
            assert h["reverse_log_probability"] is None
            assert not h["text"] or h["score"] == pytest.approx(
                h["log_probability"] - 0.5 * h["language_log_probability"], abs=1e-4
            )
    lines = run(*asked, stdin=stdin).out.splitlines()
    assert [float(line.split(" ||| ")[3]) for line in lines] == pytest.approx(
        [h["score"] for several in found for h in several], abs=1e-4
    )
    bare = run("generate", trained, "--json", stdin=b"abc\n")
    assert json.loads(bare.out)["outputs"][0]["language_log_probability"] is None


def test_evaluate_measures_what_was_chosen(run, trained, backwards, tmp_path):
    (tmp_path / "own.tsv").write_text("abc\tcba\nfed\tdef\n")
    model, decoding = seq2seq.load(trained), Decoding(beam=4)
    chosen = Reranker(0.9, None, seq2seq.load(backwards), candidates=4).generate(model, ["abc", "fed"], decoding)
    assert all(chosen) and chosen != model.generate(["abc", "fed"], decoding)  # or nothing is asked here
    (tmp_path / "own.tsv").write_text(f"abc\t{chosen[0]}\nfed\t{chosen[1]}\n")
    words = ("--json", "--beam", 4, "--mmi", 0.9, "--reverse-model", backwards)
    found = json.loads(run("evaluate", trained, "own.tsv", *words).out)
    assert found["exact_match_percent"] == 100


def test_what_no_line_could_hold_is_scored_without_it(trained, backwards):
    ranker = Reranker(weight=0.0, reverse_model=seq2seq.load(backwards))
    [(plain, _), (strange, _)] = ranker._back([("cba", "abc"), ("c\0b\ra", "abc")], Decoding())
    assert plain == pytest.approx(strange)


def test_what_comes_back_is_the_source_that_was_read(trained, backwards):
    ranker = Reranker(weight=0.0, reverse_model=seq2seq.load(backwards), candidates=6)
    plain, spaced = ranker.hypotheses(seq2seq.load(trained), ["abc", "  abc "], BEAM)
    assert plain == spaced


def test_what_is_no_text_and_what_was_cut_off_come_last(trained, monkeypatch):
    def made(text: str, log_probability: float, finished: bool = True) -> Hypothesis:
        return EMPTY._replace(text=text, tokens=list(text), log_probability=log_probability, finished=finished)

    # A byte of no character is cut anew into bytes that training never saw: p(y) of it is next to nothing.
    several = [
        made("ab", -3.0, False),
        made("a\ufffd", -1.0),
        made("ba", -2.0),
        made("ab", -3.5),
        made("cc", 0.0, False),
    ]
    model = seq2seq.load(trained)
    monkeypatch.setattr(TextModel, "hypotheses", lambda *_, **__: [several])
    monkeypatch.setattr(TextModel, "score", lambda _, pairs, __: [-99.0 if "\ufffd" in y else -1.0 for _, y in pairs])
    [found] = Reranker(weight=1.0, candidates=5).hypotheses(model, ["abc"], Decoding(beam=5, nbest=5))
    assert [(one.text, one.finished) for one in found] == [("ba", True), ("ab", True), ("a\ufffd", True), ("cc", False)]


def test_samples_may_be_told_apart_by_any_norm(run, trained):
    words = ("generate", trained, "--sample", "--candidates", 4, "--length-norm", "gnmt")
    assert run(*words, "--mmi", 0.5, stdin=b"abc\n").code == 0
    for options in (words[5:], ("--length-penalty", 0.3)):
        assert run(*words[:3], *options, stdin=b"abc\n").code == 2  # where nothing is divided by it


def test_what_does_not_go_together(fails, trained):
    for words, told in (
        (("--language-model", trained), "--language-model is for --mmi"),
        (("--language-model", trained, "--mmi", 0), "--language-model is for --mmi: add it, and not 0"),
        (("--candidates", 3), "--candidates are what --mbr, --mmi, --reverse-model or"),
        (("--mmi", 1, "--nu", 2), "--nu is the weight of a second model: add --second-model"),
        (("--second-model", trained, "--nu", "inf"), "--nu is inf; wanted a number"),
        (("--second-model", trained, "--mbr", "chrf"), "--mbr is one way to choose among candidates"),
        (("--second-model", trained, "--beam", 1), "--second-model choose among several outputs, and here is 1"),
        (("--second-model", "missing.npz"), "missing.npz: no such file"),
        (("--mmi", 1, "--mu", 1), "--reverse-model"),
        (("--mmi", 1, "--nbest", 5, "--candidates", 3), "--nbest 5 needs --candidates 5"),
        (("--mmi", 1, "--candidates", 0), "wanted 1 or more"),
        (("--mmi", 1, "--candidates", 1), "and here is 1: ask for more --candidates"),
        (("--reverse-model", trained, "--beam", 1), "and here is 1: ask for a wider beam"),
        (("--mmi", 1, "--shortlist", 9), "--shortlist"),
        (("--mmi", 1, "--reverse-model", "missing.npz"), "missing.npz: no such file"),
    ):
        assert told in fails("generate", trained, *words, stdin=b"abc\n")
    with pytest.raises(SearchError):
        Reranker(candidates=0)
    with pytest.raises(SearchError, match="counts by its weight"):
        Reranker(language_model=seq2seq.load(trained))


def test_what_a_model_calls_impossible_is_not_the_best():
    scores = [math.inf, -2.0, math.nan, -1.0]
    ranked = sorted((EMPTY._replace(text=str(score), score=score, finished=True) for score in scores), key=_rank)
    assert [one.score for one in ranked[:2]] == [-1.0, -2.0]
