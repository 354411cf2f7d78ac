"""`seq2seq demo`: a small corpus in the place of those that come along."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import words

from seq2seq.app.commands import demo
from seq2seq.data import Corpus, Pair, hold_out
from seq2seq.models.config import EncoderDecoderConfig


@pytest.fixture(autouse=True)
def small(monkeypatch):
    pairs = [Pair(word, " ".join(word), ("Ruth", "Mark")[n > 9]) for n, word in enumerate(words(60))]
    monkeypatch.setattr(demo, "kjv_pairs", lambda: hold_out(Corpus(pairs), documents=["Ruth"]))
    monkeypatch.setattr(demo, "cmudict", lambda: [Pair(source, target) for source, target, _ in pairs])
    tiny = {"hidden": 8, "embedding": 4}
    monkeypatch.setattr(demo, "EncoderDecoderConfig", lambda **how: EncoderDecoderConfig(**how | tiny))


@pytest.mark.parametrize(
    ("name", "said"), [("kjv", "So the source is worth"), ("g2p", "Words that were not in the training data")]
)
def test_it_trains_shows_and_says_what_to_try(run, name, said):
    ran = run("demo", name, "--minutes", 0.001)
    assert ran.code == 0 and said in ran.out and f"serve demo-{name}" in ran.out
    folder = Path(f"demo-{name}")
    both = [(folder / f"{split}.tsv").read_text().splitlines() for split in ("train", "dev")]
    train, dev = ({line.split("\t")[0] for line in lines} for lines in both)
    assert train and dev and not train & dev
    assert (folder / "model.npz").exists() and demo._free(folder) == Path(f"demo-{name}-2")


def test_a_file_of_the_users_stays(run):
    Path("mine").mkdir()
    Path("mine/train.tsv").write_text("mine\n")
    ran = run("demo", "kjv", "--out", "mine")
    assert ran.code == 2 and "train.tsv: is there already, and no run wrote it" in ran.err
    assert Path("mine/train.tsv").read_text() == "mine\n"
