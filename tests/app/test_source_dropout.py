"""`train` with sources, targets and pieces dropped: in training alone, resumed bit for bit, refused if they differ."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import LAST, TINY, assert_same_weights, job

from seq2seq.data import Batches, Dropping

RATES = ("--source-dropout", 0.5, "--target-dropout", 0.3)


CUTS = ("--source-tokens", "bpe", "--vocabulary", 270, "--piece-dropout", 0.5)


@pytest.mark.parametrize(("options", "other"), [(RATES, "--source-dropout"), (CUTS, "--piece-dropout")])
def test_a_resumed_run_leaves_out_the_same(run, fails, trained, tmp_path, options, other):
    home = trained.parent
    words = ("train", home / "pairs.tsv", "--dev", home / "dev.tsv", *TINY, *options)
    assert run(*words, "--out", "whole", "--updates", LAST).code == 0
    assert run(*words, "--out", "run", "--updates", LAST - 1).code == 0
    assert run("train", "--resume", "--out", "run", "--updates", LAST).code == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    again = ("train", "--resume", "--out", "run", "--updates", LAST + 1)
    assert "this is not the run that was saved" in fails(*again, other, 0.4)


def test_a_run_is_measured_on_whole_pairs(trained):
    words = (trained.parent / "pairs.tsv", "--dev", trained.parent / "dev.tsv")
    made, plain = job(*words, *RATES), job(*words)
    assert made.batches.dropping == Dropping(0.5, 0.3) and plain.batches.dropping == Dropping()
    assert made.evaluation.fingerprint == plain.evaluation.fingerprint
    assert made.evaluation(plain.text_model.model) == plain.evaluation(plain.text_model.model)
    whole = Batches(plain.batches.dataset, tokens=plain.batches.tokens, seed=plain.batches.seed)
    for one, other, dropped in zip(plain.batches.epoch(0), whole.epoch(0), made.batches.epoch(0), strict=True):
        assert all(map(np.array_equal, one, other)) and not all(map(np.array_equal, one, dropped))


def test_what_is_no_probability(run):
    ran = run("train", "pairs.tsv", "--out", "run", "--source-dropout", 1)
    assert ran.code == 2 and "--source-dropout is 1.0; wanted" in ran.err
    ran = run("train", "pairs.tsv", "--out", "run", "--piece-dropout", 1)
    assert ran.code == 2 and "--piece-dropout is 1.0; wanted" in ran.err


def test_pieces_are_cut_in_training_alone_and_batches_have_as_many_pairs(trained):
    words = (trained.parent / "pairs.tsv", "--dev", trained.parent / "dev.tsv", *CUTS[:-2], "--target-tokens", "bpe")
    cut, plain = job(*words, "--piece-dropout", 0.5), job(*words)
    assert plain.batches.pieces is None and cut.batches.pieces.rate == 0.5
    assert cut.options.batch_tokens > plain.options.batch_tokens
    assert cut.evaluation.fingerprint == plain.evaluation.fingerprint


def test_letters_have_no_merges_to_undo(fails, trained):
    told = fails("train", trained.parent / "pairs.tsv", "--out", "run", "--piece-dropout", 0.1, *TINY)
    assert "undoes the merges of bpe; here sources are character and targets character" in told
