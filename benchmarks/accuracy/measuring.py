"""What the commands of this folder share: options, the tasks of a table, a run that is trained and measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import Any

from scipy.stats import t as student

from benchmarks.accuracy.recipe import before_recipes, recipe, resolved
from benchmarks.accuracy.tables import AccuracyTable, Task
from benchmarks.commands import as_typed, seq2seq, share_cores
from benchmarks.series import Series
from seq2seq.app.runtime import thread_count
from seq2seq.core.precision import resolve
from seq2seq.errors import ConfigError


def measure(series: Series, task: Task, seed: int, minutes: float, options: Sequence[str]) -> dict[str, Any] | None:
    """The row of one run.

    Raises:
        ConfigError: the options do not go with the task's.
    """
    told = resolved(task, options)
    threads = min(thread_count(), told.threads or thread_count())
    key = {"task": task.name, "seed": seed, "minutes": minutes, "options": " ".join(options), "threads": threads}
    known = {**key, "recipe": recipe(task, told)}
    run = series.folder(task.name, minutes, f"{threads} threads", known["recipe"], seed, *options)

    def found() -> dict[str, Any]:
        limits = ["--minutes", f"{minutes:g}", "--patience", "None"]
        command = series.train(run, [*task.train, "--seed", seed, *options], limits, task.command)
        return {
            "command": command,
            "run": str(run),
            "precision": resolve(told.precision),
            **evaluated(series, task, [run]),
        }

    before = None if series.found(known) else before_recipes(series, key, task)
    row = before or series.cell(known, found)
    return row and with_all(series, task, row, [row["run"]])


def with_all(
    series: Series, task: Task, row: dict[str, Any], runs: Sequence[str], more: Sequence[str] = ()
) -> dict[str, Any]:
    """The row, measured on files too that were not there when it was made, such as a test file, if its runs are there.

    A row of a folder that is copied may have no runs.
    """
    lacking, gone = sorted(task.measured.keys() - row.keys()), [r for r in runs if not Path(r, "model.npz").exists()]
    if lacking and gone:
        series.table.note(series.name, f"{gone[0]} has no model any more: not measured on {', '.join(lacking)}")
        return row

    def found(splits: Sequence[str]) -> dict[str, Any]:
        return evaluated(series, replace(task, measured={split: task.measured[split] for split in splits}), runs, more)

    return series.whole(row, task.measured, found)


def evaluated(series: Series, task: Task, runs: Sequence[str | Path], more: Sequence[str] = ()) -> dict[str, Any]:
    """What `evaluate --json` says of each file, by a model or an ensemble, and the command that made it say so."""
    found: dict[str, Any] = {}
    for split, words in task.measured.items():
        command = ("evaluate", *runs, *words, *more, "--json")
        series.table.note(series.name, as_typed(*command))
        found[split] = {"command": as_typed(*command), **json.loads(seq2seq(*command))}
    return found


def half_width(scores: Sequence[float]) -> float:
    """Of the 95 % interval of a mean, by Student's t."""
    return float(student.ppf(0.975, len(scores) - 1)) * stdev(scores) / len(scores) ** 0.5


def distinct_seeds(text: str) -> list[int]:
    """The seeds of "1,2,3".

    Raises:
        ArgumentTypeError: one is no number, or stands there twice.

    Example:
        >>> distinct_seeds("1,2,3")
        [1, 2, 3]
    """
    seeds = [int(word) for word in text.split(",") if word.strip().isdecimal()]
    if len(seeds) != text.count(",") + 1 or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted different whole numbers with commas between, such as 1,2,3")
    return seeds


def parser_of(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every command here: where data and results are, how often and how long to train."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,  # --seed is one of train's
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the data sets' folders")
    parser.add_argument("--out", type=Path, default=Path(".bench/accuracy"), help="where runs and results stay")
    parser.add_argument("--seeds", type=distinct_seeds, default="1", help="with commas between (default 1)")
    parser.add_argument("--minutes", type=float, help="of training for each run, instead of the table's own")
    parser.add_argument("--tasks", help="some of the table's tasks, with commas between")
    parser.add_argument("--jobs", type=int, default=1, help="so many runs side by side, which share the cores")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def read_options(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command line, and what is left for `seq2seq train`; the cores are shared from here on."""
    options, more = parser.parse_known_args()
    for word in more:
        if word.partition("=")[0] in ("--seed", "--out", "--resume"):
            parser.error(f"{word}: each run has its own; --seeds and --out are for all of them.")
    if not options.data.is_dir():
        parser.error(f"--data {options.data}: there is no such folder")
    share_cores(options.jobs)
    return options, more


def tasks_of(
    name: str, table: AccuracyTable, options: argparse.Namespace, work: Path, judges: bool = False
) -> dict[str, Task]:
    """The table's tasks by name, or those that `--tasks` names; with those that judge them if `judges`.

    Raises:
        ConfigError: there is none of such a name, or none that judges.
    """
    tasks = {task.name: task for task in table.tasks(options.data, work)}
    judging = {task.judge for task in tasks.values()}
    names = options.tasks.split(",") if options.tasks else [task for task in tasks if task not in judging]
    if unknown := sorted(set(names) - set(tasks)):
        raise ConfigError(f"--tasks {unknown[0]}: {name} has {', '.join(tasks)}")
    if judges and not judging & set(tasks):
        raise ConfigError(f"--judges: no task of {name} has one.")
    if judges:
        names = [one for task in names for one in (task, tasks[task].judge) if one]
    return {task: tasks[task] for task in names}
