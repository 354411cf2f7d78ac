"""`python -m benchmarks.preparation`: corpora of 10^5 to 10^7 made-up pairs, from the file to the first updates.

Each is one `seq2seq train` with word tokens and a tiny model, 20 updates. Told are the seconds until training starts,
and the memory that is no file's (RssAnon): of the command while it trains, and of it and its helpers at the most.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.commands import environment
from benchmarks.machine import anonymous_memory
from benchmarks.table import Table, Value

_WORDS, _LONGEST = 8000, 12
_OPTIONS = ["--source-tokens", "word", "--target-tokens", "word", "--metric", "loss_nats_per_token", "--updates", "20"]
_OPTIONS += ["--model.hidden", "32", "--model.embedding", "32"]


class Prepared(NamedTuple):
    """What was seen of one command.

    Attributes:
        seconds: until the first update could begin.
        training: MiB of anonymous memory at the most from then on, of the command.
        all: MiB of anonymous memory at the most, of the command and its helpers.
    """

    seconds: float
    training: float
    all: float


def write_pairs(path: Path, count: int) -> None:
    """So many pairs of 6 to 12 Zipfian words a side: next to none comes twice."""
    rng = np.random.default_rng(1)
    words = np.array([f"w{n}" for n in range(_WORDS)])
    chances = np.cumsum(1.0 / np.arange(1, _WORDS + 1))
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, count, 10_000):
            rows = min(10_000, count - start)
            drawn = words[np.searchsorted(chances / chances[-1], rng.random((rows, 2 * _LONGEST)))].tolist()
            lengths = rng.integers(6, _LONGEST + 1, (rows, 2)).tolist()
            for row, (source, target) in zip(drawn, lengths, strict=True):
                file.write(" ".join(row[:source]) + "\t" + " ".join(row[_LONGEST : _LONGEST + target]) + "\n")


def prepared(pairs: Path, run: Path, more: Sequence[str] = ()) -> Prepared:
    """Train on the pairs, with `more` options, and look.

    Raises:
        SystemExit: the command failed.
    """
    command = [sys.executable, "-m", "seq2seq", "train", str(pairs), "--out", str(run), *_OPTIONS, *more]
    began, seconds, training, everything = time.perf_counter(), float("nan"), 0.0, 0.0
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            own = anonymous_memory(process.pid) or 0.0
            everything = max(everything, own + sum(anonymous_memory(child) or 0.0 for child in _children(process.pid)))
            if (run / "log.jsonl").exists():
                seconds = time.perf_counter() - began if seconds != seconds else seconds
                training = max(training, own)
            time.sleep(0.1)
        if process.returncode:
            raise SystemExit(process.stderr.read() if process.stderr else "failed")
    return Prepared(seconds, training, everything)


def _children(parent: int) -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            yield from map(int, task.read_text("ascii").split())
        except OSError:
            continue


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preparation", description=__doc__)
    parser.add_argument("--pairs", default="100000,1000000,10000000", help="corpora, with commas between")
    parser.add_argument("--deduplicate", action="store_true", help="also with this option of train")
    parser.add_argument("--folder", type=Path, help="where 1 kB for each pair fits; without, the system's own")
    options = parser.parse_args()
    table = Table()
    table.note("machine", machine.description())
    cases: list[tuple[str, ...]] = [(), ("--deduplicate",)] if options.deduplicate else [()]
    first: dict[tuple[str, ...], tuple[int, Prepared]] = {}
    for count in map(int, options.pairs.split(",")):
        with tempfile.TemporaryDirectory(prefix="preparation-", dir=options.folder) as name:
            write_pairs(Path(name) / "pairs.tsv", count)
            for number, more in enumerate(cases):
                found = prepared(Path(name) / "pairs.tsv", Path(name) / f"run-{number}", more)
                row = _row(count, found, *first.setdefault(more, (count, found)))
                table.row("preparation", " ".join((f"{count:,} pairs", *more)), row)


def _row(count: int, found: Prepared, fewer: int, before: Prepared) -> dict[str, Value]:
    """What was seen, also beside the smallest corpus."""
    row: dict[str, Value] = {"seconds": found.seconds, "us a pair": 1e6 * found.seconds / count}
    row |= {"MiB training": found.training, "MiB at the most": found.all}
    row["bytes more a pair"] = (found.training - before.training) * 2**20 / max(1, count - fewer)
    row["bytes more at the most"] = (found.all - before.all) * 2**20 / max(1, count - fewer)
    return row


if __name__ == "__main__":
    main()
