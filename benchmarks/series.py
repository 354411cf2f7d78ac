"""Series of runs that take hours: each cell is trained and measured by commands that are printed, and kept in a file.

A cell that is finished stands in OUT/results.jsonl and is not run again; one whose training was interrupted goes on.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
        """The row of a cell, if it is finished; the last, to which something may have been added."""
        return next((row for row in reversed(self.rows) if key.items() <= row.items()), None)

    def cell(self, key: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """The row of a cell, by `measure` if it is not there yet; None if a command failed."""
        return self.found(key) or self._kept(key, measure)

    def whole(
        self, row: dict[str, Any], names: Iterable[str], measure: Callable[[Sequence[str]], dict[str, Any]]
    ) -> dict[str, Any]:
        """The row with those of the names that it lacks, by `measure`; as it is if a command fails."""
        lacking = [name for name in names if name not in row]
        return (self._kept(row, lambda: measure(lacking)) if lacking else None) or row

    def _kept(self, key: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What `measure` finds behind the key, now in the file; None if a command failed."""
        try:
            row = {**key, **measure()}
        except CommandError as error:
            told = ", ".join(str(value) for value in key.values() if not isinstance(value, dict | list))
            self.table.note(self.name, f"{told}, left out: {error}")
            return None
        with (self.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(row) + "\n")  # the line before may have been cut off
        return row

    def train(self, run: Path, words: Words, limits: Words, by: str = "train") -> str:
        """`seq2seq train WORDS --out RUN LIMITS` (or `by` distill), or its rest; the command as it is printed."""
        command = [by, *words, "--out", run, *limits]
        told = as_typed(*command)
        if (run / "finished").exists():
            return told
        self.table.note(self.name, told)
        begun = (run / "config.toml").exists() and any(run.glob("checkpoints/*.npz"))
        seq2seq(*(["train", "--out", run, "--resume", *_of_updates(run), *limits] if begun else command))
        run.mkdir(parents=True, exist_ok=True)
        (run / "finished").touch()
        return told

    def folder(self, *names: str | float) -> Path:
        """Where the run of a cell is."""
        return self.out / "-".join(re.sub("[^a-z0-9.]+", "-", str(name).lower()) for name in names)


def _of_updates(run: Path) -> list[str]:
    """The limits of a run that --resume with other ones would take away, whoever told them."""
    config = tomllib.loads((run / "config.toml").read_text("utf-8"))
    return [word for name in ("updates", "epochs") if name in config for word in (f"--{name}", str(config[name]))]


def _read(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError):
            yield json.loads(line)
