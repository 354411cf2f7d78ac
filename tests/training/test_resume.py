from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import tiny_run
from tiny_run import Batches, Tiny, bits, dev_loss, events_of, run_of, stopped

import seq2seq
from seq2seq.core.archive import read
from seq2seq.errors import ResumeError
from seq2seq.training import clock
from seq2seq.training.checkpoint import Fingerprint
from seq2seq.training.events import Evaluated, Event, Updated, Warned
from seq2seq.training.lock import FolderLock
from seq2seq.training.loop import train
from seq2seq.training.optimizer import OptimizerConfig
from seq2seq.training.run import Run

NOT_COMPARED = ("seconds", "tokens_per_second", "model")
WITHOUT_CLOCK = {"seconds": 0, "evaluating": 0}
UPDATES = 22


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    """What a run says of itself, but for its times."""
    kept = [event for event in events if isinstance(event, Updated | Evaluated)]
    models = [bits(event.model) if isinstance(event, Evaluated) else {} for event in kept]
    said = [tuple((n, v) for n, v in asdict(event).items() if n not in NOT_COMPARED) for event in kept]
    return [(*one, ("weights", weights)) for one, weights in zip(said, models, strict=True)]


def killed(run: Run, after: int) -> list[Event]:
    """The first events of a run that is then dropped where it stands."""
    events = train(Tiny.init(), Batches(), run)
    found = [next(events) for _ in range(after)]
    events.close()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return events_of(run_of(tmp_path_factory.mktemp("whole"), updates=UPDATES, save_minutes=1e-9))


@pytest.mark.parametrize("after", [2, 7, 23, 36])
def test_killed_and_resumed_is_uninterrupted(tmp_path, whole, after):
    before = killed(run_of(tmp_path, updates=UPDATES, save_minutes=1e-9), after)
    events = events_of(run_of(tmp_path, updates=UPDATES, resume=True))
    start = events[0].update
    end, wanted = stopped(events), stopped(whole)
    assert start < UPDATES
    assert bits(end.model) == bits(wanted.model)
    assert end.progress.json() | WITHOUT_CLOCK == wanted.progress.json() | WITHOUT_CLOCK
    assert [one for one in told(before) if dict(one)["update"] <= start] + told(events) == told(whole)
    saved = [read(stopped(run).path) for run in (events, whole)]
    assert saved[0].arrays.keys() == saved[1].arrays.keys()
    assert all(np.array_equal(saved[0].arrays[name], saved[1].arrays[name]) for name in saved[0].arrays)


def test_killed_again_and_again(tmp_path, whole):
    killed(run_of(tmp_path, updates=UPDATES, save_minutes=1e-9), 5)
    for _ in range(4):
        killed(run_of(tmp_path, updates=UPDATES, save_minutes=1e-9, resume=True), 8)
    end = stopped(events_of(run_of(tmp_path, updates=UPDATES, resume=True)))
    assert bits(end.model) == bits(stopped(whole).model)


def test_a_moving_average_goes_on_too(tmp_path, whole):
    options: dict[str, Any] = {"updates": UPDATES, "moving_average": 0.5}
    wanted = stopped(events_of(run_of(tmp_path / "whole", **options)))
    killed(run_of(tmp_path / "killed", save_minutes=1e-9, **options), 7)
    end = stopped(events_of(run_of(tmp_path / "killed", resume=True, **options)))
    assert bits(end.model) == bits(wanted.model) != bits(stopped(whole).model)
    with pytest.raises(ResumeError, match=r"training.moving_average was 0.5"):
        events_of(run_of(tmp_path / "killed", resume=True, updates=UPDATES + 1))


@pytest.mark.parametrize("after", [9, 23])
def test_a_lost_best_model_costs_nothing_but_itself(tmp_path, whole, after):
    kept = []
    killed(run_of(tmp_path, updates=UPDATES, save_minutes=1e-9), after)
    run = run_of(tmp_path, updates=UPDATES, resume=True, save_best=lambda model, scores: kept.append((model, scores)))
    events = events_of(replace(run, lost_best=lambda: "model.npz is gone."))
    end, wanted = stopped(events), stopped(whole)
    assert next(event.message for event in events if isinstance(event, Warned)).startswith("model.npz is gone. ")
    first = next(event for event in events if isinstance(event, Evaluated))
    assert first.is_best and first.update == events[0].update and kept[0][1] == first.scores
    best = {name: None for name in (*WITHOUT_CLOCK, "best_cost", "best_update")}
    assert end.progress.json() | best == wanted.progress.json() | best
    assert bits(end.model) == bits(wanted.model)
    assert dev_loss(kept[-1][0])["loss"] == end.progress.best_cost[0]


def test_a_lost_best_model_is_in_the_mean_once(tmp_path):
    events_of(run_of(tmp_path, updates=8))  # whose model is the last of two
    events = events_of(replace(run_of(tmp_path, updates=8, resume=True), lost_best=lambda: "model.npz is gone."))
    assert [event.averaged for event in events if isinstance(event, Evaluated)] == [0, 2]


def test_a_best_model_is_looked_for_where_there_was_one(tmp_path):
    killed(run_of(tmp_path, updates=UPDATES, save_minutes=1e-9), 3)

    def never():
        raise AssertionError

    events_of(replace(run_of(tmp_path, updates=6, resume=True), lost_best=never))


def test_the_folders_of_a_run_reach_the_disk(tmp_path, monkeypatch):
    """Each in the one above it; or a power cut takes the checkpoint with the name of its folder."""
    synced: list[int] = []
    folder = tmp_path / "new" / "run"
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
        with FolderLock(folder):
            assert {path.stat().st_ino for path in (tmp_path, folder.parent)} <= {*synced}
            synced.clear()
            events_of(run_of(folder, updates=1))
    assert {path.stat().st_ino for path in (folder, folder / "checkpoints")} <= {*synced}


