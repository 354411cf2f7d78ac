from __future__ import annotations

import io
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_run import Batches, Tiny, events_of, run_of

from seq2seq.errors import ArchiveError, TrainingError
from seq2seq.training.events import Evaluated, Event, Sample, Updated, to_json
from seq2seq.training.listeners import JsonLog, ProgressBar, _TensorBoard, follow, tensorboard
from seq2seq.training.loop import train


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return events_of(run_of(tmp_path_factory.mktemp("run"), updates=10))


def shown(events: list[Event], terminal: bool) -> str:
    out = io.StringIO()
    bar = ProgressBar(Console(file=out, force_terminal=terminal, width=200, _environ={}))
    for event in events:
        bar(event)
    bar.close()
    return out.getvalue()


def test_the_bar_is_silent_but_for_evaluations_when_not_on_a_terminal(events):
    lines = shown(events, terminal=False).splitlines()
    wanted = [event for event in events if isinstance(event, Evaluated)]
    assert len(lines) == len(wanted) + 1  # and the last says how to go on
    for line, event in zip(lines, wanted, strict=False):
        assert line.startswith(f"update {event.update}, epoch {event.epoch}")
        assert f"loss {event.scores['loss']:.4g}" in line
        assert ("best so far" in line) == event.is_best
    assert not shown([event for event in events if isinstance(event, Updated)], terminal=False)
    assert "\x1b" not in "".join(lines)


def test_the_bar_shows_speed_loss_and_dev_score_on_a_terminal(events):
    text = shown(events, terminal=True)
    for part in ("tokens/s", "loss", "dev loss", "update 10, epoch 2", "%"):
        assert part in text


@pytest.mark.parametrize("end", ["pipe", "terminal", "disk"])
def test_a_bar_that_nobody_reads_ends_nothing(events, monkeypatch, end):
    monkeypatch.setenv("TERM", "xterm")
    reader, writer = os.openpty() if end == "terminal" else os.pipe()
    out = sys.stdout.fileno()
    with open(writer, "w") if end != "disk" else open("/dev/full", "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        bar = ProgressBar()
        bar(events[0])
        os.close(reader)
        for event in events[1:]:
            bar(event)
        bar.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # or its end fails
    assert os.fstat(out).st_ino != os.stat(os.devnull).st_ino  # rich would have let it lead there


def test_events_are_json(events):
    for event in events:
        found = json.loads(json.dumps(to_json(event), allow_nan=False))
        assert (found["event"], found["update"]) == (type(event).__name__.lower(), event.update)
    bad = Evaluated(
        update=1, epoch=1, scores={"loss": float("nan")}, metric="loss", is_best=False, averaged=0, seconds=1.0
    )
    assert to_json(bad)["scores"] == {"loss": None}


def log_of(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["event"] in ("updated", "evaluated")]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second")} for line in lines]


@pytest.mark.parametrize("after", [3, 9, 13])
def test_the_log_of_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path, events, after):
    whole = JsonLog(tmp_path / "whole.jsonl")
    for event in events:
        whole(event)
    whole.close()
    log, run = JsonLog(tmp_path / "log.jsonl"), run_of(tmp_path, updates=10)
    running = train(Tiny.init(), Batches(), run)
    for _ in range(after):
        log(next(running))
    running.close()
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "updated", "upd')  # cut by the kill
    follow(train(Tiny.init(), Batches(), run_of(tmp_path, updates=10, resume=True)), [JsonLog(tmp_path / "log.jsonl")])
    assert without_times(log_of(tmp_path / "log.jsonl")) == without_times(log_of(tmp_path / "whole.jsonl"))


@pytest.mark.parametrize("lost", [1, 2, 4, None])
def test_a_log_with_a_gap_says_so_once(tmp_path, capsys, lost):
    path = tmp_path / "log.jsonl"
    follow(train(Tiny.init(), Batches(), run_of(tmp_path, updates=10, average=0)), [JsonLog(path)])
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["event"] in ("updated", "evaluated")]
    if lost:
        path.write_text("".join(kept[:-lost]))
    for updates in (13, 14):
        run = run_of(tmp_path, updates=updates, average=0, resume=True)
        follow(train(Tiny.init(), Batches(), run), [JsonLog(path)])
    told = [line for line in path.read_text().splitlines() if "lines are lost: the last that is left is of" in line]
    assert len(told) == (1 if lost else 0) and capsys.readouterr().err.count("warning") == len(told)
    assert not told or json.loads(told[0])["event"] == "warned"


