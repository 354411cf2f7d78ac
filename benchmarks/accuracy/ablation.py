"""What each part of a recipe is worth: the tasks of a table, trained with the defaults and with one thing changed.

    python -m benchmarks.accuracy.ablation sigmorphon2020 --data DATA --tasks dut,gre,hun,kor --minutes 4

Only dev data are measured. A row has the mean of the table's metric, how much it is more than with the defaults, and
half the width of the 95 % interval of that difference (Student's t over tasks and seeds, each beside its own run with
the defaults). What is finished stands in OUT/ablation-TABLE/results.jsonl and is not run again. Options that are not of
this command go to all runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from statistics import mean

from benchmarks.accuracy.measuring import half_width, measure, parser_of, read_options, tasks_of
from benchmarks.accuracy.recipe import resolved
from benchmarks.accuracy.tables import TABLES, Options, Task
from benchmarks.series import Series
from benchmarks.table import Table, Value
from seq2seq.errors import ConfigError

DEFAULTS = "the defaults"
SETTINGS: dict[str, Options] = {
    DEFAULTS: (),
    "no moving average": ("--moving-average", "0"),
    "mean of 5 checkpoints instead": ("--moving-average", "0", "--average", "5"),
    "no label smoothing": ("--model.label-smoothing", "0"),
    "no dropout": ("--model.dropout", "0"),
    "the same units dropped at every step": ("--model.variational",),
    "recurrent dropout 0.2": ("--model.recurrent-dropout", "0.2"),
    "tokens of a sentence hidden at 0.1": ("--model.token-dropout", "0.1"),
    "target tokens hidden at 0.1": ("--target-dropout", "0.1"),
    "GRU": ("--model.cell", "gru"),
    "layer-normalised LSTM": ("--model.cell", "norm-lstm"),
    "two layers": ("--model.layers", "2"),
    "two layers in the encoder": ("--model.encoder-layers", "2"),
    "general attention": ("--model.attention", "general"),
    "no input feeding": ("--model.no-input-feeding",),
    "tied embeddings": ("--model.tied",),
    "hard monotonic attention": ("--model.type", "hard-monotonic", "--model.hidden", "512"),
}
"""What is trained, by the words of its row."""
Scores = Mapping[tuple[str, int], float]
"""The metric by task and seed."""


def scores(
    series: Series, metric: str, runs: Sequence[tuple[Task, int]], options: argparse.Namespace, more: Sequence[str]
) -> Scores:
    """Of each run that came to its end."""
    found: dict[tuple[str, int], float] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = pool.map(lambda one: measure(series, *one, options.minutes or one[0].minutes, more), runs)
        for (task, seed), row in zip(runs, rows, strict=True):
            if row is not None:
                found[task.name, seed] = row["dev"][metric]
    return found


def row_of(found: Scores, beside: Scores) -> dict[str, Value]:
    """A setting beside the defaults, over the runs that both have.

    Example:
        >>> row = row_of({("a", 1): 5.0, ("b", 1): 9.0}, {("a", 1): 4.0, ("b", 1): 8.0})
        >>> {name: round(value, 1) for name, value in row.items()}
        {'runs': 2, 'dev': 7.0, 'more than the defaults': 1.0, '+-': 0.0}
    """
    both = [run for run in found if run in beside]
    more = [found[run] - beside[run] for run in both]
    return {
        "runs": len(both),
        "dev": mean(found[run] for run in both) if both else None,
        "more than the defaults": mean(more) if both else None,
        "+-": half_width(more) if len(both) > 1 else None,
    }


def main() -> None:
    """All settings, or some."""
    parser = parser_of("python -m benchmarks.accuracy.ablation", __doc__)
    parser.add_argument("table", choices=list(TABLES), metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--settings", help=f"some, with commas between: {', '.join(SETTINGS)}")
    options, more = read_options(parser)
    try:
        run(options, more)
    except ConfigError as error:
        parser.error(str(error))


def run(options: argparse.Namespace, more: Sequence[str]) -> None:
    """Train and print.

    Raises:
        ConfigError: no such task or setting, or the options do not go together.
    """
    table, printed = TABLES[options.table], Table(options.json)
    name = f"ablation-{options.table}"
    series = Series(options.out / name, printed, name)
    tasks = tasks_of(options.table, table, options, series.out).values()
    if not all("dev" in task.measured for task in tasks):
        raise ConfigError(f"{options.table} has no dev data, and nothing is chosen on a test file")
    dev_only = [replace(task, measured={"dev": task.measured["dev"]}) for task in tasks]
    runs = list(product(dev_only, options.seeds))
    settings = chosen(options.settings)
    for setting in settings:  # before hours of training
        check(dev_only[0], setting, more)
    beside: Scores | None = None
    for setting in settings:
        found = scores(series, table.metric, runs, options, [*more, *SETTINGS[setting]])
        beside = found if beside is None else beside
        if found:
            printed.row(f"{options.table}, {table.metric}", setting, row_of(found, beside))


def check(task: Task, setting: str, more: Sequence[str]) -> None:
    """Refuse options that do not go with a setting.

    Raises:
        ConfigError: so they are.
    """
    try:
        resolved(task, [*more, *SETTINGS[setting]])
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error} Choose others with --settings.") from None
    except SystemExit:  # told already
        raise ConfigError(f"{setting}: these options do not go with it; choose others with --settings") from None


def chosen(words: str | None) -> list[str]:
    """The defaults, and the settings that are named, or all.

    Raises:
        ConfigError: there is no such setting.
    """
    names = list(SETTINGS) if words is None else [word.strip() for word in words.split(",")]
    if unknown := [name for name in names if name not in SETTINGS]:
        raise ConfigError(f"--settings {unknown[0]}: wanted some of {', '.join(SETTINGS)}")
    return [DEFAULTS, *(name for name in names if name != DEFAULTS)]


if __name__ == "__main__":
    main()
