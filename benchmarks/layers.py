"""One recurrent layer, forward and backward: ours, `lax.scan`, a naive cell under ours, torch's fused layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.cells import ConcatenatedGRU, ConcatenatedLSTM
from benchmarks.machine import lacks
from benchmarks.settings import Settings
from benchmarks.table import Table, Value
from benchmarks.timing import Clocked, Measure, interleaved
from seq2seq import GRU, LSTM, scan

_CELLS: dict[str, tuple[Any, Any]] = {"GRU": (GRU, ConcatenatedGRU), "LSTM": (LSTM, ConcatenatedLSTM)}
_TIME, _HIDDEN, _BATCHES = 20, (256, 512, 1000), (1, 16, 64, 256)
_MIB = 2**20


class Program(NamedTuple):
    """A compiled gradient: how to measure it, and the memory that it takes beside arguments and results, in MiB."""

    measure: Measure
    memory: float


def run(settings: Settings, table: Table) -> None:
    """A row for each cell, type, hidden size and batch."""
    if settings.worker is None:
        table.note("layers", f"no torch columns: {settings.why_no_torch}")
    for dtype, short in (("float32", "f32"), ("bfloat16", "bf16")):
        if short == "bf16" and (why := lacks("bf16")):
            table.note("layers", f"bf16 left out: {why}")
            continue
        for hidden in _HIDDEN[:1] if settings.quick else _HIDDEN:
            for batch in _BATCHES[:2] if settings.quick else _BATCHES:
                shape = {"time": _TIME, "batch": batch, "input": hidden // 2, "hidden": hidden}
                for cell in _CELLS:
                    table.row("layers", f"{cell} {short}, {_told(shape)}", _row(cell, dtype, shape, settings))


def _told(shape: dict[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in shape.items())


def _row(cell: str, dtype: str, shape: dict[str, int], settings: Settings) -> dict[str, Value]:
    usual, naive = _CELLS[cell]
    ours, lax = program(usual, scan, shape, dtype), program(usual, jax.lax.scan, shape, dtype)
    measures = {"ours": ours.measure, "lax": lax.measure, "naive": program(naive, scan, shape, dtype).measure}
    if settings.worker:
        measures["torch"] = settings.worker.layer(cell, dtype, shape)
    found = interleaved(measures, settings.rounds)
    times: dict[str, Value] = {f"{name} ms": found.median(name) if name in measures else None for name in _NAMES}
    ratios = {f"{name}/ours": found.ratio(name, "ours") if name in measures else None for name in _NAMES[1:]}
    return {**times, **ratios, "ours MiB": ours.memory, "lax MiB": lax.memory, "lax/ours MiB": lax.memory / ours.memory}


_NAMES = ("ours", "lax", "naive", "torch")


def program(cell_type: Any, loop: Callable[..., Any], shape: dict[str, int], dtype: str) -> Program:
    """The gradient with respect to weights and inputs of the mean square of a layer's outputs."""
    cell = cell_type.init(jax.random.key(0), shape["input"], shape["hidden"])
    xs = jax.random.normal(jax.random.key(1), (shape["time"], shape["batch"], shape["input"]))
    cell, xs = jax.tree.map(lambda leaf: leaf.astype(dtype), (cell, xs))

    def loss(cell: Any, xs: Any) -> Any:
        return jnp.square(loop(cell.step, cell.initial_state(shape["batch"]), xs)[1]).mean()

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(cell, xs).compile()
    memory: Any = compiled.memory_analysis()
    return Program(Clocked(lambda: compiled(cell, xs)), memory.temp_size_in_bytes / _MIB)
