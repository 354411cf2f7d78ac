"""`seq2seq score`, `evaluate`, `embed` and `inspect`: they agree with each other and with Python."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from command_line import words

import seq2seq
from seq2seq import Decoding, Tokenizer, metrics
from seq2seq.app.alignment import places
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.evaluation import Evaluation
from seq2seq.app.pictures.attention import look

NAMES = {
    "items",
    "loss_nats_per_token",
    "perplexity",
    "exact_match_percent",
    "wer_percent",
    "token_error_rate_percent",
    "bleu",
    "chrf",
}
LISTENING = {"shuffled_loss_nats_per_token", "listening_nats_per_token"}


def dev(trained):
    path = trained.parent / "dev.tsv"
    return path, [tuple(line.split("\t")) for line in path.read_text().splitlines()]


def test_scores_are_one_number_a_line_and_sums_of_tokens(run, trained):
    path, pairs = dev(trained)
    ran = run("score", trained, path)
    scores = [float(line) for line in ran.out.splitlines()]
    assert scores == pytest.approx(seq2seq.load(trained).score(pairs), abs=1e-6)
    assert ran.err.startswith("4 pairs scored, 0 skipped")
    blocks = run("score", trained, path, "--per-token").out.split("\n\n")
    tokens = [[line.split("\t") for line in block.splitlines()] for block in blocks if block]
    assert [[token for token, _ in block] for block in tokens] == [[*target, "<end>"] for _, target in pairs]
    assert [sum(float(score) for _, score in block) for block in tokens] == pytest.approx(scores, abs=1e-5)


def test_a_score_is_what_generate_says_of_its_own_output(run, trained, tmp_path):
    found = json.loads(run("generate", trained, "--json", "--nbest", 2, stdin=b"abc\n").out)["outputs"]
    ended = [one for one in found if one["finished"] and one["text"]]
    if not ended:
        pytest.skip("the model of four updates never ends")
    (tmp_path / "own.tsv").write_text("".join(f"abc\t{one['text']}\n" for one in ended))
    scores = [float(line) for line in run("score", trained, "own.tsv").out.splitlines()]
    assert scores == pytest.approx([one["log_probability"] for one in ended], abs=1e-4)


def test_evaluate_says_all_and_agrees_with_score(run, trained):
    path, pairs = dev(trained)
    ran = run("evaluate", trained, path, "--json", "--beam", 1)
    found = json.loads(ran.out)
    assert ran.code == 0 and set(found) == NAMES | LISTENING
    assert found["items"] == 3  # two targets of one source are one item
    log_probability = sum(float(line) for line in run("score", trained, path).out.splitlines())
    mean = -log_probability / sum(len(target) + 1 for _, target in pairs)
    assert math.isclose(found["loss_nats_per_token"], mean, rel_tol=1e-5)
    assert math.isclose(found["perplexity"], math.exp(mean), rel_tol=1e-5)
    assert found["exact_match_percent"] + found["wer_percent"] == pytest.approx(100)
    difference = found["shuffled_loss_nats_per_token"] - found["loss_nats_per_token"]
    assert found["listening_nats_per_token"] == pytest.approx(difference, abs=1e-6)
    shown = run("evaluate", trained, path, "--beam", 1).out.splitlines()
    assert len(shown) == len(found) and shown[0].split() == ["items", "3"]
    assert ["BLEU", "-"] in [line.split() for line in shown]  # no text has four tokens


def test_what_is_wrong_is_written(run, fails, trained, tmp_path):
    model, greedy = seq2seq.load(trained), Decoding(beam=1)
    right = next(word for word in words(99, seed=5) if model.generate([word], greedy)[0])
    own = model.generate([right], greedy)[0]
    (tmp_path / "pairs.tsv").write_text(f"fab\txyz\n{right}\tdd\n{right}\t{own}\nfab\txy\n")
    asked = ("evaluate", trained, "pairs.tsv", "--beam", 1, "--errors", "errors.tsv")
    ran = run(*asked)
    assert ran.code == 0 and "Wrote errors.tsv: 1 of 2 items are wrong." in ran.err
    source, output, targets = Path("errors.tsv").read_text().removesuffix("\n").split("\t")
    assert (source, targets) == ("fab", "xyz | xy") and output == model.generate(["fab"], greedy)[0]
    scores, _, confused = ran.out.partition("token errors, wanted > written")
    assert len(scores.splitlines()) == len(NAMES) + 2 and confused.split()[0] == "times"
    counts = [int(line.split()[-1]) for line in confused.splitlines()[1:]]
    assert counts == sorted(counts, reverse=True) and " > " in confused
    assert json.loads(run(*asked, "--json").out)["exact_match_percent"] == 50
    assert "no folder nowhere" in fails("evaluate", trained, "pairs.tsv", "--errors", "nowhere/errors.tsv")
    assert "is a folder" in fails("evaluate", trained, "pairs.tsv", "--errors", tmp_path)


def test_a_loss_that_is_no_number_is_json_all_the_same(run, trained, monkeypatch):
    monkeypatch.setattr("seq2seq.app.evaluation._mean_loss", lambda *_: math.inf)
    found = json.loads(run("evaluate", trained, dev(trained)[0], "--json", "--beam", 1).out, parse_constant=pytest.fail)
    assert found["loss_nats_per_token"] is None and found["listening_nats_per_token"] is None


def test_any_of_several_targets_is_right(trained):
    model = seq2seq.load(trained)
    greedy = Evaluation(model, [("abc", "abc")]).decoding
    own = model.generate(["fab"], greedy)[0] or "x"
    scores = Evaluation(model, [("fab", "dddddd"), ("fab", own)])(model.model)
    assert scores["exact_match_percent"] == 100 * (own == model.generate(["fab"], greedy)[0])


def test_the_names_of_the_scores_are_known_beforehand(trained):
    model = seq2seq.load(trained)
    names = Evaluation(model, [("abc", "cba")]).names
    assert {"items", *names} == NAMES
    assert set(names[2:]) == set(metrics.evaluate(["a"], [["a"]]))


def test_what_cannot_be_measured(run, fails, trained, tmp_path):
    (tmp_path / "bad.tsv").write_text("abc\tcba\nno tab\n")
    (tmp_path / "good.tsv").write_text("abc\tcba\n")
    for command in ("score", "evaluate"):
        before = run("score", trained, "good.tsv").out if command == "score" else ""
        assert fails(command, trained, "bad.tsv", out=before).startswith("bad.tsv:2: no TAB")
        assert "give files of pairs" in fails(command, trained)
        assert "no such file" in fails(command, trained, "missing.tsv")
    assert "--source FILE and --target FILE" in fails("score", trained, "--source", "bad.tsv")


def test_bad_pairs_are_skipped_and_counted_where_asked(run, trained, tmp_path):
    (tmp_path / "bad.tsv").write_bytes(b"abc\tcba\r\nno tab\nfed\tdef\n")
    ran = run("score", trained, "bad.tsv", "--skip-bad")
    numbers = [float(line) for line in ran.out.splitlines()]
    assert [math.isnan(number) for number in numbers] == [False, True, False]
    blocks = run("score", trained, "bad.tsv", "--skip-bad", "--per-token").out.removesuffix("\n\n").split("\n\n")
    assert len(blocks) == 3 and blocks[1] == "\tnan"
    assert "2 pairs scored, 1 skipped" in ran.err
    assert "skipped: no TAB (1 line, first bad.tsv:2)" in ran.err and "CR LF" in ran.err


def test_alignments_are_where_attention_is_largest(run, fails, trained):
    path, pairs = dev(trained)
    model = seq2seq.load(trained)
    lines = run("score", trained, path, "--alignments", "--precision", "float32").out.splitlines()
    assert len(lines) == len(pairs)
    for line, (source, target) in zip(lines, pairs, strict=True):
        weights = look(model, source, target).attention[: len(target), : len(source)]
        assert line == " ".join(f"{place}-{j}" for j, place in enumerate(weights.argmax(axis=1)))
    Path("bad.tsv").write_text("abc\tcba\nno tab\nfed\tdef\n")
    assert run("score", trained, "bad.tsv", "--skip-bad", "--alignments").out.split("\n")[1] == ""
    assert "take one" in fails("score", trained, path, "--alignments", "--per-token")
    assert "leave out PAIRS" in fails("score", trained, "--phrase-table", "table", "--alignments")


def test_attention_to_pairs_does_not_depend_on_company(trained):
    model, float32 = seq2seq.load(trained), Arithmetic("float32")
    pairs = [("abc", "cba"), ("a" * 30, "a"), ("fed", "def" * 9), ("", "a")]
    found = model.attention(pairs, float32)
    assert [weights.shape for weights in found] == [(4, 4), (2, 31), (28, 4), (2, 1)]
    for one, weights in zip(pairs, found, strict=True):
        np.testing.assert_allclose(model.attention([one], float32)[0], weights, atol=1e-5)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_places_are_those_of_words_where_tokens_are_pieces():
    texts = ["the houses, of the land", "a  b", " a", "a ", "дом дым \u00e5b \u00c5c ёж"]
    for kind, turned in product(("bpe", "unigram"), (False, True)):
        pieces = Tokenizer.train(kind, texts * 9, vocabulary=280)
        pieces = pieces.turned() if turned else pieces
        for text in texts:
            ids, found = pieces.encode(text), places(pieces, text)
            for n, word in enumerate(text.split()):
                own = [index for index, place in zip(ids, found, strict=True) if place == n]
                assert pieces.decode(own).strip() == word
    assert places(Tokenizer.train("word", ["b a"]), " b  a") == [0, 1]


def test_places_are_those_of_the_text_and_not_of_its_unicode_form():
    text = "e\u0301 한a\u0323\u0301"
    for form, wanted in (("none", range(7)), ("nfc", [0, 2, 3, 4, 6]), ("nfd", [0, 1, 2, 3, 3, 3, 4, 5, 6])):
        assert places(Tokenizer.train("character", [text], form=form), text) == list(wanted)
    symbols = "한 e +pos=N 글"
    assert places(Tokenizer.train("symbols", [symbols], form="nfd"), symbols) == [0, 0, 0, 1, 2, 3, 3, 3]


def test_vectors_are_pythons(run, trained):
    ran = run("embed", trained, "-o", "v.npz", stdin=b"abc\n\nabcabc\n")
    assert ran.code == 0 and "Wrote v.npz: vectors of width 8 for 3 lines." in ran.err
    with np.load("v.npz", allow_pickle=False) as found:
        assert set(found) == {"vectors", "texts"}
        assert found["texts"].tolist() == ["abc", "", "abcabc"]
        vectors = found["vectors"]
    assert vectors.shape == (3, 8) and len({tuple(row) for row in vectors}) == 3
    np.testing.assert_allclose(vectors, seq2seq.load(trained).embed(["abc", "", "abcabc"]), atol=1e-6)
    np.testing.assert_allclose(seq2seq.load(trained).embed(["abcabc", "abc"]), vectors[[2, 0]], atol=1e-5)


def test_one_long_text_does_not_make_all_long(run, trained, monkeypatch):
    monkeypatch.setattr("seq2seq.app.commands.embed._PADDED", 1000)
    ran = run("embed", trained, "-o", "v.npz", stdin=b"abc\n" * 50 + b"a" * 500 + b"\n")
    assert ran.code == 0 and "note: texts are left out: one has 500 characters" in ran.err
    with np.load("v.npz") as found:
        assert set(found) == {"vectors"} and found["vectors"].shape == (51, 8)


def test_a_token_that_is_a_line_break_is_escaped(run, trained, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"source":"ab","target":"a\\tb\\nc"}\n')
    lines = run("score", trained, "p.jsonl", "--per-token").out.splitlines()
    assert len(lines) == 7 and lines[-1] == "" and all("\t" in line for line in lines[:-1])


def test_outputs_that_cannot_be_written_or_are_read_too(fails, trained, tmp_path):
    (tmp_path / "in.txt").write_text("abc\n")
    for option, path, told in (
        ("-o", "nowhere/v.npz", "--output nowhere/v.npz: there is no folder nowhere"),
        ("-o", ".", "--output . is a folder"),
        ("-o", "in.txt", "--output in.txt would be written over in.txt"),
        ("-o", trained / "model.npz", "which is read; name another file"),
        ("--plot", "nowhere/map.png", "--plot nowhere/map.png: there is no folder"),
    ):
        assert told in fails("embed", trained, "in.txt", option, path)
    (tmp_path / "pairs.tsv").write_text("abc\tcba\n")
    assert "would be written over pairs.tsv" in fails("evaluate", trained, "pairs.tsv", "--errors", "pairs.tsv")
    assert (tmp_path / "pairs.tsv").read_text() == "abc\tcba\n"


def test_inspect(run, trained):
    shown = run("inspect", trained).out
    assert "character, 10 different" in shown and "hidden = 8" in shown and "training_pairs" in shown
    found = json.loads(run("inspect", trained / "model.npz", "--json").out)
    assert found["provenance"]["training_pairs"] == 40
    assert found["arrays"]["decoder/embedding/table"] == ["float32", 10, 4]
    assert str(trained.parent) not in json.dumps(found)  # no names of folders or people in a model


def test_python_loads_a_folder_or_a_file(trained):
    by_folder, by_file = seq2seq.load(trained), seq2seq.load(trained / "model.npz")
    assert by_folder.score([("abc", "cba")]) == by_file.score([("abc", "cba")])
    with pytest.raises(seq2seq.Seq2SeqError, match="input:2"):
        by_file.generate(["abc", "a\0b"])
    with pytest.raises(seq2seq.Seq2SeqError, match="input:4"):
        by_file.score([("abc", "a"), ("abc", "b"), ("abc", "a"), ("a\0b", "a")])


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_pairs_of_another_kind_are_refused(fails, trained, tmp_path, command):
    (tmp_path / "forms").write_text("Fest\tpos=N,num=PL\tFeste\n" * 2, "utf-8")
    assert "trained on tsv" in fails(command, trained, tmp_path / "forms")
