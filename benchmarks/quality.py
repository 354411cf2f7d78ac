"""What a fixed time buys: everybody trains on the same words for 150 seconds; wrong words on the test file."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.commands import CommandError, seq2seq
from benchmarks.kit import KitError, phase
from benchmarks.settings import Settings
from benchmarks.table import Table, Value

OPTIONS: list[str] = [
    *("--model.hidden", "256", "--model.dropout", "0.1", "--batch-tokens", "500"),
    *("--optimizer.learning-rate", "0.002", "--evaluate-every", "5000"),
]
"""Of our `seq2seq train`, beside the time: a small model that sees more batches. All else is its defaults."""
_SECONDS, _QUICK_SECONDS = 150, 15


def run(settings: Settings, table: Table) -> None:
    """A row for us and one for each peer, one after another."""
    if settings.synthetic:
        table.note("quality", "left out: made-up pairs say nothing of quality; give the real ones by --data")
        return
    seconds = _QUICK_SECONDS if settings.quick else _SECONDS
    try:
        table.row("quality", f"{seconds} s of training, ours", _ours(settings, seconds))
    except CommandError as error:
        table.note("quality", f"ours left out: {error}")
    if settings.kit is None:
        table.note("quality", f"no peers: {settings.why_no_kit}")
        return
    for name in settings.peers:
        try:
            results = settings.kit.run(name, settings.data, "g2p", "--cell", "lstm", "--seconds", seconds)
            table.row("quality", f"{seconds} s of training, {name}", _row(results))
        except KitError as error:
            table.note("quality", f"{name} left out: {error}")


def _ours(settings: Settings, seconds: int) -> dict[str, Value]:
    data, out = settings.data / "g2p", settings.work / "quality"
    minutes, cache = ["--minutes", str(seconds / 60)], settings.work / "nothing-compiled"
    seq2seq("train", data / "train.tsv", "--dev", data / "dev.tsv", "--out", out, *minutes, *OPTIONS, cache=cache)
    wrong = {}
    for beam in (1, 5):
        found = json.loads(seq2seq("evaluate", out, data / "test.tsv", "--json", "--beam", beam))
        wrong[beam] = (found["wer_percent"], found["token_error_rate_percent"])
    log = (out / "log.jsonl").read_text("utf-8").splitlines()
    updates = max(json.loads(line).get("update", 0) for line in log)
    return {
        "updates": updates,
        "greedy wrong %": wrong[1][0],
        "beam 5 wrong %": wrong[5][0],
        "beam 5 tokens %": wrong[5][1],
    }


def _row(results: list[dict[str, Any]]) -> dict[str, Value]:
    greedy, beam = (phase(results, "decode-test", size) for size in (1, 5))
    return {
        "updates": phase(results, "train")["updates"],
        "greedy wrong %": float(greedy["wer"]),
        "beam 5 wrong %": float(beam["wer"]),
        "beam 5 tokens %": float(beam["per"]),
    }
