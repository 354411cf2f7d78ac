"""Fixtures: a command run in this process, and one small run that the tests of the other commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import LAST, TINY, Ran, Run, Stdin, exit_code, write_pairs


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("generate", model, stdin=b"...")`."""

    def call(*words: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", Stdin(stdin))
        capsys.readouterr()
        return Ran(exit_code(words), *capsys.readouterr())

    return call


@pytest.fixture
def fails(run: Run) -> Callable[..., str]:
    """As `run`, for what must fail, after it wrote `out`: the one line on standard error, without `error: `."""

    def call(*words: object, stdin: bytes = b"", out: str = "") -> str:
        ran = run(*words, stdin=stdin)
        lines = [line for line in ran.err.splitlines() if line.startswith("error: ")]
        assert (ran.code, ran.out, len(lines)) == (2, out, 1), ran
        assert "Traceback" not in ran.err and ran.err.endswith(lines[0] + "\n")
        return lines[0].removeprefix("error: ")

    return call


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test in a folder of its own, and the user files that it imports forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four updates on words and their reverses; `pairs.tsv` and `dev.tsv` lie beside it."""
    home = tmp_path_factory.mktemp("trained")
    write_pairs(home / "pairs.tsv")
    (home / "dev.tsv").write_text("aaa\taaa\nfab\tbaf\nfab\tbbf\ncad\tdac\n")
    code = exit_code(
        ["train", home / "pairs.tsv", "--dev", home / "dev.tsv", "--out", home / "run", *TINY, "--updates", LAST]
    )
    assert code == 0
    return home / "run"


@pytest.fixture(scope="session")
def twin(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run on the same pairs, from another seed."""
    home, run = trained.parent, tmp_path_factory.mktemp("twin") / "run"
    pairs = ["train", home / "pairs.tsv", "--dev", home / "dev.tsv", "--out", run]
    assert exit_code([*pairs, *TINY, "--updates", LAST, "--seed", 2]) == 0
    return run
