"""Series of runs that take hours: each cell is trained and measured by commands that are printed, and kept in a file.

A cell that is finished stands in OUT/results.jsonl and is not run again; one whose training was interrupted goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.commands import CommandError, as_typed, seq2seq
from benchmarks.table import Table

Words: TypeAlias = Sequence[str | Path | float]


@dataclass(frozen=True)
class Series:
    """The folder of a series: runs, and what was found.

    Attributes:
        out: the folder; made.
        table: where commands and failures are told.
        name: of the series, in front of what is told.
    """

    out: Path
    table: Table
    name: str

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What was found so far; a line that was cut off is none."""
        return list(_read(self.out / "results.jsonl"))

    def found(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row of a cell, if it is finished."""
        return next((row for row in self.rows if key.items() <= row.items()), None)

    def cell(self, key: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """The row of a cell, by `measure` if it is not there yet; None if a command failed."""
        if before := self.found(key):
            return before
        try:
            row = {**key, **measure()}
        except CommandError as error:
            self.table.note(self.name, f"{', '.join(map(str, key.values()))}, left out: {error}")
            return None
        with (self.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(row) + "\n")  # the line before may have been cut off
        return row

    def train(self, run: Path, words: Words, limits: Words) -> str:
        """`seq2seq train WORDS --out RUN LIMITS`, or its rest; the command as it is printed."""
        command = ["train", *words, "--out", run, *limits]
        told = as_typed(*command)
        if (run / "finished").exists():
            return told
        self.table.note(self.name, told)
        begun = (run / "config.toml").exists() and any(run.glob("checkpoints/*.npz"))
        seq2seq(*(["train", "--out", run, "--resume", *_of_updates(words), *limits] if begun else command))
        run.mkdir(parents=True, exist_ok=True)
        (run / "finished").touch()
        return told

    def folder(self, *names: str | float) -> Path:
        """Where the run of a cell is."""
        return self.out / "-".join(re.sub("[^a-z0-9.]+", "-", str(name).lower()) for name in names)


def _of_updates(words: Words) -> list[str]:
    """The limits among the words that --resume with other ones would take away.

    Example:
        >>> _of_updates(["pairs.tsv", "--updates", 100, "--epochs=2"])
        ['--updates', '100', '--epochs=2']
    """
    several = [str(word) for word in words]
    found: list[str] = []
    for at, word in enumerate(several):
        if word.partition("=")[0] in ("--updates", "--epochs"):
            found += several[at : at + (1 if "=" in word else 2)]
    return found


def _read(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):
            yield json.loads(line)
