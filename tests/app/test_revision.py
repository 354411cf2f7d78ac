"""The git revision is part of a run's story where there is one, and nobody misses it elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import TINY, write_pairs

import seq2seq
from seq2seq.app import revision as module
from seq2seq.app.revision import own_revision, revision
from seq2seq.core.archive import read

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not there")


def git(*words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()


def commit() -> str:
    git("init", "-q")
    git("add", "pairs.tsv")
    git("commit", "-q", "-m", "pairs")
    return git("rev-parse", "HEAD")


def test_a_revision_is_that_of_the_folder(tmp_path, monkeypatch):
    assert revision(tmp_path) is None  # no repository
    pairs = write_pairs(tmp_path / "pairs.tsv")
    git("init", "-q")
    assert revision(tmp_path) is None  # no commit
    made = commit()
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert revision(tmp_path) == made and len(made) == 40
    pairs.write_text("a\tb\n")
    assert revision(tmp_path) == made
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(tmp_path) is None  # no git
    assert revision(tmp_path / "nowhere") is None


def test_ours_is_that_of_a_checkout_and_of_no_repository_around_it(tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs.tsv")
    made = commit()
    for home, wanted in ((tmp_path, made), (tmp_path / ".venv" / "lib", None)):
        package = home / "src" / "seq2seq"
        package.mkdir(parents=True)
        monkeypatch.setattr(module.seq2seq, "__file__", str(package / "__init__.py"))
        assert own_revision() == wanted


def test_a_run_tells_its_revisions_and_goes_on_from_another(run, monkeypatch):
    write_pairs(Path("pairs.tsv"))
    made = commit()
    monkeypatch.setattr("seq2seq.app.fingerprint.own_revision", lambda: "b" * 40)
    assert run("train", "pairs.tsv", "--out", "run", *TINY, "--updates", 1).code == 0
    assert seq2seq.load("run").provenance["git"] == {"folder": made, "seq2seq": "b" * 40}
    header = read(next(Path("run/checkpoints").iterdir())).header
    assert made in header["content"].values() and "b" * 40 in header["machine"].values()
    assert f"folder {made}" in run("inspect", "run").out
    git("commit", "-q", "--allow-empty", "-m", "another")
    ran = run("train", "--resume", "--out", "run", "--updates", 2)
    assert ran.code == 0 and "warning" not in ran.err
    monkeypatch.setattr("seq2seq.app.fingerprint.own_revision", lambda: None)
    ran = run("train", "--resume", "--out", "run", "--updates", 3)
    assert ran.code == 0 and f"not bit for bit: seq2seq git revision was {'b' * 40} and is now absent" in ran.err
