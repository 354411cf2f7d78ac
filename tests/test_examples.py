"""The examples do what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq2seq import scan
from seq2seq.app.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_next_sentence_learns_its_rhyme_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = load("next_sentence")
    assert example.main() == example.RHYME.splitlines()[1:]


def test_my_cell_is_scanned_literally() -> None:
    cell = load("my_cell").MinimalGRU.init(jax.random.key(0), 3, 5)
    xs = jax.random.normal(jax.random.key(1), (7, 2, 3))
    state, ys = jax.lax.scan(cell.step, cell.initial_state(2), xs)
    ours, zs = scan(cell.step, cell.initial_state(2), xs)
    np.testing.assert_allclose(state, ours, atol=1e-6)
    np.testing.assert_allclose(ys, zs, atol=1e-6)
    assert jnp.isfinite(ys).all()


def test_my_cell_trains_and_generates_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, run = tmp_path / "pairs.tsv", tmp_path / "run"
    pairs.write_text("".join(f"{a}{b}\t{b} {a}\n" for a in "abcdef" for b in "ghijkl"), "utf-8")
    cell = f"{EXAMPLES / 'my_cell.py'}:MinimalGRU"
    small = ["--model.hidden", "8", "--model.embedding", "8"]
    assert main(["train", str(pairs), "--out", str(run), "--updates", "2", "--model.cell", cell, *small]) == 0
    (tmp_path / "input").write_text("ag\nbh\n", "utf-8")
    capsys.readouterr()
    assert main(["generate", str(run), str(tmp_path / "input"), "--types", cell]) == 0
    assert capsys.readouterr().out.count("\n") == 2
    assert main(["generate", str(run), str(tmp_path / "input")]) == 2
    assert "--types" in capsys.readouterr().err


def test_my_attention_trains_goes_on_and_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("".join(f"{a}{b}\t{b} {a}\n" for a in "abcdef" for b in "ghijkl"), "utf-8")
    attention = f"{EXAMPLES / 'my_attention.py'}:Cosine"
    small = ["--model.hidden", "8", "--model.embedding", "8", "--model.attention", attention]
    assert main(["train", "pairs.tsv", "--out", "run", "--updates", "2", *small]) == 0
    assert "my_attention.py:Cosine" in Path("run/config.toml").read_text()
    assert main(["train", "--resume", "--out", "run", "--updates", "3"]) == 0
    capsys.readouterr()
    assert main(["plot", "run", "--attention", "ag", "--types", attention]) == 0
    assert main(["score", "run", "pairs.tsv", "--alignments", "--types", attention]) == 0
    assert main(["generate", "run", "pairs.tsv"]) == 2
    assert "--types" in capsys.readouterr().err
    cell = f"{EXAMPLES / 'my_cell.py'}:MinimalGRU"
    assert main(["train", "pairs.tsv", "--out", "other", "--model.attention", cell]) == 2
    assert "no attention" in capsys.readouterr().err
    assert main(["train", "pairs.tsv", "--out", "other", "--model.attention", "aditive"]) == 2
    assert "did you mean additive?" in " ".join(capsys.readouterr().err.replace("│", " ").split())  # in a box
