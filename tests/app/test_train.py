"""`seq2seq train`: what it reads, what it writes, how it goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import LAST, TINY, assert_same_weights, exit_code, job, write_pairs

import seq2seq
from seq2seq.app import options as options_module
from seq2seq.app import prepare as prepare_module
from seq2seq.app.commands.train import options_from
from seq2seq.app.prepare import prepare, run_folder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.training import Checkpoints, FolderLock, JsonLog, Updated
from seq2seq.training.events import to_json

# The run's folder.


def test_a_run_holds_everything(trained):
    assert {path.name for path in trained.iterdir()} >= {"config.toml", "model.npz", "checkpoints", "log.jsonl"}
    events = [json.loads(line)["event"] for line in (trained / "log.jsonl").read_text().splitlines()]
    assert events == ["started", "saved", *["updated"] * LAST, "evaluated", "saved", "stopped"]
    config = tomllib.loads((trained / "config.toml").read_text())
    assert config["metric"] == "wer_percent" and config["evaluate_every"] == 200 and config["batch_tokens"] > 1
    assert config["source_tokens"] == config["target_tokens"] == "character"
    assert config["model"]["cell"] == "lstm" and config["model"]["hidden"] == 8
    assert config["optimizer"]["learning_rate"] == 0.001


def test_its_configuration_gives_the_same_run_again(trained):
    again = options_from(["--config", str(trained / "config.toml")])
    assert again.toml() == (trained / "config.toml").read_text()
    again_here = options_from(["--config", str(trained / "config.toml"), "--out", "again"])
    with run_folder(again_here):
        made = prepare(again_here)
    assert made.options.toml() == again.toml().replace(f'"{trained}"', '"again"')


def test_a_folder_in_use_is_left_alone(fails, trained):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    message = fails("train", trained.parent / "pairs.tsv", "--out", trained, *TINY, "--seed", 2)
    assert "holds a run already" in message and "--resume" in message
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


class _Impatient:
    """Presses Ctrl-C after the second update."""

    def __init__(self, *_):
        pass

    def __call__(self, event):
        if isinstance(event, Updated) and event.update == 2:
            signal.raise_signal(signal.SIGINT)

    def sync(self):
        pass


def test_interrupted_and_resumed_is_uninterrupted(run, fails, trained, tmp_path, monkeypatch):
    home = trained.parent
    words = ("train", home / "pairs.tsv", "--dev", home / "dev.tsv", "--out", "run", *TINY, "--updates", LAST)
    with monkeypatch.context() as patch:
        patch.setattr("seq2seq.app.train.JsonLog", _Impatient)
        ran = run(*words)
    assert ran.code == 130
    assert "everything is saved" in ran.err and "seq2seq train --resume --out run" in ran.err
    assert (tmp_path / "run" / "model.npz").exists()
    ran = run("train", "--resume", "--out", "run")
    assert ran.code == 0 and "resumed at update" in ran.err
    assert_same_weights(tmp_path / "run", trained)
    config = (tmp_path / "run" / "config.toml").read_text()
    assert "this is not the run that was saved" in fails("train", "--resume", "--out", "run", "--seed", 2)
    assert (tmp_path / "run" / "config.toml").read_text() == config


@pytest.mark.parametrize("dev", [True, False])
def test_pairs_that_memory_does_not_hold_train_the_same_model(run, trained, tmp_path, monkeypatch, dev):
    home = trained.parent
    words = ("train", home / "pairs.tsv", *(("--dev", home / "dev.tsv") if dev else ()), *TINY, "--deduplicate")
    assert run(*words, "--out", "held", "--updates", LAST).code == 0
    monkeypatch.setattr("seq2seq.data.spool.MOST_CHARACTERS", 100)
    ran = run(*words, "--out", "spooled", "--updates", LAST - 1)
    assert ran.code == 0 and "where memory need not hold them" in ran.err
    files = [tmp_path / "spooled" / "data" / name for name in ("pairs", "source.npy", "target_offsets.npy")]
    before = [file.stat().st_mtime_ns for file in files]
    assert run("train", "--resume", "--out", "spooled", "--updates", LAST).code == 0
    assert before == [file.stat().st_mtime_ns for file in files]  # nothing was read or tokenised again
    assert_same_weights(tmp_path / "spooled", tmp_path / "held")


def test_more_updates_go_on_with_the_same_run(run, trained, tmp_path):
    home = trained.parent
    words = ("train", home / "pairs.tsv", "--dev", home / "dev.tsv", *TINY)
    assert run(*words, "--out", "run", "--updates", LAST - 1).code == 0
    assert run("train", "--resume", "--out=run", "--updates", LAST).code == 0
    assert_same_weights(tmp_path / "run", trained)


@pytest.mark.parametrize("gone", [True, False])
def test_a_best_model_that_is_lost_is_told_and_made_again(run, trained, gone):
    shutil.copytree(trained, "run")
    path = Path("run/model.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if gone else path.write_bytes(content)
    ran = run("train", "--resume", "--out", "run")
    told = "is gone" if gone else "is set aside as model.npz.bad"
    assert ran.code == 0 and "warning: model.npz: " in ran.err and told in ran.err
    assert f"Wrote {path}." in ran.err
    assert gone or Path("run/model.npz.bad").read_bytes() == content
    assert seq2seq.load("run").provenance["scores"] == pytest.approx(seq2seq.load(trained).provenance["scores"])
    ran = run("train", "--resume", "--out", "run")
    assert ran.code == 0 and "warning" not in ran.err and "Wrote" not in ran.err
    assert f"{path} stays as it was" in ran.err


def test_a_log_is_on_the_disk_before_the_checkpoint_that_rests_on_it(run, monkeypatch):
    """Before each checkpoint the log was made durable since its last line."""
    said, checkpoints = [], []

    class Watched(JsonLog):
        def _write(self, event):
            super()._write(event)
            said.append(to_json(event)["event"])

        def sync(self):
            super().sync()
            said.append("sync")

    def save(self, snapshot):
        told = [what for what in said if what in ("sync", "updated", "evaluated")]
        checkpoints.append(not told or told[-1] == "sync")
        return saved(self, snapshot)

    saved = Checkpoints.save
    monkeypatch.setattr("seq2seq.app.train.JsonLog", Watched)
    monkeypatch.setattr(Checkpoints, "save", save)
    words = ("train", write_pairs(Path("pairs.tsv")), "--out", "run", *TINY, "--updates", 2)
    assert run(*words).code == 0
    assert "evaluated" in said and checkpoints == [True, True]


def test_fine_tuning_begins_with_the_model(run, fails, trained, tmp_path):
    pairs = write_pairs(tmp_path / "pairs.tsv")
    words = ("train", pairs, "--out", "tuned", "--from", trained, "--updates", 1, "--dev", trained.parent / "dev.tsv")
    assert run(*words, "--optimizer.learning-rate", 1e-9).code == 0
    before, after = seq2seq.load(trained), seq2seq.load("tuned")
    assert before.score([("abc", "cba")]) == pytest.approx(after.score([("abc", "cba")]), abs=1e-4)
    assert before.target_tokenizer.to_json() == after.target_tokenizer.to_json()
    assert "hidden = 8" in run("inspect", "tuned").out  # what the model is, not a default
    (tmp_path / "short.tsv").write_text("ab\tba\ncd\tdc\n")
    shorter = ("train", "short.tsv", "--dev", "short.tsv", "--from", trained, "--updates", 1, "--out", "shorter")
    assert run(*shorter).code == 0
    assert seq2seq.load("shorter").settings == before.settings  # and what it had seen
    assert run("train", "--resume", "--out", "tuned", "--updates", 2).code == 0
    for others in (words, ("train", "--resume", "--out", "tuned")):
        said = fails(*others, "--model.hidden", 16)
        assert "--model.hidden does not go with --from" in said and "only --model.dropout, " in said


def test_a_model_may_be_fine_tuned_with_another_dropout(run, fails, trained, tmp_path):
    pairs, home = write_pairs(tmp_path / "pairs.tsv"), trained.parent
    words = ("train", pairs, "--dev", home / "dev.tsv", "--from", trained, "--updates", 1)
    told = ("--model.dropout", 0.1, "--model.variational", "--model.token-dropout", 0.2)
    assert "model.dropout is 1.5" in fails(*words, "--out", "other", "--model.dropout", 1.5)
    assert run(*words, "--out", "tuned", *told).code == 0
    model = seq2seq.load("tuned").model
    assert (model.dropout, model.variational, model.label_smoothing) == (0.1, True, 0.1)
    assert model.token_dropout == 0.2
    found = run("inspect", "tuned").out
    assert "dropout = 0.1" in found and "hidden = 8" in found
    assert run("train", "--resume", "--out", "tuned", "--updates", 2).code == 0
    assert seq2seq.load("tuned").model.dropout == 0.1
    assert "from was a model of" in fails("train", "--resume", "--out", "tuned", "--model.dropout", 0.2)
    # The whole configuration of a run goes with another --from: what the model is is left aside.
    assert run(*words, "--out", "again", "--config", "tuned/config.toml", "--no-resume").code == 0
    assert seq2seq.load("again").model.dropout == 0.1


def test_a_fine_tuned_run_goes_on_from_another_folder_but_not_with_another_model(run, fails, trained, tmp_path):
    pairs, base, other = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "base.npz", tmp_path / "other.npz"
    model = seq2seq.load(trained)
    model.save(base)
    model.with_model(replace(model.model, encoder=replace(model.model.encoder, residual=True))).save(other)
    assert run("train", pairs, "--out", "tuned", "--from", "base.npz", "--updates", 1).code == 0
    (tmp_path / "sub").mkdir()
    os.chdir("sub")
    words = ("train", "../pairs.tsv", "--resume", "--out", "../tuned", "--updates", 2)
    told = fails(*words)
    assert "base.npz: no such file" in told and "with this one's model, --from ../tuned" in told
    assert "from was a model of SHA-256" in fails(*words, "--from", other)
    assert run(*words, "--from", "../base.npz").code == 0


def test_a_run_goes_on_when_nobody_reads_what_it_says(trained, tmp_path, monkeypatch):
    """`train ... 2>&1 | head`."""
    read, write = os.pipe()
    os.close(read)
    words = ("train", trained.parent / "pairs.tsv", "--dev", trained.parent / "dev.tsv", "--out", "run", *TINY)
    with open(write, "w") as unread:
        monkeypatch.setattr(sys, "stderr", unread)
        assert exit_code([*words, "--updates", LAST]) == 0
        assert sys.stderr is unread
    assert_same_weights(tmp_path / "run", trained)
    assert '"stopped"' in (tmp_path / "run" / "log.jsonl").read_text() and (tmp_path / "run" / "model.npz").exists()


def test_what_is_cleaned_away_is_our_own(fails, tmp_path):
    for name in (".mine.tmp", ".notes.2024.tmp", ".model.npz.17.tmp"):
        (tmp_path / name).touch()
    assert "no such file" in fails("train", "nosuch.tsv", "--out", ".")
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".mine.tmp", ".notes.2024.tmp"]


# Formats and the report. Nothing is trained.


def test_auto_stands_for_a_score_that_the_model_has(tmp_path):
    write_pairs(tmp_path / "pairs.tsv")
    assert job("pairs.tsv").options.metric == "wer_percent"
    assert job("pairs.tsv", "--target-tokens", "word").options.metric == "bleu"


# Options that cannot be used: exit code 2 and a line that helps.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--out is missing"),
        (["--out", "run"], "give files of pairs"),
        (["--out", "run", "--dev", "pairs.tsv"], "write PAIRS before it"),
        (["pairs.tsv", "--out", "pairs.tsv"], "cannot be made"),
        (["pairs.tsv", "--out", "run", "--preset", "fst"], "did you mean fast?"),
        (["pairs.tsv", "--out", "run", "--config", "none.toml"], "none.toml: No such file"),
        (["--resume", "--out", "run"], "there is no run/config.toml"),
        (["--resume"], "--out must name the folder of a run"),
        (["pairs.tsv", "--out", "run", "--metric", "wer_percnt"], "did you mean wer_percent"),
        (["pairs.tsv", "--out", "run", "--from", "none"], "none: no such file"),
        (["pairs.tsv", "--out", "run", "--dev", "none"], "none: no such file"),
        (["pairs.tsv", "--out", "run", "--max-length", "1"], "more than 1 tokens"),
        (["pairs.tsv", "--out", "run", "--source-tokens", "bpe", "--vocabulary", "9"], "too small"),
        (["pairs.tsv", "--out", "run", "--source", "pairs.tsv"], "give both"),
        (["pairs.tsv", "--out", "run", "--optimizer.freeze", "encodr"], "did you mean encoder"),
        (["pairs.tsv", "--out", "run", "--model.type", "transformer"], "known are"),
    ],
)
def test_what_cannot_be_trained(fails, tmp_path, monkeypatch, words, message):
    write_pairs(tmp_path / "pairs.tsv")
    (tmp_path / "fast.toml").write_text("")
    monkeypatch.setattr(options_module, "PRESETS", tmp_path)
    assert message in fails("train", *words, *(() if "--from" in words else TINY))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.hiden", "3"], "--model.hidden"),
        (["--updates", "many"], "--updates"),
        (["--updates"], "--updates"),
        (["--updates", "0"], "wanted 1 or more"),
        (["--seed", "-1"], "--seed is -1"),
        (["--threads", "0"], "--threads is 0"),
        (["--batch-tokens", "0"], "--batch-tokens is 0"),
        (["--model.cell", "grru"], "did you mean gru?"),
        (["--model.hidden", "7"], "even number"),
        (["--optimizer.scale", "encoder"], "NAME=FACTOR"),
        (["--format", "csv"], "csv"),
        (["--from", "m\udcff"], "is not UTF-8"),
    ],
)
def test_wrong_options(run, words, message):
    ran = run("train", "pairs.tsv", "--out", "run", *words)
    assert ran.code == 2 and ran.out == ""
    assert message in " ".join(ran.err.split()) and "Traceback" not in ran.err and "NoneType" not in ran.err


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("updtes = 3", "my.toml: no option is called updtes; did you mean updates"),
        ("updates = '3'", "my.toml: updates is '3'; wanted a whole number."),
        ("updates = 0", "my.toml: --updates is 0"),
        ("skip_bad = 1", "wanted true or false"),
        ("optimizer = 3", "wanted a table"),
        ("[optimizer]\nclip = 'x'", "my.toml: optimizer: clip is 'x'; wanted a number."),
        ("[optimizer]\nfreeze = 'encoder'", "wanted a list"),
        ("[model]\ncell = 'grru'", "my.toml: model: cell: 'grru' is no cell"),
        ("[model]\nhidden = 7", "my.toml: model: model.hidden is 7"),
        ("split = 'word'", "split is 'word'"),
        ("updates = ", "my.toml: not TOML"),
        ("\udcff", "my.toml: not TOML"),
    ],
)
def test_wrong_toml(fails, tmp_path, toml, message):
    (tmp_path / "my.toml").write_text(toml, "utf-8", "surrogateescape")
    assert message in fails("train", "pairs.tsv", "--out", "run", "--config", "my.toml")


def test_the_command_line_goes_before_the_toml_before_the_preset(tmp_path, monkeypatch):
    (tmp_path / "fast.toml").write_text("updates = 1\nepochs = 1\nseed = 7\n[model]\nhidden = 4\n")
    (tmp_path / "my.toml").write_text("epochs = 2\nseed = 8\n")
    monkeypatch.setattr(options_module, "PRESETS", tmp_path)
    made = options_from(["p.tsv", "--preset", "fast", "--config", "my.toml", "--seed", "9", "--patience", "None"])
    assert (made.updates, made.epochs, made.seed, made.model.hidden, made.patience) == (None, 2, 9, 4, None)
    assert options_from(["p.tsv", "--preset", "fast"]).updates == 1  # which come before so many epochs


def test_help_reads_well(run):
    for command in ("train", "generate", "score", "evaluate", "embed", "inspect", "demo"):
        ran = run(command, "--help")
        assert ran.code == 0 and ran.err == ""
        for noise in ("{None}", "[STR", "pyright", "noqa", "Annotated"):
            assert noise not in ran.out
    for words in ((), ("--help",), ("-h",)):
        assert "seq2seq train pairs.tsv --out run" in run(*words).out
    assert run("--version").out.strip()
    assert "did you mean generate?" in run("genrate").err
    assert run("genrate").code == run("generate").code == 2


@pytest.mark.parametrize("change", [["--batch-tokens", "50"], ["--dev", "other.tsv"]])
def test_a_resume_of_another_run_is_refused(fails, trained, change):
    shutil.copytree(trained, "run")
    write_pairs(Path("other.tsv"), 5)
    assert "this is not the run that was saved" in fails("train", "--resume", "--out", "run", *change)


def test_a_model_without_checkpoints_is_not_overwritten(fails, trained):
    Path("run").mkdir()
    shutil.copy(trained / "model.npz", "run")
    assert "holds a run already" in fails("train", write_pairs(Path("pairs.tsv")), "--out", "run")


def test_sources_as_long_as_max_line_allows_are_measured_on_too(run):
    line = " ".join(["abcdefghijklmnopqrstuvwxyz" * 30] * 30)
    Path("long.tsv").write_text(f"{line}\ta b\n{line} b\tb a\n")
    words = ["long.tsv", "--dev", "long.tsv", "--out", "run", "--max-line", 100_000, "--updates", 1]
    ran = run("train", *words, "--source-tokens", "word", "--target-tokens", "word", *TINY)
    assert ran.code == 0 and Path("run/model.npz").exists()


def test_a_folder_in_which_somebody_trains_is_refused(fails, trained, tmp_path):
    with FolderLock(tmp_path / "busy"):
        said = fails("train", trained.parent / "pairs.tsv", "--out", tmp_path / "busy", *TINY, "--updates", 1)
        assert re.search(r"busy: process \d+, since .* is training here; wait for it", said)
    assert [path.name for path in (tmp_path / "busy").iterdir()] == ["lock"]


def test_a_run_whose_folder_is_removed_does_not_write_into_the_next(fails, monkeypatch):
    class Removing(_Impatient):
        def __call__(self, event):
            if isinstance(event, Updated) and event.update == 2:
                shutil.rmtree("run")

    monkeypatch.setattr("seq2seq.app.train.JsonLog", Removing)
    words = ("train", write_pairs(Path("pairs.tsv")), "--out", "run", *TINY, "--updates", 3)
    assert fails(*words).startswith("run: the folder, or the lock in it, was moved or removed while")
    assert not Path("run").exists()


def test_what_a_killed_run_left_half_written_is_removed_and_a_damaged_tokenizer_is_named(run, fails, trained):
    shutil.copytree(trained, "run")
    Path("run/.model.npz.123.tmp").write_bytes(b"half")
    assert run("train", "--resume", "--out", "run", "--updates", LAST + 1).code == 0
    assert not Path("run/.model.npz.123.tmp").exists()
    Path("run/source_tokenizer.json").write_bytes(b"\xff")
    assert fails("train", "--resume", "--out", "run", "--updates", 9).startswith("run/source_tokenizer.json: ")


def test_fresh_parameters_are_those_of_the_seed(trained):
    made = job(trained.parent / "pairs.tsv", "--seed", 3)
    tokenizers = made.text_model.source_tokenizer, made.text_model.target_tokenizer
    fresh = prepare_module._fresh.__wrapped__  # where the tests keep what it made
    once, again = (fresh(EncoderDecoder, made.options, *tokenizers) for _ in range(2))
    other = fresh(EncoderDecoder, replace(made.options, seed=4), *tokenizers)
    for a, b, c in zip(*map(jax.tree.leaves, (once, again, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == c.shape and ((a != c).any() or not a.any() or (a == 1).any())
