"""A resume names what changed: options and files, rather than the hash of what they made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_line import TINY

from seq2seq.app.evaluation import Evaluation
from seq2seq.app.fingerprint import RunFingerprint, _what_is_in
from seq2seq.app.text_model import TextModel
from seq2seq.core.archive import Archive, read, write
from seq2seq.errors import ResumeError
from seq2seq.training import Fingerprint


def change_of(message: str) -> list[str]:
    """What a resume says has changed."""
    head, tail = "this is not the run that was saved: ", "; resume with what the run began with, or begin a new run."
    assert message.startswith(head) and message.endswith(tail)
    return message.removeprefix(head).removesuffix(tail).split("; ")


@pytest.fixture
def begun(run, trained) -> Path:
    """A run of one update in `run`, on `pairs.tsv` of this folder, some of it held out."""
    shutil.copy(trained.parent / "pairs.tsv", "pairs.tsv")
    pairs = Path("pairs.tsv")
    pairs.write_text(pairs.read_text() + f"{'a' * 9}\tb\nb\t{'a' * 9}\nno tab\n")
    assert run("train", "pairs.tsv", "--out", "run", *TINY, "--skip-bad", "--updates", 1).code == 0
    return pairs


def resumed(fails, *words: object) -> list[str]:
    return change_of(fails("train", "--resume", "--out", "run", "--updates", 2, *words))


def test_options_are_named_and_not_what_they_made(fails, begun):
    assert resumed(fails, "--max-length", 4) == ["reading.max_length was 1000 and is now 4"]
    assert resumed(fails, "--max-ratio", 2) == ["reading.max_ratio was None and is now 2.0"]
    seed, *rest = resumed(fails, "--seed", 2)
    assert (seed, rest) == ("training.seed was 1 and is now 2", [])


def test_an_edited_line_names_its_file(fails, begun):
    text = begun.read_text()
    begun.write_text(text.replace("abc\tcba", "abc\tcbb"))
    (change,) = resumed(fails)
    assert change.startswith("reading.pairs was pairs.tsv (43 lines, SHA-256 ")
    assert " and is now pairs.tsv (43 lines, SHA-256 " in change
    begun.write_text(f"{text}fff\tfff\n")
    changes = resumed(fails)
    assert changes[0].startswith("reading.pairs was pairs.tsv (43 lines") and "now pairs.tsv (44 lines" in changes[0]
    assert "reading.pairs to train on was 38 and is now 39" in changes
    Path("dev.tsv").write_text("fab\tbaf\n")
    begun.write_text(text)
    changes = resumed(fails, "--dev", "dev.tsv")
    assert any(change.startswith("reading.dev was absent and is now dev.tsv (1 lines") for change in changes)


def test_what_makes_no_other_ids_is_no_other_run(run, begun):
    begun.rename("renamed.tsv")
    with Path("renamed.tsv").open("a") as file:
        file.write("another bad line\n")
    words = ("--max-length", 500, "--max-ratio", 100)
    assert run("train", "renamed.tsv", "--resume", "--out", "run", "--updates", 2, *words).code == 0


def test_a_run_of_an_older_version_goes_on(run, fails, begun):
    for path in Path("run/checkpoints").iterdir():
        found = read(path)
        newer = ("reading.", "model.output_rank")
        content = {name: value for name, value in found.header["content"].items() if not name.startswith(newer)}
        assert len(content) < len(found.header["content"])
        write(path, Archive(found.arrays, {**found.header, "content": content}, found.texts))
    changes = resumed(fails, "--max-length", 4)
    assert changes and all(change.startswith(("data was", "dev data was")) for change in changes)
    assert run("train", "--resume", "--out", "run", "--updates", 2).code == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_is_not_read_again(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert _what_is_in(tmp_path / "pipe") == "pipe (no file that could be read twice)"


def test_ids_that_nothing_explains_are_told_as_they_are():
    old = {"data": "a", "dev data": "b", "reading.split": "line", "model.hidden": "8"}
    with pytest.raises(ResumeError, match=r"saved: data was a and is now c; resume"):
        RunFingerprint(old | {"data": "c"}).check(Fingerprint(old))
    with pytest.raises(ResumeError, match=r"saved: model.hidden was 8 and is now 9; resume"):
        RunFingerprint(old | {"model.hidden": "9", "reading.split": "clause"}).check(Fingerprint(old))


def test_dev_pairs_of_unknown_letters_are_told_apart(trained):
    model = TextModel.load(trained)

    def of(*targets: str) -> str:
        return Evaluation(model, [("abc", target) for target in targets]).fingerprint

    assert model.dataset([("abc", "xb")]).fingerprint == model.dataset([("abc", "yb")]).fingerprint
    assert of("xb") != of("yb") and of("xb") == of("xb")
    assert of("cb") == model.dataset([("abc", "cb")]).fingerprint
