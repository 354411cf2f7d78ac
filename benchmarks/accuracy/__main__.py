"""Train, evaluate, and print the rows of a table with published numbers.

    python -m benchmarks.accuracy cmudict --data DATA --seeds 1,2,3 --out .bench/accuracy

Every command is printed. What is finished stands in OUT/TABLE/results.jsonl and is not run again, so that a series of
hours can be stopped and gone on with. A row counts where task, seed, minutes, options, threads and recipe are the same:
the recipe is what train makes of a task's words, defaults and presets too. --minutes takes the place of a task's own
minutes of training. Small models keep one core busy and no more: --jobs 2 runs two of them side by side, each on its
share of the cores (of NPROC of them where that is set). --judges trains models that write right to left too, and tells
what comes out where the two of a seed choose together (`evaluate --second-model`). --students trains students of all
runs of a task together (`seq2seq distill`), which also learn what those say of the lines of --unlabelled files. A
number behind "+-" is half the width of the 95 % interval of a mean over seeds, by Student's t.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.accuracy.measuring import (
    evaluated,
    half_width,
    measure,
    parser_of,
    read_options,
    tasks_of,
    with_all,
)
from benchmarks.accuracy.tables import TABLES, AccuracyTable, Task
from benchmarks.series import Series
from benchmarks.table import Table, Value
from seq2seq.errors import ConfigError


def together(
    series: Series, task: Task, rows: Sequence[dict[str, Any]], judges: Sequence[dict[str, Any]] = ()
) -> dict[str, Any] | None:
    """The row of the ensemble of the runs, whose candidates the runs of `judges` judge too, if there are any."""
    runs, second = ([str(row["run"]) for row in each] for each in (rows, judges))
    more = [word for run in second for word in ("--second-model", run)]
    told = {"seeds": [row["seed"] for row in rows], "minutes": rows[0]["minutes"]}
    key = {"task": task.name, "ensemble": " ".join(runs)}
    if second:
        key = {"task": judged_by(task), "ensemble": " ".join([*runs, *second])}
    row = series.cell(key, lambda: {**told, **evaluated(series, task, runs, more)})
    return row and with_all(series, task, row, [*runs, *second], more)


def judged(
    series: Series, table: AccuracyTable, task: Task, found: Mapping[str, Sequence[dict[str, Any]]]
) -> dict[str, Value] | None:
    """The printed row of what the task's runs say where that of the same seed of its judge chooses too, and of all
    together; None where no seed has both."""
    ours, judges = ({row["seed"]: row for row in found.get(name, ())} for name in (task.name, task.judge))
    seeds = [seed for seed in ours if seed in judges]
    both = [(seed, together(series, task, [ours[seed]], [judges[seed]])) for seed in seeds]
    rows = [{"seed": seed, "threads": ours[seed]["threads"], **row} for seed, row in both if row]
    if not rows:
        return None
    everyone = [[each[seed] for seed in seeds] for each in (ours, judges)]
    return row_of(table, rows, together(series, task, *everyone) if len(seeds) > 1 else None)


def judged_by(task: Task) -> str:
    """What the row is called in which another task's runs choose among this one's candidates."""
    return f"{task.name}, judged by {task.judge}"


def taught(task: Task, rows: Sequence[dict[str, Any]], unlabelled: Sequence[Path]) -> Task:
    """The task of students, whose teacher is the ensemble of the runs of the rows."""
    more = ("--unlabelled", *unlabelled) if unlabelled else ()
    words = (*task.train, "--teacher", *(Path(row["run"]) for row in rows), *more)
    return replace(task, name=f"students of {task.name}", train=words, judge="", command="distill")


def values(rows: Sequence[dict[str, Any]], metric: str, split: str) -> list[float]:
    """The metric of each row that was measured on the split."""
    return [row[split][metric] for row in rows if split in row]


def row_of(table: AccuracyTable, rows: Sequence[dict[str, Any]], several: dict[str, Any] | None) -> dict[str, Value]:
    """Means over the seeds with half the width of their 95 % interval (Student's t), and the ensemble."""
    found: dict[str, Value] = {"seeds": len(rows), "minutes": rows[0]["minutes"], "threads": rows[0]["threads"]}
    for split in ("dev", "test"):
        scores = values(rows, table.metric, split)
        scores = scores if len(scores) == len(rows) else []  # or it would be of other seeds than it says
        found[split] = mean(scores) if scores else None
        found[f"{split} +-"] = half_width(scores) if len(scores) > 1 else None
        found[f"{split} ensemble"] = several[split][table.metric] if several and split in several else None
    return found


def macro(metric: str, found: Sequence[tuple[Sequence[dict[str, Any]], dict[str, Value]]]) -> dict[str, Value]:
    """The mean over the tasks that have a number, and how many do; its interval is over the macros of the seeds."""
    total = {name: found[0][1][name] for name in ("seeds", "minutes", "threads")}
    for name in ("dev", "test", "dev ensemble", "test ensemble"):
        scores = [float(row[name]) for _, row in found if row[name] is not None]  # pyright: ignore[reportArgumentType]
        total[name] = mean(scores) if scores else None
        total[f"{name} tasks"] = len(scores)
    for split in ("dev", "test"):
        macros = _macro_of_each_seed(metric, split, [rows for rows, row in found if row[split] is not None])
        total[f"{split} +-"] = half_width(macros) if len(macros) > 1 else None
    return total


def _macro_of_each_seed(metric: str, split: str, tasks: Sequence[Sequence[dict[str, Any]]]) -> list[float]:
    """Of the seeds that no task lacks: one that lacks a hard task would only seem better."""
    scores = [{row["seed"]: row[split][metric] for row in rows if split in row} for rows in tasks]
    common = set.intersection(*map(set, scores)) if scores else set()
    return [mean(of_task[seed] for of_task in scores) for seed in sorted(common)]


def trained(
    series: Series, table: AccuracyTable, tasks: Sequence[Task], options: argparse.Namespace, more: Sequence[str]
) -> list[tuple[list[dict[str, Any]], dict[str, Value]]]:
    """The rows of the runs of each task, and the printed one."""
    found = []
    with ThreadPoolExecutor(options.jobs) as pool:
        every = product(tasks, options.seeds)
        measured = pool.map(lambda one: measure(series, *one, options.minutes or one[0].minutes, more), every)
        for task in tasks:
            if rows := [row for _ in options.seeds if (row := next(measured)) is not None]:
                several = together(series, task, rows) if table.ensemble and len(rows) > 1 else None
                found.append((rows, row_of(table, rows, several)))
                series.table.row(f"{series.name}, {table.metric}", task.name, found[-1][1])
    return found


def run(name: str, options: argparse.Namespace, more: Sequence[str]) -> None:
    """All of one table."""
    table, printed = TABLES[name], Table(options.json)
    series = Series(options.out / name, printed, name)
    printed.note(name, f"published: {table.published}")
    tasks = tasks_of(name, table, options, series.out, options.judges)
    judges = {task.judge for task in tasks.values()}
    if options.unlabelled and len(set(tasks) - judges) > 1:
        raise ConfigError("--unlabelled has lines of one task: name it by --tasks.")
    found = trained(series, table, list(tasks.values()), options, more)
    by_name = {rows[0]["task"]: rows for rows, _ in found}
    for task in tasks.values():
        if task.judge and (row := judged(series, table, task, by_name)):
            printed.row(f"{name}, {table.metric}", judged_by(task), row)
    if options.students:
        teachers = [(tasks[task], rows) for task, rows in by_name.items() if task not in judges]
        students = trained(series, table, [taught(*one, options.unlabelled) for one in teachers], options, more)
        if table.mean and students:
            printed.row(f"{name}, {table.metric}, macro", "mean of students", macro(table.metric, students))
    if old := sum("recipe" not in row for rows, _ in found for row in rows):
        printed.note(name, f"{old} of these runs have no recipe noted: the defaults of train may have changed since")
    if table.mean and found:
        printed.row(f"{name}, {table.metric}, macro", "mean", macro(table.metric, found))


def main() -> None:
    """One table, or several."""
    parser = parser_of("python -m benchmarks.accuracy", __doc__)
    parser.add_argument("tables", nargs="+", choices=list(TABLES), metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--judges", action="store_true", help="models that write right to left too, to choose by both")
    parser.add_argument("--students", action="store_true", help="students of all runs of a task, by seq2seq distill")
    parser.add_argument("--unlabelled", action="append", type=Path, default=[], help="lines that students learn too")
    options, more = read_options(parser)
    if options.unlabelled and not options.students:
        parser.error("--unlabelled is for --students.")
    for name in options.tables:
        try:
            run(name, options, more)
        except ConfigError as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()
