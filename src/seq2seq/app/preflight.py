"""The report before the first update: what was read, what was chosen and why, and what it will cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from seq2seq.core.cost import product_flops, residual_bytes, tree_bytes
from seq2seq.core.module import count
from seq2seq.core.precision import Precision, in_precision
from seq2seq.core.seams import Loss
from seq2seq.data import Batches, Tokenizer
from seq2seq.errors import ModuleError
from seq2seq.training import TrainingConfig

_PROBE, _PROBES = 1024, 5  # the size of a product to time, and how often: one alone may meet something else at work
_TIME_STEP = 2e-4


def text_line(name: str, tokenizer: Tokenizer, why: str, counts: NDArray[np.int64]) -> tuple[str, str]:
    """What one side is cut into, why, and how long it is: how many have 0, 1, 2, ... tokens, the end counted."""
    middle, high = (np.searchsorted(np.cumsum(counts), np.array([0.5, 0.95]) * counts.sum()) - 1).tolist()
    return name, (
        f"{tokenizer.rule} tokens, {tokenizer.size:,} different ({why}); "
        f"length {middle} (median), {high} (95 %), {len(counts) - 2} (longest)"
    )


def unknown_line(name: str, tokenizer: Tokenizer, dev: Iterable[str]) -> list[tuple[str, str]]:
    """What to say where the tokenizer does not know all that is measured on.

    Example:
        >>> unknown_line("source", Tokenizer.train("word", ["a b c"]), ["a b", "a x"])
        [('', '25.0 % of the source tokens to measure on are unknown')]
        >>> unknown_line("source", Tokenizer.train("word", ["a b c"]), ["a b"])
        []
    """
    percent = 100 * tokenizer.unknown_rate(dev)
    share = f"{percent:.1f}" if percent >= 0.1 else "less than 0.1"
    return [("", f"{share} % of the {name} tokens to measure on are unknown")] if percent else []


def cost_lines(model: Any, batches: Batches, training: TrainingConfig) -> list[tuple[str, str]]:
    """Parameters, memory, shapes and time. Traces the loss at the largest shape; computes nothing but one product."""
    shapes = batches.shapes
    few = f"{len(shapes)} shape{'s' * (len(shapes) > 1)}"
    batch = next(iter(batches.epoch(0)))
    largest = max(shapes, key=lambda shape: shape.batch * (shape.source + shape.target))
    spec = _shape_of(batch, largest)
    forward = product_flops(_mean_loss, model, spec, _key_shape())
    activations = residual_bytes(_mean_loss, model, spec, _key_shape())
    parameters = tree_bytes(model)
    copies = 4 + (training.moving_average > 0)  # weights, gradient and two of Adam, and an average
    memory = copies * parameters + 2 * activations  # a backward pass as large again
    # Half of the peak is what a training step reaches; the rest of a time step costs whatever its size.
    products = 3 * forward / _products_per_second(training.precision) / 0.5
    seconds = products + _TIME_STEP * (largest.source + largest.target)
    return [
        ("model", f"{type(model).__name__}, {count(model):,} parameters ({_size(parameters)})"),
        ("memory", f"about {_size(memory)}"),
        (
            "batches",
            f"{batches.count:,} an epoch in {few}, {batches.padding_waste:.0%} padding",
        ),
        (
            "time",
            f"about {1000 * seconds:,.0f} ms an update, {_duration(seconds * batches.count)} an epoch; compiling first",
        ),
    ]


def check_evaluated(model: Any, batches: Batches) -> None:
    """Refuse a loss that cannot do without a key, as it must in an evaluation; by shapes alone.

    Raises:
        ModuleError: so it is.
    """
    spec = _shape_of(next(iter(batches.epoch(0))), batches.shapes[0])
    try:
        jax.eval_shape(_mean_loss, model, spec, None)
    except TypeError as error:
        jax.eval_shape(_mean_loss, model, spec, _key_shape())  # raises where it is not for the key
        said = f"{type(model).__name__}.loss(batch, None): {str(error).splitlines()[0]}"
        raise ModuleError(f"{said}; key is None in an evaluation: draw nothing then.") from error


def _key_shape() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _mean_loss(model: Any, batch: Any, key: Any) -> Any:
    found = model.loss(batch, key)
    if not isinstance(found, Loss):
        raise ModuleError(f"{type(model).__name__}.loss returned {type(found).__name__}; wanted Loss(sum, count).")
    return found.mean


def smoothing_line(metric: str, smoothing: float) -> list[tuple[str, str]]:
    """What to say of label smoothing where likelihoods count: with 0.1 the least loss is that of 0.9 p + 0.1 / V.

    Example:
        >>> smoothing_line("bleu", 0.1), smoothing_line("perplexity", 0.0)
        ([], [])
        >>> smoothing_line("perplexity", 0.1)[0][1]
        'label smoothing 0.1 keeps the model from being sure; where perplexity counts, try --model.label-smoothing 0'
    """
    if not smoothing or metric not in ("loss_nats_per_token", "perplexity"):
        return []
    return [
        (
            "note",
            f"label smoothing {smoothing:g} keeps the model from being sure; where {metric} counts, "
            "try --model.label-smoothing 0",
        )
    ]


def render(rows: Sequence[tuple[str, str]]) -> str:
    """The lines of the report.

    Example:
        >>> print(render([("pairs", "3 kept"), ("time", "soon")]))
        pairs    3 kept
        time     soon
    """
    return "\n".join(f"{name:<9}{value}" for name, value in rows)


def _shape_of(batch: Any, shape: Any) -> Any:
    """A batch of `shape` without numbers."""
    sizes = {"source": shape.source, "target_in": shape.target, "target_out": shape.target, "target_mask": shape.target}
    specs = {
        name: jax.ShapeDtypeStruct(
            (sizes[name], shape.batch) if name in sizes else (shape.batch,), getattr(batch, name).dtype
        )
        for name in batch._fields
    }
    return type(batch)(**specs)


def _products_per_second(precision: Precision) -> float:
    """This machine's floating-point operations a second, in a product of two square matrices."""
    a = jnp.ones((_PROBE, _PROBE))
    product = jax.jit(in_precision(jnp.matmul, precision))
    product(a, a).block_until_ready()
    times = []
    for _ in range(_PROBES):
        began = time.perf_counter()
        product(a, a).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * _PROBE**3 / median(times)


def _size(byte_count: float) -> str:
    return f"{byte_count / 2**30:.1f} GiB" if byte_count >= 2**30 else f"{max(1, byte_count / 2**20):.0f} MiB"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
