"""Kill a training run again and again, at any instant: it must end as one that was never disturbed.

    python -m benchmarks.kills --kills 200 --out .bench/kills

makes pairs and trains with `seq2seq train`, killed by SIGKILL after random times and resumed, until so many kills have
come and it is let go on for a while. Checkpoints are written all the time, so that kills fall into writes, evaluations
and start-ups too. Then as many updates are trained without a disturbance, and weights, optimiser and log are compared
bit for bit. The exit code is 1 if they differ, if a resume ends with an error, or if hardly any life was long enough to
save something new, so that nothing was put to the test (then give more --seconds). A series that was stopped goes on:
kills so far stand in OUT/kills.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import environment, seq2seq
from benchmarks.table import Table
from seq2seq.core.archive import read
from seq2seq.errors import ArchiveError

_OPTIONS = (
    *("--model.hidden", "32", "--model.embedding", "16", "--evaluate-every", "40", "--log-every", "1"),
    *("--save-minutes", "0.003", "--patience", "None", "--average", "3", "--moving-average", "0.9"),
)
_TIMES = ("seconds", "tokens_per_second")
_FOREVER = 10**9
_UNDISTURBED = 100  # updates after the last kill


def write_pairs(path: Path, count: int = 2000) -> None:
    """Words and their reverses."""
    rng = random.Random(1)
    words = dict.fromkeys("".join(rng.choices("abcdefghij", k=rng.randint(1, 9))) for _ in range(count))
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words), "utf-8")


def train(pairs: Path, run: Path, updates: int) -> list[str]:
    """The words of the command that begins the run, or goes on with it."""
    if (run / "checkpoints").is_dir() and any((run / "checkpoints").glob("update-*.npz")):
        return ["train", "--out", str(run), "--resume", "--updates", str(updates)]
    return ["train", str(pairs), "--out", str(run), "--updates", str(updates), *_OPTIONS]


def kill_once(words: list[str], after: float) -> int | None:
    """Start the command and kill it after so many seconds: None, or its exit code if it ended before."""
    command = [sys.executable, "-m", "seq2seq", *words]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": environment()}
    with subprocess.Popen(command, start_new_session=True, **quiet) as process:
        try:
            _, said = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None
    if process.returncode:
        print(said.decode(errors="replace"), file=sys.stderr)
    return process.returncode


def newest(run: Path) -> int:
    """The update of the newest checkpoint."""
    return max((int(path.stem[7:]) for path in (run / "checkpoints").glob("update-*.npz")), default=-1)


def told(run: Path) -> list[dict[str, Any]]:
    """The log without its times, and without what tells of stops, saves and resumes."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    kept = (row for row in rows if row["event"] in ("updated", "evaluated"))
    return [{name: value for name, value in row.items() if name not in _TIMES} for row in kept]


def arrays(path: Path) -> dict[str, bytes]:
    """Every array of an archive as its bytes."""
    return {name: np.asarray(array).tobytes() for name, array in read(path).arrays.items()}


def differences(one: Path, other: Path, updates: int) -> list[str]:
    """In what two finished runs differ."""
    found = []
    for name in ("model.npz", f"checkpoints/update-{updates:09d}.npz"):
        try:
            if arrays(one / name) != arrays(other / name):
                found.append(name)
        except ArchiveError as error:
            found.append(str(error))
    return found + ["log.jsonl"] * (told(one) != told(other))


def main() -> None:
    """The series."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs before the run may finish (default 200)")
    parser.add_argument("--seconds", type=float, default=12.0, help="the longest life between two kills (default 12)")
    parser.add_argument("--out", type=Path, default=Path(".bench/kills"), help="where the runs and the count stay")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    table, out = Table(options.json), options.out
    out.mkdir(parents=True, exist_ok=True)
    pairs, count = out / "pairs.tsv", out / "kills.jsonl"
    write_pairs(pairs)
    whole, killed = out / "whole", out / "killed"
    kills = [json.loads(line) for line in count.read_text("utf-8").splitlines()] if count.exists() else []
    began, code = time.monotonic(), None
    while len(kills) < options.kills and code is None:
        after = random.Random(len(kills)).uniform(0.2, options.seconds)
        code = kill_once(train(pairs, killed, _FOREVER), after)
        if code is None:
            kills.append({"after_s": after, "newest": newest(killed)})
            with count.open("a", encoding="utf-8") as file:
                file.write(json.dumps(kills[-1]) + "\n")
    updates = newest(killed) + _UNDISTURBED
    if code is None:
        for run in (killed, whole):
            seq2seq(*train(pairs, run, updates))
    found = differences(whole, killed, updates) if code is None else [f"ended by itself, exit code {code}"]
    before = [-1, *(kill["newest"] for kill in kills)]
    further = sum(kill["newest"] > newest for kill, newest in zip(kills, before, strict=False))
    if code is None and 10 * further < len(kills):
        found.append(f"only {further} lives saved anything new")
    row = {"kills": len(kills), "after a save": further, "updates": updates, "differences": ", ".join(found) or "none"}
    table.row("kills", "a run killed and resumed", row | {"minutes": (time.monotonic() - began) / 60})
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