def test_a_run_may_be_made_longer(tmp_path, whole):
    end = stopped(events_of(run_of(tmp_path, updates=18)))  # not an evaluation's place: it must leave no trace
    assert end.progress.evaluated == 18
    end = stopped(events_of(run_of(tmp_path, updates=UPDATES, resume=True)))
    found, wanted = read(end.path).arrays, read(stopped(whole).path).arrays
    assert {name: array.tobytes() for name, array in found.items()} == {n: a.tobytes() for n, a in wanted.items()}
    assert end.progress.watched == stopped(whole).progress.watched
    assert end.progress.stale == stopped(whole).progress.stale


def test_a_finished_run_has_nothing_to_do(tmp_path):
    first = stopped(events_of(run_of(tmp_path, updates=6)))
    events = events_of(run_of(tmp_path, updates=6, resume=True))
    assert [type(event).__name__ for event in events] == ["Started", "Stopped"]
    assert bits(stopped(events).model) == bits(first.model)
    assert stopped(events).path == first.path


def fingerprinted(folder: Path, content: dict[str, str], machine: dict[str, str], **changed: Any) -> Run:
    run = run_of(folder, updates=6, **changed)
    return Run(
        folder=folder,
        evaluate=dev_loss,
        training=run.training,
        optimizer=run.optimizer,
        fingerprint=Fingerprint(content, machine),
        resume=run.resume,
    )


def test_what_changed_is_refused_or_told(tmp_path):
    events_of(fingerprinted(tmp_path, {"data": "a"}, {"jax": "0.10.1"}))
    slower = OptimizerConfig(name="momentum", schedule="plateau", plateau_patience=1, learning_rate=0.01)
    for changed, says in [
        ({"seed": 2}, "training.seed was 1 and is now 2"),
        ({"optimizer": slower}, "optimizer.learning_rate was None and is now 0.01"),
        ({"average": 5}, "training.average was 3 and is now 5"),
    ]:
        with pytest.raises(ResumeError, match=says):
            train(Tiny.init(), Batches(), fingerprinted(tmp_path, {"data": "a"}, {}, resume=True, **changed))
    with pytest.raises(ResumeError, match="data was a and is now b"):
        train(Tiny.init(), Batches(), fingerprinted(tmp_path, {"data": "b"}, {}, resume=True))
    events = events_of(fingerprinted(tmp_path, {"data": "a"}, {"jax": "0.10.2"}, resume=True, patience=7))
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert warned.message == "resumed, but perhaps not bit for bit: jax was 0.10.1 and is now 0.10.2."


def test_a_cosine_belongs_to_its_last_update(tmp_path):
    cosine = OptimizerConfig(schedule="cosine")
    events_of(run_of(tmp_path, updates=4, optimizer=cosine, evaluate=None))
    with pytest.raises(ResumeError, match=r"training\.updates was 4 and is now 8"):
        train(Tiny.init(), Batches(), run_of(tmp_path, updates=8, optimizer=cosine, resume=True))


def test_sigkill_and_resume_is_uninterrupted(tmp_path):
    command = [sys.executable, tiny_run.__file__, str(tmp_path / "killed")]
    source = str(Path(seq2seq.__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": source,
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("Updated 2"):  # 21, of 60
            assert process.poll() is None
        time.sleep(later := random.random() / 10)
        print(f"killed {later:.4f} s after update 21")  # which is shown where this fails
        process.send_signal(signal.SIGKILL)
    checkpoints = run_of(tmp_path / "killed").checkpoints
    assert process.returncode == -signal.SIGKILL
    assert read(checkpoints.paths()[0]).header["progress"]["update"] < 60
    subprocess.run([*command, "resume"], env=environment, check=True, stdout=subprocess.DEVNULL)
    whole = stopped(events_of(run_of(tmp_path / "whole", updates=60)))
    found, wanted = read(checkpoints.paths()[0]), read(whole.path)
    assert {name: array.tobytes() for name, array in found.arrays.items()} == {
        name: array.tobytes() for name, array in wanted.arrays.items()
    }
    assert found.header["progress"] | WITHOUT_CLOCK == wanted.header["progress"] | WITHOUT_CLOCK


def test_a_run_whose_minutes_are_done_is_done(tmp_path, monkeypatch):
    now, takes = [0.0], iter([30.0] + [1.0] * 9)  # the first evaluation compiles
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def evaluate(model):
        now[0] += next(takes)
        return dev_loss(model)

    class Ticking(Batches):
        def epoch(self, epoch, start=0):
            for batch in super().epoch(epoch, start):
                now[0] += 1.0
                yield batch

    limits = {"minutes": 2.0, "evaluate_every": 40, "average": 0, "patience": None, "evaluate": evaluate}
    ends = [stopped(events_of(run_of(tmp_path, resume=again, **limits), Ticking())) for again in (False, True)]
    assert [end.reason for end in ends] == ["minutes"] * 2 and 40 < ends[0].update == ends[1].update


def test_a_lost_best_model_is_replaced_after_a_second_stop_too(tmp_path):
    killed(run_of(tmp_path, updates=UPDATES, save_minutes=1e-9), 9)

    def stop(model):
        raise KeyboardInterrupt

    lost = replace(
        run_of(tmp_path, updates=UPDATES, resume=True, evaluate=stop), lost_best=lambda: "model.npz is gone."
    )
    with pytest.raises(KeyboardInterrupt):
        events_of(lost)
    events = events_of(run_of(tmp_path, updates=UPDATES, resume=True))
    first = next(event for event in events if isinstance(event, Evaluated))
    assert first.is_best and first.update == events[0].update
