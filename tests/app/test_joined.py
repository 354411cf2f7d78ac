"""Several models on the command line and in Python: as their mean, in the order and number that one would expect."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, exit_code, job

import seq2seq
from seq2seq import Decoding, TextModel
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.text_model import TextSettings
from seq2seq.data import Tokenizer

INPUT = b"abc\n\nfed\nbad\n"
TEXTS = ["abc", "", "fed", "bad"]


@pytest.fixture
def pairs(trained) -> Path:
    return trained.parent / "dev.tsv"


def numbers(out: str) -> list[float]:
    return [float(line) for line in out.splitlines()]


def test_the_mean_is_that_of_probabilities_or_of_their_logs(run, trained, twin, pairs):
    def tables(*words: object) -> list[np.ndarray]:
        out = run("score", *words, pairs, "--per-token", "--precision", "float32").out
        blocks = [block.splitlines() for block in out.split("\n\n") if block]
        return [np.array([float(line.split("\t")[1]) for line in block]) for block in blocks]

    one, other, both = tables(trained), tables(twin), tables(trained, twin)
    for a, b, found in zip(one, other, both, strict=True):
        assert np.abs(a - b).max() > 1e-4
        np.testing.assert_allclose(found, np.log((np.exp(a) + np.exp(b)) / 2), atol=1e-4)
    product = tables(trained, twin, "--ensemble-mean", "log-probabilities")
    models = [seq2seq.load(model) for model in (trained, twin)]
    means = [TextModel.ensemble(models, mean) for mean in ("log-probabilities", "probabilities")]
    read = [pair[:2] for pair in seq2seq.read_pairs(seq2seq.PairFiles((str(pairs),))).pairs]
    wanted, mixed = ([np.array(s) for _, s in m.token_scores(read, Arithmetic("float32"))] for m in means)
    for a, b, found, expected in zip(one, other, product, wanted, strict=True):
        assert (found > (a + b) / 2).all()  # it is normalised: what both divide up differently is given back
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert max(np.abs(a - b).max() for a, b in zip(wanted, mixed, strict=True)) > 1e-4


def test_the_same_model_twice_or_thrice_is_that_model(run, trained):
    alone = run("generate", trained, "--nbest", 3, stdin=INPUT).out.splitlines()
    thrice = run("generate", trained, trained / "model.npz", trained, "--nbest", 3, stdin=INPUT)
    assert (thrice.code, thrice.err) == (0, "")
    for one, other in zip(alone, thrice.out.splitlines(), strict=True):
        (number, text, *scores), (number2, text2, *scores2) = one.split(" ||| "), other.split(" ||| ")
        assert (number, text) == (number2, text2)
        assert [float(s) for s in scores] == pytest.approx([float(s) for s in scores2], abs=1e-4)


def test_options_may_stand_between_models_and_input(run, trained, twin, tmp_path):
    (tmp_path / "in.txt").write_bytes(INPUT)
    wanted = TextModel.ensemble([seq2seq.load(trained), seq2seq.load(twin)]).generate(TEXTS, Decoding(beam=3))
    for words in (
        (trained, twin, "in.txt", "--beam", 3),
        ("--beam", 3, trained, twin, "in.txt"),
        (trained, twin, "--beam", 3, "in.txt"),
        (trained, twin, "--beam", 3, "-"),
        (trained, twin, "--beam", 3),
    ):
        ran = run("generate", *words, stdin=INPUT)
        assert ran.code == 0 and ran.out.splitlines() == wanted, words


def test_evaluate_measures_the_mixture(run, trained, twin, pairs):
    found = json.loads(run("evaluate", trained, twin, pairs, "--json", "--beam", 1).out)
    total = -sum(numbers(run("score", trained, twin, pairs).out))
    tokens = sum(len(line.split("\t")[1]) + 1 for line in pairs.read_text().splitlines())
    assert found["loss_nats_per_token"] == pytest.approx(total / tokens, rel=1e-5)
    alone = [json.loads(run("evaluate", m, pairs, "--json", "--beam", 1).out) for m in (trained, twin)]
    mean = sum(one["loss_nats_per_token"] for one in alone) / 2
    assert found["loss_nats_per_token"] < mean  # Jensen: a mixture is never worse than its members are on average


@pytest.mark.parametrize("options", [["--int8"], ["--precision", "bfloat16"], ["--shortlist", "9"], ["--sample"]])
def test_an_ensemble_takes_every_option(run, trained, twin, options):
    ran = run("generate", trained, twin, "--json", *options, stdin=INPUT)
    found = [json.loads(line)["outputs"] for line in ran.out.splitlines()]
    assert (ran.code, ran.err) == (0, "") and len(found) == 4
    assert found[0][0]["attention"]


def test_an_ensemble_is_one_file_if_you_like(trained, twin, run, fails, pairs):
    ensemble = TextModel.ensemble([seq2seq.load(trained), seq2seq.load(twin)], "log-probabilities", [2, 1])
    ensemble.save("both.npz")
    again = seq2seq.load("both.npz")
    assert again.model.mean == "log-probabilities" and again.model.weights == (2, 1)
    assert again.score([("abc", "cba")]) == ensemble.score([("abc", "cba")])
    assert run("inspect", "both.npz").code == run("generate", "both.npz", stdin=INPUT).code == 0
    assert "which does not train" in fails("train", "--from", "both.npz", pairs, "--out", "run")
    assert "Ensemble has no `encode" in fails("embed", "both.npz", stdin=INPUT)


def test_limits_are_the_largest(trained):
    model = seq2seq.load(trained)
    one = replace(model, settings=TextSettings(source_longest=9, target_longest=5))
    other = replace(model, settings=TextSettings(source_longest=4, target_longest=8))
    assert TextModel.ensemble([one, other]).settings == TextSettings(source_longest=9, target_longest=8)


def test_unlike_models_are_refused(fails, trained, twin, tmp_path, pairs):
    other = tmp_path / "other.tsv"
    other.write_text("".join(f"{word}\t{word[::-1]}\n" for word in ("xyz", "zyx", "yxz", "zzy")))
    assert exit_code(["train", other, "--dev", other, "--out", "run", *TINY, "--updates", 1]) == 0
    message = fails("generate", trained, twin, "run")
    assert message.startswith(f"{trained} and run have unlike source tokenizers (10 and 7 tokens): ")
    assert "unlike source tokenizers" in fails("score", trained, "run", pairs)
    model = seq2seq.load(trained)
    words = Tokenizer.train("word", ["a b c"])
    with pytest.raises(seq2seq.Seq2SeqError, match=r"and model 2 have unlike target tokenizers \(character and"):
        TextModel.ensemble([model, replace(model, target_tokenizer=words)])
    with pytest.raises(seq2seq.Seq2SeqError, match="model 1 was trained on tsv and model 2 on sigmorphon"):
        TextModel.ensemble([model, replace(model, settings=replace(model.settings, format="sigmorphon"))])
    with pytest.raises(seq2seq.Seq2SeqError, match="no member"):
        TextModel.ensemble([])


COMMON = {"abc": "aaa bb c", "bca": "bbb cc a", "cab": "ccc aa b"}
"""Words whose letters are as common as the names say, the first the most."""


@pytest.mark.parametrize("sides", [("bca", "cab"), ("abc", "bca"), ("bca", "abc")])
def test_members_may_number_the_same_tokens_otherwise(sides):
    one, other = (
        job("pairs.tsv", "--dev", "pairs.tsv", "--out", name, *letters("pairs.tsv", *of)).text_model
        for name, of in (("one", ("abc", "abc")), ("other", sides))
    )
    pairs = [("abba", "bca"), ("cab", "aabbc")]
    each = [[np.exp(logs) for _, logs in model.token_scores(pairs)] for model in (one, other)]
    both = TextModel.ensemble([one, other])
    for (names, found), mine, theirs in zip(both.token_scores(pairs), *each, strict=True):
        assert names[-1] == "<end>"
        np.testing.assert_allclose(np.exp(found), (mine + theirs) / 2, atol=1e-5)
    both.save("both.npz")
    again = seq2seq.load("both.npz")
    assert again.score(pairs) == both.score(pairs) and again.generate(["abba"]) == both.generate(["abba"])
    short = both.generate(["abba"], Decoding(shortlist=5))  # the first one's commonest letter
    assert set(short[0]) <= {"a"}


def letters(name: str, source: str, target: str) -> tuple[object, ...]:
    """Write pairs of letters as common as that on each side; how they are read."""
    Path(name).write_text(f"{COMMON[source]}\t{COMMON[target]}\n".replace(" ", ""))
    return "--source-tokens", "character", "--target-tokens", "character"


def test_pieces_may_not_be_numbered_otherwise():
    models = []
    for name, texts in (("one", "bab abaab ba"), ("other", "bab bbaab bb")):
        Path("pairs.tsv").write_text("".join(f"a\t{text}\n" for text in texts.split()))
        words = ("--target-tokens", "bpe", "--vocabulary", 262)
        models.append(job("pairs.tsv", "--dev", "pairs.tsv", "--out", name, *words).text_model)
    with pytest.raises(seq2seq.Seq2SeqError, match="unlike target tokenizers"):
        TextModel.ensemble(models)


def test_models_of_two_classes_join(run, trained, pairs):
    words = ["train", trained.parent / "pairs.tsv", "--dev", pairs, "--out", "hard", "--model.type", "hard-monotonic"]
    assert exit_code([*words, *TINY, "--updates", 1]) == 0
    for models in (["hard"], [trained, "hard"]):
        ran = run("generate", *models, "--nbest", 2, stdin=INPUT)
        assert ran.code == 0 and len(ran.out.splitlines()) == 7  # of the empty line there is one


def test_formats_that_read_a_source_alike_join(trained):
    model = seq2seq.load(trained)
    student = replace(model, settings=replace(model.settings, format="jsonl"))
    assert TextModel.ensemble([model, student]).score([("abc", "cba")]) == pytest.approx(model.score([("abc", "cba")]))


def test_seeds_that_hold_out_other_pairs_are_told_what_to_share(tmp_path):
    (tmp_path / "few.tsv").write_text("".join(f"{word}\t{word}\n" for word in ("aa", "bb", "cc", "dd", "ee")))
    alone = [job("few.tsv", "--seed", seed, "--out", f"alone{seed}").text_model for seed in (1, 2)]
    with pytest.raises(seq2seq.Seq2SeqError, match=r"unlike source tokenizers .* same --dev, .* --from one of them"):
        TextModel.ensemble(alone)
    told = [job("few.tsv", "--seed", seed, "--dev", "few.tsv", "--out", f"told{seed}").text_model for seed in (1, 2)]
    assert len(TextModel.ensemble(told).model.models) == 2


def test_words_that_are_neither_models_nor_inputs(fails, trained, twin, tmp_path, pairs):
    assert "nowhere: no such file" in fails("generate", trained, "nowhere")
    message = fails("generate", trained, "nowhere", "in.txt")
    assert message.startswith("nowhere is not a model (there is no model.npz") and "in.txt is one too many" in message
    assert "File name too long; INPUT is a file of lines; for a text: echo" in fails("generate", trained, "x" * 400)
    assert "models come first" in fails("generate", trained, "in.txt", twin)
    assert f"{twin} is a model, but stands after {pairs}" in fails("score", trained, pairs, twin)
    assert "give files of pairs" in fails("evaluate", trained, twin)
    assert "this is a folder" in fails("generate", trained, twin, tmp_path)
    shutil.copy(trained.parent / "pairs.tsv", "cut.npz")
    assert "cut.npz" in fails("generate", trained, "cut.npz")


def test_commands_of_one_model_refuse_more(fails, trained, twin, pairs):
    message = f"takes one model; {twin} is another."
    assert fails("embed", trained, twin) == f"embed {message}"
    assert fails("inspect", trained, twin, "--json") == f"inspect {message}"
    assert fails("train", "--from", trained, twin, pairs, "--out", "run") == f"--from {message}"


def test_help_shows_that_there_may_be_several(run):
    assert "MODEL... [INPUT]" in run("generate", "--help").out
    for command in ("score", "evaluate"):
        assert "MODEL... " in run(command, "--help").out and "--ensemble-mean" in run(command, "--help").out
    for command in ("embed", "inspect"):
        assert "MODEL..." not in run(command, "--help").out
