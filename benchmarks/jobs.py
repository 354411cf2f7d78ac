"""Whole training updates: ours and the peers' in processes that alternate, and ours against its own matrix products.

"% of peak" is what the products of our model need (forward once, backward twice, no padding) for the pairs a second, of
the fastest product on this machine; some peers' models differ a little, and make more.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import corpora, products
from benchmarks.kit import KitError, phase
from benchmarks.ours import JOBS, Job, Training, forward, fresh, gradient, necessary_flops, read
from benchmarks.settings import Settings
from benchmarks.table import Table, Value
from benchmarks.timing import Clocked, interleaved
from benchmarks.update_worker import UpdateError, measured
from seq2seq.data import Batch

_CELLS = {"g2p": "lstm", "text": "gru"}
_FEW = 64  # pairs to decode behind the training of a peer, which is not looked at here


def run(settings: Settings, table: Table) -> None:
    """For each job a row for us and each peer, then the row of products."""
    for name in ("g2p",) if settings.quick else ("g2p", "text"):
        job = JOBS[name]
        dataset, tokenizers = read(job, settings.data)
        shapes = jax.eval_shape(lambda job=job, tokenizers=tokenizers: fresh(job, tokenizers))
        gflops = necessary_flops(shapes, dataset.lengths) / len(dataset) / 1e9
        for peer, values in _speeds(job, gflops, settings, table).items():
            table.row("jobs", f"{name} update, {peer}", values)
    for name in ("g2p",) if settings.quick else ("g2p", "text"):
        found = floor(JOBS[name], settings)
        table.row("products", f"{name} update, {found.told}", found.values)


def _speeds(job: Job, gflops: float, settings: Settings, table: Table) -> dict[str, dict[str, Value]]:
    """What each found in all rounds; `gflops` are what the products of one pair need."""
    data, names = settings.data, ["ours"]
    if settings.kit is None:
        table.note("jobs", f"{job.name}: no peers: {settings.why_no_kit}")
    else:
        data = corpora.cut(settings.data, job.name, settings.work / "few", dev=_FEW, test=_FEW)
        names = ["ours", *settings.peers]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(settings.process_rounds):
        for name in names if number % 2 == 0 else reversed(names):
            try:
                found[name].append(_speed(name, job, data, settings))
            except (KitError, UpdateError) as error:
                table.note("jobs", f"{job.name}: {name} left out of a round: {error}")
    return {name: _row(found[name], found["ours"], gflops, settings) for name in names if found[name]}


def _speed(name: str, job: Job, data: Path, settings: Settings) -> dict[str, Any]:
    updates = 12 if settings.quick else job.updates
    if name == "ours" or settings.kit is None:
        return measured(job.name, settings.data, updates)
    options = ("--cell", _CELLS[job.name], "--updates", max(updates, 6), "--warm", 2)
    return phase(settings.kit.run(name, data, job.name, *options), "train")


def _row(own: list[dict[str, Any]], ours: list[dict[str, Any]], gflops: float, settings: Settings) -> dict[str, Value]:
    """Medians of the rounds, of memory the most; ratios above 1 are in our favour."""

    def median(results: list[dict[str, Any]], name: str) -> float:
        return statistics.median(float(result[name]) for result in results)

    memory = max(float(result["rss_mb"]) for result in own)
    rate = gflops * median(own, "pairs_per_s")
    return {
        "rounds": len(own),
        "tokens/s": median(own, "tok_per_s"),
        "ms/update": median(own, "ms_per_update"),
        "pairs/update": median(own, "pairs_per_s") * median(own, "ms_per_update") / 1000,
        "peak MB": memory,
        "% of peak": 100 * rate / settings.peak,
        "ours/own tokens/s": median(ours, "tok_per_s") / median(own, "tok_per_s") if ours else None,
        "own/ours MB": memory / max(float(result["rss_mb"]) for result in ours) if ours else None,
    }


class Floor(NamedTuple):
    """A row of products."""

    told: str
    values: dict[str, Value]


def floor(job: Job, settings: Settings) -> Floor:
    """An update at its commonest shape against the sum of its own products, each timed alone in the same rounds."""
    training = Training(job, settings.data)
    batch = _commonest(training)
    model = training.state.model
    whole, ahead = products.products(gradient(batch), model), products.products(forward(batch), model)
    pure = products.without_recomputation(whole, ahead)
    needed = necessary_flops(model, _lengths(batch))  # before the updates, which take the model's memory over
    programs = {str(p): Clocked(p.program()) for p in whole}
    found = interleaved({"update": Clocked(lambda: training.update(batch)), **programs}, settings.rounds)
    each = {p: found.median(str(p)) / p.repeats for p in whole}
    update, total = found.median("update"), products.total(whole, each)
    necessary = products.total(pure, each) * needed / products.flops(pure)
    steps = "x".join(str(size) for size in (*batch.source.shape, batch.target_in.shape[0]))
    return Floor(
        f"source x batch x target {steps}",
        {
            "update ms": update,
            "products": sum(whole.values()),
            "kinds": len(whole),
            "sum ms": total,
            "update/sum": update / total,
            "budget": job.budget,
            "GFLOP": products.flops(whole) / 1e9,
            "necessary GFLOP": needed / 1e9,
            "necessary ms": necessary,
            "update/necessary": update / necessary,
            "% of peak": needed / update / 1e4 / settings.peak,
        },
    )


def _commonest(training: Training) -> Batch:
    """A full batch of the shape that most batches have."""
    batches = [batch for _, batch in training.batches.once()]
    shapes = [(b.source.shape, b.target_in.shape) for b in batches]
    common = statistics.mode(shapes)
    return next(b for b, shape in zip(batches, shapes, strict=True) if shape == common)


def _lengths(batch: Batch) -> Any:
    """(pairs, 2): the lengths of source and target of each row, ends counted."""
    return np.stack([batch.source_lengths, batch.target_mask.sum(axis=0)], axis=1)[batch.source_lengths > 0]
