"""What the documents tell a reader to write and to run works as they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq2seq.app.cli import main
from seq2seq.app.commands.distill import DistillOptions
from seq2seq.app.commands.train import options_from
from seq2seq.app.options import TrainOptions
from seq2seq.data import Batch

ROOT = Path(__file__).parents[1]


def blocks(document: str, language: str) -> list[str]:
    """The code blocks of a document, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)


def block_with(document: str, word: str) -> str:
    (found,) = [block for block in blocks(document, "python") if word in block]
    return found


def pairs_file(folder: Path) -> Path:
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{a}{b}\t{b} {a}\n" for a in "abcdef" for b in "ghijkl"), "utf-8")
    (folder / "input.txt").write_text("ag\n\nbh\n", "utf-8")
    return path


def test_the_gesture_of_the_readme_runs() -> None:
    names: dict[str, object] = {"__name__": "gesture"}
    sys.modules["gesture"] = type(sys)("gesture")
    exec(block_with("README.md", "class NextSentence"), names)
    model = names["NextSentence"].init(jax.random.key(0), 12, 8)  # pyright: ignore
    ids = np.full((4, 2), 5, np.int32)
    batch = Batch(ids, np.full(2, 4, np.int32), ids, ids, np.ones((4, 2), np.float32))
    before = model.loss(batch).mean
    for _ in range(5):
        model = names["update"](model, batch, jax.random.key(1), 0.5)  # pyright: ignore
    assert model.loss(batch).mean < before - 1.0


@pytest.mark.parametrize(
    ("word", "file", "options"),
    [
        ("class Leaky", "my_cell.py:Leaky", ["--model.cell", "my_cell.py:Leaky", "--model.embedding", "8"]),
        ("class Tiny", "my_model.py:Tiny", ["--model.type", "my_model.py:Tiny"]),
    ],
)
def test_code_of_the_readme_trains_and_generates(
    word: str,
    file: str,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs_file(tmp_path)
    Path(file.partition(":")[0]).write_text(block_with("README.md", word), "utf-8")
    train = ["train", "pairs.tsv", "--out", "run", "--updates", "2", "--model.hidden", "8", *options]
    assert main(train) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["generate", "run", "input.txt", "--types", file]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 4 and lines[1] == ""
    assert main(["generate", "run", "input.txt", "--trust-code"]) == 0
    assert capsys.readouterr().out.split("\n") == lines
    assert main(["generate", "run", "input.txt"]) == 2
    assert file.partition(":")[2] in capsys.readouterr().err


def test_training_in_python_as_the_guide_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs_file(tmp_path)
    block = block_with("docs/guide.md", "seq2seq.training import")
    exec(block.replace("hidden=256", "hidden=8").replace("updates=300", "updates=2"), {})
    assert "Stopped(update=2" in capsys.readouterr().out
    assert main(["generate", "mine/model.npz", "input.txt"]) == 0
    assert capsys.readouterr().out.count("\n") == 3


def test_the_guides_students_have_their_teachers() -> None:
    (block,) = [block for block in blocks("docs/guide.md", "sh") if "distill" in block]
    made: set[str] = set()
    for command, *words in (shlex.split(line, comments=True)[1:] for line in block.splitlines()):
        if command == "generate":
            assert {words[0], words[1]} <= made and words[2:] == ["input.txt"]
            continue
        kind = DistillOptions if command == "distill" else TrainOptions
        options = options_from(words, kind, command)
        assert options.dev == ("dev.tsv",) and options.out not in made
        assert set(getattr(options, "teacher", ())) <= made and options.pairs == ("pairs.tsv",)
        made.add(options.out)
    assert made == {"one", "two", "student", "wider", "again"}


def test_the_commands_of_the_tutorial_run(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (python,) = blocks("docs/tutorial.md", "python")
    subprocess.run([sys.executable, "-c", python], cwd=tmp_path, check=True)
    script = "\n".join(blocks("docs/tutorial.md", "sh"))
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[0] == "seven hundred forty two"
    scores = np.array((tmp_path / "scores.txt").read_text().split(), float)
    assert scores.shape == (91,) and jnp.all(scores < 0)