@pytest.mark.parametrize("line", ["17", "[]", '{"update": []}', '{"update": "4"}', "[" * 100_000, '{"upd', "\0" * 99])
def test_a_line_that_is_no_event_is_left_out(tmp_path, line):
    path = tmp_path / "log.jsonl"
    follow(train(Tiny.init(), Batches(), run_of(tmp_path, updates=4)), [JsonLog(path)])
    path.write_text(f"{path.read_text()}{line}\n")
    follow(train(Tiny.init(), Batches(), run_of(tmp_path, updates=5, resume=True)), [JsonLog(path)])
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in found].count("stopped") == 2 and "warned" not in str(found)


def test_a_log_is_synced(tmp_path, monkeypatch, events):
    log, synced = JsonLog(tmp_path / "log.jsonl"), []
    log.sync()  # before it is begun
    log(events[0])
    monkeypatch.setattr("os.fsync", lambda file: synced.append(os.fstat(file).st_ino))
    log.sync()
    log.close()
    assert synced == [(tmp_path / "log.jsonl").stat().st_ino]


def test_an_evaluation_that_is_made_again_is_logged_once(tmp_path):
    path = tmp_path / "log.jsonl"

    def stop_after_evaluation(event: Event) -> None:
        if isinstance(event, Evaluated):
            raise KeyboardInterrupt  # after the line, before the checkpoint

    for resume in (False, True, True):
        config = {"updates": 8, "average": 0, "save_minutes": 1e-9, "resume": resume}
        with pytest.raises(KeyboardInterrupt):
            follow(train(Tiny.init(), Batches(), run_of(tmp_path, **config)), [JsonLog(path), stop_after_evaluation])
    assert [line["update"] for line in log_of(path) if line["event"] == "evaluated"] == [4]


def test_a_new_run_begins_a_new_log(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"event": "updated", "update": 1}\n')
    follow(train(Tiny.init(), Batches(), run_of(tmp_path, updates=1, evaluate=None)), [JsonLog(tmp_path / "log.jsonl")])
    assert not log_of(tmp_path / "log.jsonl")


def test_a_log_that_cannot_be_written_is_one_line(tmp_path, events):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(ArchiveError, match=r"log\.jsonl: cannot be written"):
        JsonLog(tmp_path / "log.jsonl")(events[0])


def test_a_listener_that_fails_gives_the_signals_back(tmp_path):
    closed = []

    class Failing:
        def __call__(self, event: Event) -> None:
            raise ValueError("no")

        def close(self) -> None:
            closed.append(True)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="no"):
        follow(train(Tiny.init(), Batches(), run_of(tmp_path, updates=1)), [Failing()])
    assert signal.getsignal(signal.SIGINT) is before
    assert closed


def test_a_run_must_say_why_it_ended():
    with pytest.raises(TrainingError):
        follow((event for event in ()), [])


def test_tensorboard_is_written_where_it_is_installed(tmp_path, events):
    pytest.importorskip("tensorboardX")
    listener = tensorboard(tmp_path)
    assert listener is not None
    follow((event for event in events), [listener])
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for name in (b"train/loss", b"train/rate", b"dev/loss", b"average/loss"):
        assert name in content


def test_a_tensorboard_that_cannot_write_is_given_up(tmp_path, events, capsys):
    pytest.importorskip("tensorboardX")
    listener: Any = tensorboard(tmp_path)
    listener(events[0])
    thread = listener._writer.file_writer.event_writer._worker
    thread.stop()  # as a full disk ends it
    for _ in range(300):
        for event in events:
            if isinstance(event, Updated):
                listener(event)
    listener.close()
    assert capsys.readouterr().err.count("TensorBoard's curves end here") == 1


@pytest.mark.parametrize("when", ["made", "closed"])
def test_a_full_disk_ends_the_curves_and_nothing_else(tmp_path, events, capsys, when):
    class Full:
        def __init__(self, *_, **__):
            if when == "made":
                raise OSError(28, "No space left on device")

        def add_scalar(self, *_):
            pass

        add_text = add_scalar

        def close(self):
            raise OSError(28, "No space left on device")

    board = _TensorBoard(tmp_path, Full)
    for event in events:
        board(event)
    board.close()
    assert capsys.readouterr().err.count("TensorBoard's curves end here") == 1


def test_samples_are_shown_in_tensorboard_as_text_and_not_in_the_log(tmp_path, events):
    pytest.importorskip("tensorboardX")
    text = (Sample("<b>a|b</b>", ["target", "a<b"], "output"),)
    told = [replace(event, samples=text) if isinstance(event, Evaluated) else event for event in events]
    listener = tensorboard(tmp_path)
    assert listener is not None
    follow((event for event in told), [listener])
    content = next(tmp_path.iterdir()).read_bytes()
    assert b"dev/samples" in content and b"| target, a&#60;b | output |" in content
    assert b"&#60;b&#62;a&#124;b" in content and b"<b>" not in content
    assert "samples" not in json.dumps([to_json(event) for event in told])


def test_tensorboard_is_left_out_where_it_is_not(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert tensorboard(tmp_path) is None
