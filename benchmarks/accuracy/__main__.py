"""Train, evaluate, and print the rows of a table with published numbers.

    python -m benchmarks.accuracy cmudict --data ../shared/data --seeds 1,2,3 --out .bench/accuracy

Every command is printed. What is finished stands in OUT/results.jsonl and is not run again, so that a series of hours
can be stopped and gone on with. --minutes takes the place of a task's own minutes of training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.accuracy.tables import TABLES, AccuracyTable, Task
from benchmarks.commands import CommandError, seq2seq
from benchmarks.series import Series
from benchmarks.table import Table, Value


def measure(series: Series, task: Task, seed: int, minutes: float, options: Sequence[str]) -> dict[str, Any] | None:
    """The row of one run."""
    key = {"task": task.name, "seed": seed, "minutes": minutes, "options": " ".join(options)}
    run = series.folder(task.name, minutes, seed, *options)

    def found() -> dict[str, Any]:
        limits = ["--minutes", f"{minutes:g}", "--patience", "None"]
        told = series.train(run, [*task.train, "--seed", seed, *options], limits)
        return {"command": told, "run": str(run), **evaluated(task, [run])}

    return series.cell(key, found)


def evaluated(task: Task, runs: Sequence[str | Path]) -> dict[str, Any]:
    """What `evaluate --json` says of each file, by a model or an ensemble."""
    return {split: json.loads(seq2seq("evaluate", *runs, *words, "--json")) for split, words in task.measured.items()}


def together(series: Series, task: Task, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the ensemble of the runs."""
    runs = [row["run"] for row in rows]
    return series.cell({"task": task.name, "ensemble": " ".join(runs)}, lambda: evaluated(task, runs))


def values(rows: Sequence[dict[str, Any]], metric: str, split: str) -> list[float]:
    """The metric of each row that was measured on the split."""
    return [row[split][metric] for row in rows if split in row]


def row_of(table: AccuracyTable, rows: Sequence[dict[str, Any]], several: dict[str, Any] | None) -> dict[str, Value]:
    """Means over the seeds with their standard deviation, and the ensemble."""
    found: dict[str, Value] = {"seeds": len(rows), "minutes": rows[0]["minutes"]}
    for split in ("dev", "test"):
        scores = values(rows, table.metric, split)
        found[split] = mean(scores) if scores else None
        found[f"{split} sd"] = stdev(scores) if len(scores) > 1 else None
        found[f"{split} ensemble"] = several[split][table.metric] if several and split in several else None
    return found


def macro(found: Sequence[dict[str, Value]]) -> dict[str, Value]:
    """The mean over the tasks that have a number."""
    total: dict[str, Value] = {"seeds": found[0]["seeds"], "minutes": found[0]["minutes"]}
    for name in ("dev", "test", "dev ensemble", "test ensemble"):
        scores = [float(row[name]) for row in found if row[name] is not None]  # pyright: ignore[reportArgumentType]
        total[name] = mean(scores) if scores else None
        total[f"{name} tasks"] = len(scores)
    return total


def run(name: str, options: argparse.Namespace, more: Sequence[str]) -> None:
    """All of one table."""
    table, printed = TABLES[name], Table(options.json)
    series = Series(options.out / name, printed, name)
    printed.note(name, f"published: {table.published}")
    found = []
    for task in table.tasks(options.data, series.out):
        if options.tasks and task.name not in options.tasks.split(","):
            continue
        minutes = options.minutes or task.minutes
        seeds = [int(seed) for seed in options.seeds.split(",")]
        rows = [row for seed in seeds if (row := measure(series, task, seed, minutes, more))]
        if rows:
            try:
                several = together(series, task, rows) if table.ensemble and len(rows) > 1 else None
            except CommandError as error:
                printed.note(name, f"{task.name}: no ensemble: {error}")
                several = None
            found.append(row_of(table, rows, several))
            printed.row(f"{name}, {table.metric}", task.name, found[-1])
    if table.mean and found:
        printed.row(f"{name}, {table.metric}, macro", "mean", macro(found))


def main() -> None:
    """One table, or several."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tables", nargs="+", choices=list(TABLES), metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the data sets' folders")
    parser.add_argument("--out", type=Path, default=Path(".bench/accuracy"), help="where runs and results stay")
    parser.add_argument("--seeds", default="1", help="with commas between (default 1)")
    parser.add_argument("--minutes", type=float, help="of training for each run, instead of the table's own")
    parser.add_argument("--tasks", help="some of the table's tasks, with commas between")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options, more = parser.parse_known_args()
    if not options.data.is_dir():
        parser.error(f"--data {options.data}: there is no such folder")
    for name in options.tables:
        run(name, options, more)


if __name__ == "__main__":
    main()
