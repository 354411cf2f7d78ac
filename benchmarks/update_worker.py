"""A fresh process that trains: `python -m benchmarks.update_worker JOB DATA --updates N` prints one JSON line.

A process of its own, since only so the peak of its memory is that of the training alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.ours import JOBS, Growth, Training, pairs, tokens
from benchmarks.timing import BenchmarkError
from seq2seq.app.runtime import use_threads

_ROOT = Path(__file__).parents[1]


class UpdateError(BenchmarkError):
    """The process that trains failed."""


def measured(job: str, data: Path, updates: int, growth: Growth = Growth()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """What a fresh process finds of `updates` updates of a job, after one of each shape to compile.

    Raises:
        UpdateError: it failed; the last line that it said.
    """
    grown = ["--growth", str(growth.corpus), str(growth.length), str(growth.vocabulary)]
    command = [sys.executable, "-m", "benchmarks.update_worker", job, str(data), "--updates", str(updates), *grown]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in (str(_ROOT), *sys.path) if path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise UpdateError(f"{job}: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory() -> float:
    """The most memory that this process has held, in MB (as the kit says it: KiB / 1024)."""
    try:  # ru_maxrss would count what the process held that started this one
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (2**20 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Train and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_worker")
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of matrix products")
    parser.add_argument("--growth", type=int, nargs=3, default=(1, 1, 1), metavar=("CORPUS", "LENGTH", "VOCABULARY"))
    options = parser.parse_args()
    use_threads()  # and keep what is compiled, as the command line does
    training = Training(JOBS[options.job], options.data, Growth(*options.growth), options.precision)
    training.warm()
    began = time.perf_counter()
    made = training.updates(options.updates)
    seconds = time.perf_counter() - began
    found = {
        "ms_per_update": 1000 * seconds / len(made),
        "tok_per_s": tokens(made) / seconds,
        "pairs_per_s": pairs(made) / seconds,
        "rss_mb": peak_memory(),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
