"""Lengths, phrases, prefixes and unknown words, in text: on a model of tables, which compiles soon."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import json
from dataclasses import replace

import numpy as np
import pytest
from contract.toy_models import TableModel

from seq2seq.app.commands.generate import GenerateOptions
from seq2seq.app.demands import limits
from seq2seq.app.hypothesis import read
from seq2seq.app.text_model import Decoding, TextModel, TextSettings
from seq2seq.app.unknown import with_copies
from seq2seq.data import END, UNKNOWN, Tokenizer
from seq2seq.errors import SearchError
from seq2seq.search import Hypotheses
from seq2seq.search.feasible import Demands

LETTERS = Tokenizer.train("character", ["ab"])
MODEL = TextModel(TableModel.random(3, scale=1.5), LETTERS, LETTERS, TextSettings("tsv", 4, 6))
TEXTS = ["ab", "", "b", "aab"]
ALL = Decoding(
    beam=4, nbest=2, ban=("bb",), require=("aba",), min_length=6, max_length=12, no_repeat_ngram=3, coverage_penalty=0.1
)


def test_every_finished_output_is_what_was_asked_for_and_has_all_its_values():
    for prefixes in (["b", "a", "", "ab"], ["", "", "", "b"]):
        found = MODEL.hypotheses(TEXTS, ALL, attention=True, prefixes=prefixes)
        assert found[1][0].text == ""
        for line in (0, 2, 3):
            for h in found[line]:
                assert h.text.startswith(prefixes[line]) and "bb" not in h.text
                assert len(h.tokens) == len(h.token_log_probabilities) and h.attention is not None
                assert h.attention.shape == (len(h.tokens), len(TEXTS[line]) + 1)
                assert abs(sum(h.token_log_probabilities) - h.log_probability) < 1e-4
                if h.finished:
                    assert "aba" in h.text and 6 <= len(h.tokens) <= 12
        assert found[0][0].finished


def test_unknown_pieces_are_copied_from_the_source():
    table = MODEL.model.table.at[..., 1].add(5.0)
    model = MODEL.with_model(TableModel(table, MODEL.model.transition, MODEL.model.focus))
    decoding = Decoding(beam=2, max_length=6, replace_unknown=True)
    copied = model.hypotheses(["xyb"], decoding)[0][0]
    seen = model.hypotheses(["xyb"], decoding, attention=True)[0][0]
    assert copied.attention is None and seen.attention is not None and copied.text == seen.text
    assert "<unknown>" in seen.tokens and "<unknown>" not in seen.text
    pieces = [
        "xyb"[int(np.argmax(weights[:3]))] if token == "<unknown>" else token
        for token, weights in zip(seen.tokens, seen.attention, strict=True)
        if token != "<end>"
    ]
    assert seen.text == "".join(pieces)


def test_what_is_written_right_to_left_is_read_in_order():
    turned = replace(MODEL, target_tokenizer=LETTERS.turned())
    [several] = turned.hypotheses(["ab"], Decoding(beam=2, max_length=6))
    assert several[0].text == "".join(several[0].tokens).replace("<end>", "")[::-1] != ""
    assert turned.hypotheses(["ab", "b"], Decoding(max_length=6, require=("aab",)))[1][0].text.count("aab")
    with pytest.raises(SearchError, match="writes from right to left") as told:
        turned.hypotheses(["ab", "b"], Decoding(), prefixes=["", "a"])
    assert told.value.line == 2
    ids, look = [*LETTERS.encode("a"), UNKNOWN, *LETTERS.encode("b"), END], np.eye(4, dtype=np.float32)
    assert with_copies(LETTERS, ids, look, "xyz") == "ayb"
    assert with_copies(LETTERS.turned(), ids, look, "xyz") == "bya"


def test_what_is_copied_belongs_to_its_own_output():
    ids = np.array([[[4, 3], [0, 0], [5, 3]]], np.int32)  # the sample between came to nothing
    logs, two = np.array([[-1.0, -np.inf, -2.0]]), np.zeros((1, 3, 2))
    found = Hypotheses(ids, np.array([[2, 0, 2]]), logs > -3, logs, logs, two, np.zeros((1, 3, 2, 4)))
    several = read(LETTERS, found, 0, 4, lambda ids, _: str(ids))
    assert [h.text for h in several] == ["[4, 3]", "[5, 3]"]


def test_a_prefix_near_the_limit_has_room_behind_it():
    automatic = np.array([16, 16, 16, 2], np.int32)
    asked = [Demands(prefix=(4,) * length) for length in (3, 14, 20, 0)]
    assert limits(automatic, asked, Decoding(), range(4), LETTERS).tolist() == [16, 25, 31, 2]
    assert limits(automatic[:1], asked[:1], Decoding(max_length=9), [0], LETTERS).tolist() == [9]


@pytest.mark.parametrize(
    "decoding",
    [Decoding(temperature=0.1), Decoding(nbest=9, beam=2), Decoding(beam=0), Decoding(sample=True, seed=-1)],
)
def test_what_does_not_go_together_is_refused_in_python_too(decoding):
    with pytest.raises(SearchError, match="--"):
        MODEL.generate(TEXTS, decoding)


@pytest.mark.parametrize(
    ("decoding", "prefixes", "message"),
    [
        (Decoding(require=("ac",)), None, "--require 'ac' has 'c', which is not in the model's vocabulary"),
        (Decoding(ban=("",)), None, "--ban '' has no piece of text"),
        (Decoding(require=("ab",), ban=("b",)), None, "line 8: its required phrase 'ab' holds 'b', which is banned"),
        (Decoding(require=("abab",), max_length=4), None, "line 8: what is asked for takes 5 tokens or more"),
        (Decoding(), ["a"], "1 prefixes for 2 inputs"),
        (Decoding(), ["a", "q"], "the prefix of line 9 'q' has 'q'"),
        (Decoding(shortlist=5), ["a", "b"], "the prefix of line 9 'b' has 'b', which is not in --shortlist 5"),
    ],
)
def test_what_cannot_be_asked_for(decoding, prefixes, message):
    with pytest.raises(SearchError, match=message):
        MODEL.hypotheses(["ab", "b"], decoding, prefixes=prefixes, first_line=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-length", -1], "--min-length is -1"),
        (["--min-length", 5, "--max-length", 4], "--max-length is 4; wanted at least 5"),
        (["--no-repeat-ngram", 0], "--no-repeat-ngram is 0"),
        (["--groups", 2], "--groups is 2; wanted a divisor of --beam, which is 5"),
        (["--groups", 5, "--mbr", "chrf", "--candidates", 6], "which --candidates or --nbest made 6"),
        (["--groups", 5, "--mmi", 1, "--candidates", 6], "make 6 candidates; wanted a multiple of --groups 5"),
        (["--groups", 5], "--groups above 1 and --diversity above 0 go together"),
        (["--coverage-penalty", -1], "coverage_penalty is -1.0"),
        (["--sample", "--require", "a"], "are for a beam: leave out --sample"),
    ],
)
def test_bad_values_are_one_line(fails, options, message):
    assert message in fails("generate", "no model is read", *options)


def test_prefixes_of_a_file_notes_and_json(run, fails, monkeypatch, tmp_path):
    monkeypatch.setattr(GenerateOptions, "load_leading", lambda self, words: (MODEL, tuple(words)))
    (tmp_path / "prefixes.txt").write_text("ab\n\nb\n")
    options = ("--prefix", "prefixes.txt", "--beam", 2, "--max-length", 5)
    ran = run("generate", "a model", *options, stdin=b"ab\n\nabababab\n")
    lines = ran.out.splitlines()
    assert ran.code == 0 and lines[0].startswith("ab") and lines[1] == "" and lines[2].startswith("b")
    assert "note: line 3 has more tokens (8) than any source in training (3)" in ran.err
    ran = run("generate", "a model", *options, "--json", stdin=b"ab\n\nab\n")
    assert "note" not in ran.err
    assert json.loads(ran.out.splitlines()[2])["outputs"][0]["text"].startswith("b")
    ran = run("generate", "a model", "--beam", 2, "--max-length", 5, stdin=b"ab\naxz\nzab\n")
    assert ran.err.count("note") == 1 and "note: line 2 has 'x', which the model does not know." in ran.err
    assert "only 3 prefixes" in fails("generate", "a model", *options, stdin=b"\n\n\n\n", out="\n\n\n")
    (tmp_path / "prefixes.txt").write_bytes(b"\n\xff\n")
    assert "prefixes.txt:2: not UTF-8" in fails("generate", "a model", *options, stdin=b"\n\n", out="\n")


def test_prefixes_left_over_are_an_error(run, monkeypatch, tmp_path):
    monkeypatch.setattr(GenerateOptions, "load_leading", lambda self, words: (MODEL, tuple(words)))
    (tmp_path / "prefixes.txt").write_text("\n\n\n")
    ran = run("generate", "a model", "--prefix", "prefixes.txt", stdin=b"\n\n")
    assert ran.code == 2 and "prefixes.txt: more prefixes than inputs, which are 2." in ran.err
