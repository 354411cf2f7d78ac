"""From the command to the first update and to the first answer: nothing compiled yet (cold), and next time (warm)."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.commands import environment
from benchmarks.kit import Kit, KitError, results
from benchmarks.ours import JOBS, Training
from benchmarks.settings import Settings
from benchmarks.table import Table, Value
from benchmarks.timing import BenchmarkError

_MODEL = [  # the model of the kit's torch driver
    *("--model.cell", "lstm", "--model.embedding", "128", "--model.hidden", "512"),
    *("--model.attention", "additive", "--model.dropout", "0", "--model.label-smoothing", "0"),
]
_LONGEST = 600.0  # s
_UPDATES = 6  # of the kit's torch driver: it cannot tell its speed of fewer


class StartError(BenchmarkError):
    """The command ended before it had said anything."""


def run(settings: Settings, table: Table) -> None:
    """A row for the first update and one for the first answer."""
    model = settings.work / "start.npz"
    training = Training(JOBS["g2p"], settings.data)
    training.updates(2 if settings.quick else 50)
    training.text_model().save(model)
    times: dict[str, list[float]] = {}
    for _ in range(settings.process_rounds):
        cache = settings.work / "compiled"
        shutil.rmtree(cache, ignore_errors=True)
        for name in ("cold", "warm"):
            times.setdefault(f"update, {name}", []).append(first_update(settings, cache))
        shutil.rmtree(cache, ignore_errors=True)
        for name in ("cold", "warm"):
            times.setdefault(f"answer, {name}", []).append(first_answer(settings, model, cache))
        if settings.kit and "torch" in settings.peers:
            try:
                times.setdefault("torch", []).append(_torch_update(settings.kit, settings))
            except KitError as error:
                table.note("start", f"torch left out of a round: {error}")
    for what in ("update", "answer"):
        table.row("start", f"seconds to the first {what}", _row(times, what))
    if "torch" not in times:
        table.note("start", f"no torch column: {settings.why_no_kit or 'the kit has no torch environment'}")
    table.note("start", "the kit's torch driver has no command that only answers")


def _row(times: dict[str, list[float]], what: str) -> dict[str, Value]:
    cold, warm = (statistics.median(times[f"{what}, {name}"]) for name in ("cold", "warm"))
    torch = statistics.median(times["torch"]) if what == "update" and times.get("torch") else None
    return {
        "rounds": len(times[f"{what}, cold"]),
        "cold s": cold,
        "warm s": warm,
        "torch s": torch,
        "torch/cold": torch / cold if torch else None,
        "torch/warm": torch / warm if torch else None,
    }


def first_update(settings: Settings, cache: Path) -> float:
    """Seconds until the log of `seq2seq train` tells of the first update."""
    out, data = settings.work / "start", settings.data / "g2p"
    shutil.rmtree(out, ignore_errors=True)
    # One update is the last: of more, the first is told of when the second has been compiled and begun.
    options = ["--dev", str(data / "dev.tsv"), "--out", str(out), "--log-every", "1", "--updates", "1"]
    began = time.perf_counter()
    process = _command(["train", str(data / "train.tsv"), *options, *_MODEL], cache, subprocess.DEVNULL)
    try:
        while '"event": "updated"' not in _text(out / "log.jsonl"):
            if process.poll() is not None or time.perf_counter() - began > _LONGEST:
                raise StartError("seq2seq train: no update; run it by hand to see why.")
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def first_answer(settings: Settings, model: Path, cache: Path) -> float:
    """Seconds until `seq2seq generate` has answered one word."""
    word = settings.work / "word.txt"
    word.write_text((settings.data / "g2p" / "test.src").read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    began = time.perf_counter()
    with _command(["generate", str(model), str(word)], cache, subprocess.PIPE) as process:
        answer = process.stdout.readline() if process.stdout else b""
        took = time.perf_counter() - began
    if not answer:
        raise StartError("seq2seq generate: no answer; run it by hand to see why.")
    return took


def _command(arguments: list[str], cache: Path, output: int) -> subprocess.Popen[bytes]:
    """The command line itself; compiled programs are kept in `cache` as they would be in the user's folder."""
    command = [sys.executable, "-m", "seq2seq", *arguments]
    return subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, env=environment(cache))


def _torch_update(kit: Kit, settings: Settings) -> float:
    """Seconds until torch's driver has made its first update: until it reports, less the updates after the first."""
    options = ["--cell", "lstm", "--updates", str(_UPDATES), "--warm", "0"]
    command, theirs = kit.driver("torch", settings.data, "g2p", *options), kit.environment()
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=theirs)
    try:
        for line in process.stdout or ():
            if found := results(line):
                later = float(found[0]["ms_per_update"]) * (_UPDATES - 1) / 1000
                return time.perf_counter() - began - later
        raise KitError("torch g2p: its driver ended without a result.")
    finally:
        process.kill()
        process.communicate()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
