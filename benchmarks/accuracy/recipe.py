"""What made a row: two rows of one recipe differ by their seeds alone, or by what the code has become."""

from __future__ import annotations

import json
import shlex
import threading
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from benchmarks.accuracy.tables import Task
from benchmarks.series import Series
from seq2seq.app.commands.distill import DistillOptions
from seq2seq.app.commands.train import options_from
from seq2seq.app.options import TrainOptions
from seq2seq.core.precision import resolve

_PARSING = threading.Lock()
"""Runs go side by side in threads, and tyro reads one command line at a time."""


def resolved(task: Task, options: Sequence[str]) -> TrainOptions[Any]:
    """What the command makes of the words of a task and more options: presets and defaults are filled in.

    Raises:
        ConfigError: they do not go together.
    """
    words, kind = [*map(str, task.train), *options], DistillOptions if task.command == "distill" else TrainOptions
    with _PARSING:
        return options_from(words, kind, task.command)


def recipe(task: Task, told: TrainOptions[Any]) -> str:
    """A few letters that tell recipes apart: by every value that decides what is trained, the names of the files
    without their folders, and the options of `seq2seq evaluate`.

    What is off (0, false, None, nothing) does not count, so that a new option leaves the recipes as they are that do
    without it; but a 0 does where None is something else. A precision of "auto" counts as what it is on this machine.
    """
    values = tomllib.loads(told.public_toml()) | {"precision": resolve(told.precision)}
    values = {name: value for name, value in values.items() if name not in ("teacher", "unlabelled")}  # files
    several: list[Any] = [told, told.model, told.optimizer]
    left_open = {f.name for one in several for f in fields(one) if f.default is None}
    files = _names(word for word in task.train if not isinstance(word, str))
    measured = (" ".join(word for word in words if isinstance(word, str)) for words in task.measured.values())
    text = "\n".join([json.dumps(_on(values, left_open), sort_keys=True), *files, *sorted(set(measured))])
    return sha256(text.encode()).hexdigest()[:8]


def _on(values: Mapping[str, Any], left_open: Collection[str]) -> dict[str, Any]:
    """The values that are not off, in tables too; of those `left_open` 0 is not off.

    Example:
        >>> values = {"seed": 1, "average": 0, "patience": "None", "model": {"dropout": 0.3, "tied": False}, "decay": 0}
        >>> _on(values, ["decay"])
        {'seed': 1, 'model': {'dropout': 0.3}, 'decay': 0}
    """
    kept = {name: _on(value, left_open) if isinstance(value, Mapping) else value for name, value in values.items()}
    return {name: value for name, value in kept.items() if value != "None" and (value or name in left_open)}


def before_recipes(series: Series, key: Mapping[str, Any], task: Task) -> dict[str, Any] | None:
    """A row of a time when none had its recipe noted, if its command is that of the task; defaults may have changed."""
    words = [*_names(task.train), "--seed", str(key["seed"])]
    for row in reversed(series.rows):
        if "recipe" not in row and key.items() <= row.items():
            begun = _names(shlex.split(row["command"]))[2:]  # behind `seq2seq train`
            if begun[: len(words)] == words:
                return row
    return None


def _names(words: Iterable[Any]) -> list[str]:
    """The words, files without their folders."""
    return [PurePath(word).name for word in words]
