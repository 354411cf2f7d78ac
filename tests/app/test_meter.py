"""The bar is for terminals only."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

import seq2seq
from seq2seq.app import meter
from seq2seq.app.cli import main
from seq2seq.app.meter import Meter
from seq2seq.training import ProgressBar, Started


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_a_terminal_and_nothing_elsewhere(terminal: bool) -> None:
    file = io.StringIO()
    with Meter("phrases", 100, Console(file=file, force_terminal=terminal, width=100)) as bar:
        bar.advance(1500, 50)
    assert bar.done == 1500 and bar.speed > 0
    assert ("1,500 phrases" in file.getvalue()) == terminal
    assert terminal or not file.getvalue().strip()


@pytest.mark.parametrize("make", [lambda: Meter("pairs", 9), ProgressBar])
def test_a_file_is_no_terminal_whatever_colours_are_forced(monkeypatch, tmp_path, make) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "err").open("w+") as file:
        monkeypatch.setattr(sys, "stderr", file)
        bar = make()
        if isinstance(bar, Meter):
            with bar:
                bar.advance(9, 9)
        else:
            bar(Started(update=0, evaluated=0, resumed=True, epoch_updates=9, updates=9, minutes=None, seconds=0.0))
            bar.close()
        file.seek(0)
        assert "\x1b" not in file.read()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Meter]]:
    """The bars of a command, on a terminal that is standard error."""
    made = list[Meter]()

    def keep(unit: str, total: int | None, console: Console | None = None, task: str = "") -> Meter:
        made.append(Meter(unit, total, Console(file=io.StringIO(), force_terminal=True, width=120), task))
        return made[-1]

    monkeypatch.setattr(meter, "Meter", keep)
    yield made


def counted(bars: list[Meter]) -> list[tuple[str, int, float | None]]:
    return [(bar.task + bar.unit, bar.done, bar.total) for bar in bars]


def test_every_long_job_counts_what_it_does(run, trained, bars, tmp_path):
    lines = b"abc\nfed\n\nbad\n"
    (tmp_path / "in.txt").write_bytes(lines)
    silent = run("generate", trained, stdin=lines)
    assert counted(bars) == [("lines", 3, None)]  # nobody knows how long a pipe is
    bars.clear()
    assert run("generate", trained, "in.txt").out == silent.out  # and the bar is not in it
    assert counted(bars) == [("lines", 3, 4)]
    bars.clear()
    assert run("embed", trained, "in.txt").code == 0
    assert counted(bars) == [("lines", 4, 4)]
    bars.clear()
    assert len(run("score", trained, trained.parent / "dev.tsv").out.splitlines()) == 4
    assert counted(bars) == [("pairs", 4, 4)]
    bars.clear()
    assert run("evaluate", trained, trained.parent / "dev.tsv").code == 0
    loss = [("loss: pairs", 4, 4), ("loss given other sources: pairs", 4, 4)]
    assert counted(bars) == [*loss, ("outputs: lines", 3, 3)]


def test_outputs_on_a_terminal_need_no_bar(run, trained, bars, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["score", str(trained), str(trained.parent / "dev.tsv")]) == 0
    assert not bars


def test_python_shows_nothing_unless_asked(trained, bars):
    seq2seq.load(trained).score([("abc", "cba")])
    assert not bars
    with meter.watched("lines", None):
        seq2seq.load(trained).score([("abc", "cba")])
    assert counted(bars) == [("lines", 0, None)]  # pairs are no lines
