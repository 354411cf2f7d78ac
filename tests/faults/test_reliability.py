"""docs/reliability.md: every row names tests that are there; and the faults that no other room has a test for."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from app.command_line import TINY, exit_code, write_pairs

from seq2seq.app.commands.train import options_from
from seq2seq.app.prepare import prepare, run_folder
from seq2seq.app.train import run_job
from seq2seq.training import clock
from seq2seq.training.interrupt import Interrupt

ROOT = Path(__file__).parents[2]


def test_every_row_of_the_table_names_tests_that_are_there():
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("|--", "| fault"))]
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert len(rows) > 25
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row))
        assert named, row
        assert named <= defined, named - defined
    for module in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert (ROOT / "benchmarks" / f"{module}.py").exists()


def test_pairs_that_are_deleted_meanwhile_are_not_missed(tmp_path, capsys):
    pairs, dev = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "dev.tsv"
    dev.write_text("fab\tbaf\n", "utf-8")
    words = [str(pairs), "--dev", str(dev), "--out", str(tmp_path / "run"), *TINY, "--updates", "2"]
    options = options_from(words)
    with run_folder(options) as folder:
        job = prepare(options)
        dev.unlink()
        assert run_job(job, folder).reason == "updates"
    assert (folder / "model.npz").exists()
    assert exit_code(["train", "--resume", "--out", folder, "--updates", 3]) == 2
    assert "dev.tsv" in capsys.readouterr().err.splitlines()[-1]


def test_data_of_a_run_that_has_changed_is_told_and_made_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("seq2seq.data.spool.MOST_CHARACTERS", 100)
    pairs, run = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "run"
    assert exit_code(["train", pairs, "--out", run, *TINY, "--updates", 1]) == 0
    for update, name in enumerate(("pairs", "source.npy"), 2):
        content = (run / "data" / name).read_bytes()
        (run / "data" / name).write_bytes(content[:-1] + bytes([content[-1] ^ 64]))
        capsys.readouterr()
        assert exit_code(["train", "--resume", "--out", run, "--updates", update]) == 0  # on the same data
        assert f"data/{name}: not what was written" in capsys.readouterr().err.replace("\n", "")
        assert (run / "data" / name).read_bytes() == content


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_exit_status_of_training_is_that_of_the_signal(tmp_path, monkeypatch, number, times):
    def heard(*_):
        with Interrupt() as interrupt:
            for _ in range(times):
                signal.raise_signal(number)
        return SimpleNamespace(reason="interrupted", signal=interrupt.heard)

    monkeypatch.setattr("seq2seq.app.train.prepare", lambda _: SimpleNamespace(report=[]))
    monkeypatch.setattr("seq2seq.app.train.run_job", heard)
    assert exit_code(["train", "pairs.tsv", "--out", tmp_path / "run"]) == 128 + number


@pytest.mark.parametrize("jump", [-1e6, 1e9])
def test_a_clock_that_jumps_changes_nothing(monkeypatch, jump):
    run = clock.Clock(10.0, 0)
    monkeypatch.setattr(time, "time", lambda: jump)
    monkeypatch.setattr(time, "time_ns", lambda: int(jump * 1e9))
    assert 10.0 <= run.seconds() < 11.0
    assert run.lap(100) > 100
