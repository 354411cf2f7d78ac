"""`python -m benchmarks.phrase_table`: a made-up phrase table scored, its speed and its memory; killed and resumed too.

The table is sorted and has distinct pairs, of 1 to 7 words of a Zipfian vocabulary of 8,000; a source has four targets
on average. The model is a GRU of 256 with attention, fresh: its speed is that of a trained one. Both tables are gzip.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from benchmarks import machine
from benchmarks.commands import environment
from benchmarks.table import Table
from seq2seq import GRU, EncoderDecoder, EncoderDecoderConfig
from seq2seq.app.text_model import TextModel
from seq2seq.data import Tokenizer

_WORDS = 7_996  # and the four special ones
_LONGEST = 7
_TARGETS = 4  # of a source, on average


def write_model(path: Path) -> None:
    """A fresh model of the words of the table."""
    source, target = (Tokenizer.train("word", [f"{side}{n}" for n in range(_WORDS)], vocabulary=8000) for side in "st")
    config = EncoderDecoderConfig(cell=GRU, hidden=256, embedding=256, attention="general", dropout=0.0)
    model = EncoderDecoder.init(jax.random.key(1), source.size, target.size, config)
    TextModel(model, source, target).save(path)


def write_table(path: Path, lines: int) -> None:
    """So many phrase pairs, sorted by source."""
    sources = sorted(set(phrases("s", max(1, 2 * lines // _TARGETS), 1)))
    kept = np.random.default_rng(2).geometric(1 / _TARGETS, len(sources))
    targets = phrases("t", 4 * lines, 3)
    left = lines
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        for source, count in zip(sources, kept, strict=True):
            several = dict.fromkeys(next(targets) for _ in range(min(int(count), left)))
            file.writelines(f"{source} ||| {target} ||| 0.5 0.25 0.125 0.5 ||| 0-0 ||| 2 4 1\n" for target in several)
            left -= len(several)
    if left:
        raise SystemExit(f"{lines} lines were wanted, and {left} are missing")


def phrases(letter: str, count: int, seed: int) -> Iterator[str]:
    """Phrases of Zipfian words, drawn some thousand at a time."""
    rng = np.random.default_rng(seed)
    chances = 1.0 / np.arange(1, _WORDS + 1)
    heaped = np.cumsum(chances / chances.sum())
    for start in range(0, count, 8192):
        lengths = rng.integers(1, _LONGEST + 1, min(8192, count - start))
        words = np.searchsorted(heaped, rng.random((len(lengths), _LONGEST)))
        for row, length in zip(words.tolist(), lengths.tolist(), strict=True):
            yield " ".join(f"{letter}{min(word, _WORDS - 1)}" for word in row[:length])


class Scoring:
    """`seq2seq score --phrase-table` in a process of its own."""

    def __init__(self, folder: Path, out: str, *more: str):
        command = [sys.executable, "-m", "seq2seq", "score", "model.npz", "--phrase-table", "table.gz", "--out", out]
        self._progress = folder / f"{out}.progress"
        self.process = subprocess.Popen(
            [*command, *more], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, lines: int) -> bool:
        """Until so many lines are written; false if the process ended before."""
        while self.process.poll() is None:
            if self.done() >= lines:
                return True
            time.sleep(0.05)
        return False

    def done(self) -> int:
        """The lines that are written."""
        try:
            return int(json.loads(self._progress.read_text("utf-8"))["lines"])
        except (OSError, ValueError):
            return 0

    def memory(self) -> float | None:
        """MiB of memory that is no file's, now."""
        return machine.anonymous_memory(self.process.pid)

    def end(self) -> str:
        """The last line that it says; stops with it where it failed."""
        _, said = self.process.communicate()
        if self.process.returncode:
            raise SystemExit(said)
        return said.strip().splitlines()[-1]


def whole(folder: Path, lines: int, window: int) -> dict[str, float | None]:
    """Score all in one pass; memory at 10 % and just before the end."""
    scoring = Scoring(folder, "whole.gz", "--window", str(window))
    early = scoring.memory() if scoring.wait_for(lines // 10) else None
    late, began = None, scoring.done()
    while scoring.process.poll() is None:
        if scoring.done() > began:  # a new window is written, so that both are seen at the same place
            began = scoring.done()
            late = scoring.memory() or late
        time.sleep(0.05)
    print(said := scoring.end())
    speed = re.search(r"([\d,]+) phrases/s", said)
    return {
        "lines": lines,
        "lines/s": float(speed[1].replace(",", "")) if speed else None,
        "MiB at 10 %": early,
        "MiB at 100 %": late,
    }


def killed(folder: Path, lines: int, window: int) -> str:
    """Score again, killed about half way and resumed; whether nothing is lost or doubled."""
    first = Scoring(folder, "resumed.gz", "--window", str(window))
    first.wait_for(lines // 2)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    at = first.done()
    print(Scoring(folder, "resumed.gz", "--window", str(window), "--resume").end())
    same = (folder / "whole.gz").read_bytes() == (folder / "resumed.gz").read_bytes()
    with gzip.open(folder / "whole.gz") as file, gzip.open(folder / "table.gz") as given:
        found, wanted = sum(1 for _ in file), sum(1 for _ in given)
    return (
        f"killed at line {at:,}, resumed: {'the same bytes' if same else 'OTHER BYTES'}, {found:,} of {wanted:,} lines"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phrase_table", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of the table (default 1,000,000)")
    parser.add_argument("--window", type=int, default=32_768, help="as of seq2seq score")
    options = parser.parse_args()
    table = Table()
    table.note("machine", machine.description())
    with tempfile.TemporaryDirectory(prefix="phrases-") as name:
        folder = Path(name)
        write_model(folder / "model.npz")
        write_table(folder / "table.gz", options.lines)
        table.row("phrase table", "GRU 256, vocabulary 8,000", whole(folder, options.lines, options.window))
        table.note("phrase table", killed(folder, options.lines, options.window))


if __name__ == "__main__":
    main()
