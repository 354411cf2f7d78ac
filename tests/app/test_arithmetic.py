"""--precision and --int8, from the command line and from Python."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, write_pairs

import seq2seq
from seq2seq import Decoding, PreparedModel
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.core.archive import read
from seq2seq.core.precision import resolve

INPUT = b"abc\nfed\n"


def test_a_run_in_bfloat16_is_recorded_and_its_archive_is_float32(run, fails, tmp_path):
    plain = ("--model.cell", "elman", "--model.attention", "none", "--model.no-bidirectional")
    words = ("train", write_pairs(tmp_path / "pairs.tsv"), "--out", "run", *TINY, *plain, "--precision", "bfloat16")
    assert run(*words, "--updates", 2).code == 0
    assert tomllib.loads(Path("run/config.toml").read_text())["precision"] == "bfloat16"
    assert {array.dtype for array in read("run/model.npz").arrays.values()} == {np.dtype(np.float32)}
    other = fails("train", "--resume", "--out", "run", "--updates", 3, "--precision", "float32")
    assert "training.precision was bfloat16 and is now float32" in other
    assert run("train", "--resume", "--out", "run", "--updates", 3).code == 0


def test_auto_is_recorded_as_what_it_is(trained):
    assert tomllib.loads((trained / "config.toml").read_text())["precision"] == resolve("auto")


@pytest.mark.parametrize("options", [["--int8"], ["--precision", "bfloat16"]])
def test_the_command_line_gives_what_python_gives(run, trained, options):
    decoding = Decoding(int8=True) if "--int8" in options else Decoding(precision="bfloat16")
    model = seq2seq.load(trained)
    assert run("generate", trained, *options, stdin=INPUT).out.splitlines() == model.generate(["abc", "fed"], decoding)
    pairs = write_pairs(Path("pairs.tsv"), 5)
    texts = [tuple(line.split("\t")) for line in pairs.read_text().splitlines()]
    found = [float(line) for line in run("score", trained, pairs, *options).out.splitlines()]
    near, plain = model.score(texts, decoding), model.score(texts, Arithmetic("float32"))
    assert found == pytest.approx(near, rel=1e-6) and near == pytest.approx(plain, rel=0.02)
    assert near != plain


def test_a_loss_is_measured_in_the_precision_and_not_in_8_bits(run, trained):
    def loss(*options: str) -> float:
        ran = run("evaluate", trained, write_pairs(Path("pairs.tsv"), 5), "--beam", 1, "--json", *options)
        return json.loads(ran.out)["loss_nats_per_token"]

    plain = loss("--precision", "float32")
    assert loss("--precision", "float32", "--int8") == plain
    rounded = loss("--precision", "bfloat16")
    assert rounded != plain and math.isclose(rounded, plain, rel_tol=0.02)


def test_weights_are_made_ready_once(trained, monkeypatch):
    made, of = [], PreparedModel.of
    monkeypatch.setattr(PreparedModel, "of", lambda *args: made.append(args) or of(*args))
    model = seq2seq.load(trained)
    for beam in (1, 2, 1):
        model.generate(["abc"], Decoding(beam=beam, int8=True))
    assert len(made) == 1
    model.generate(["abc"] * 1000, Decoding(beam=1, int8=True))
    assert len(made) == 1  # many lines get the numbers that one gets


def test_another_precision_is_an_error(run, trained):
    for command in ("generate", "evaluate", "score", "train"):
        ran = run(command, trained, "--precision", "float16")
        assert ran.code == 2 and "float32" in ran.err
