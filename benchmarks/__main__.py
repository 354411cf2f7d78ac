"""`python -m benchmarks [--json] [--rounds 7]`: how fast the loop, an update and a search are on this machine.

Everything that is compared is timed in turn within one process, and the median of the rounds is shown, since shared
machines are noisy: trust the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seq2seq import GRU, LSTM, BeamOptions, EncoderDecoder, EncoderDecoderConfig, OptimizerConfig, beam, greedy, scan
from seq2seq.data import Batch
from seq2seq.training.optimizer import build
from seq2seq.training.state import begin, make_update

LAYERS = [(30, 64, 512, 1000), (20, 64, 256, 512), (20, 64, 128, 256), (20, 16, 128, 256), (20, 1, 128, 256)]


def milliseconds(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each program, the programs taking turns."""
    for run in programs.values():
        jax.block_until_ready(run())
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(several) for name, several in times.items()}


def layer(cell_type: Any, shape: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    """One recurrent layer, forward and backward: `seq2seq.scan` beside `jax.lax.scan`."""
    steps, batch, inputs, hidden = shape
    cell = cell_type.init(jax.random.key(0), inputs, hidden)
    xs = jax.random.normal(jax.random.key(1), (steps, batch, inputs))

    def gradient(loop: Any) -> Callable[[], Any]:
        def loss(cell: Any, xs: Any) -> Any:
            return jnp.square(loop(cell.step, cell.initial_state(batch), xs)[1]).mean()

        compiled = jax.jit(jax.grad(loss, argnums=(0, 1)))
        return lambda: compiled(cell, xs)

    found = milliseconds({"lax.scan": gradient(jax.lax.scan), "seq2seq.scan": gradient(scan)}, rounds)
    name = f"{cell_type.__name__}, time {steps}, batch {batch}, input {inputs}, hidden {hidden}"
    return {"what": name, **found, "lax/ours": found["lax.scan"] / found["seq2seq.scan"]}


def pronunciation() -> tuple[EncoderDecoder, Batch]:
    """The model and a batch of a pronunciation job: 64 words of 8 letters and 8 phonemes."""
    model = EncoderDecoder.init(jax.random.key(0), 40, 80, EncoderDecoderConfig())
    rng = np.random.default_rng(0)
    source, target = (rng.integers(4, kinds, (9, 64), dtype=np.int32) for kinds in (40, 80))
    return model, Batch(source, np.full(64, 9, np.int32), target, target, np.ones((9, 64), np.float32))


def update(rounds: int) -> dict[str, Any]:
    """One update of the default model on the pronunciation job."""
    model, batch = pronunciation()
    optimizer = build(OptimizerConfig(), model)
    step, key = make_update(optimizer), jax.random.key(0)
    state = begin(model, optimizer)

    def run() -> Any:
        nonlocal state
        state, report = step(state, batch, key, 1.0)
        return report

    took = milliseconds({"update": run}, rounds)["update"]
    tokens = int(batch.source_lengths.sum() + batch.target_mask.sum())
    return {"what": "update, default model, 64 words", "ms": took, "tokens/s": 1000 * tokens / took}


def search(rounds: int) -> dict[str, Any]:
    """Greedy and beam 5 over 64 words of the pronunciation job, to the length limit."""
    model, batch = pronunciation()
    limit = np.full(64, 12, np.int32)
    rows = (model, batch.source, batch.source_lengths, limit)
    programs = {
        "greedy": lambda: greedy(*rows, 12),
        "beam 5": lambda: beam(*rows, BeamOptions(size=5, max_length=12)),
    }
    found = milliseconds(programs, rounds)
    return {"what": "search, 64 words", **{f"{name}, words/s": 64_000 / took for name, took in found.items()}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each measurement (default 7)")
    options = parser.parse_args()
    jobs = [lambda c=c, s=s: layer(c, s, options.rounds) for c in (GRU, LSTM) for s in LAYERS]
    for job in [*jobs, lambda: update(options.rounds), lambda: search(options.rounds)]:
        row = job()
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            numbers = "   ".join(f"{name} {value:,.2f}" for name, value in row.items() if name != "what")
            print(f"{row['what']:<52}{numbers}", flush=True)


if __name__ == "__main__":
    main()
