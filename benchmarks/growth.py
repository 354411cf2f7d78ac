"""How time and memory grow: a corpus ten times as large, pairs four times as long, ten times as many words."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.ours import JOBS, Growth
from benchmarks.settings import Settings
from benchmarks.table import Table, Value
from benchmarks.update_worker import UpdateError, measured

_CASES = {
    "as it is": Growth(),
    "corpus x10": Growth(corpus=10),
    "length x4": Growth(length=4),
    "vocabulary x10": Growth(vocabulary=10),
}


def run(settings: Settings, table: Table) -> None:
    """A row for each case, each round a fresh process, cases taking turns."""
    job = "grown-quick" if settings.quick else "grown"
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in _CASES}
    for _ in range(settings.process_rounds):
        for name, case in _CASES.items():
            try:
                found[name].append(measured(job, settings.data, JOBS[job].updates, case))
            except UpdateError as error:
                table.note("growth", f"{name} left out of a round: {error}")
    for name, results in found.items():
        if results and found["as it is"]:
            table.row("growth", f"update of 64 made-up pairs, {name}", _row(results, found["as it is"]))


def _row(results: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Value]:
    """Medians of the rounds, of memory the most, and how many times those of the plain case they are."""

    def median(several: list[dict[str, Any]], name: str) -> float:
        return statistics.median(float(one[name]) for one in several)

    memory, usual = (max(float(one["rss_mb"]) for one in several) for several in (results, plain))
    return {
        "rounds": len(results),
        "ms/update": median(results, "ms_per_update"),
        "tokens/s": median(results, "tok_per_s"),
        "peak MB": memory,
        "times the ms": median(results, "ms_per_update") / median(plain, "ms_per_update"),
        "times the MB": memory / usual,
    }
