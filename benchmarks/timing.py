"""Measurements that take turns: what is compared is measured in every round, and medians are told."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax

Measure: TypeAlias = Callable[[], float]
"""Makes one measurement and returns it, mostly milliseconds."""


class BenchmarkError(RuntimeError):
    """Something could not be measured; in one line."""


_PAUSE = 0.01  # s: threads of the one before may still spin, waiting for work
_LEAST = 0.05  # s that one measurement takes at least, as far as `_MOST` runs go
_MOST = 100


@dataclass(frozen=True)
class Rounds:
    """What was measured, by name, one value a round.

    Example:
        >>> rounds = Rounds({"ours": [1.0, 2.0, 4.0], "theirs": [2.0, 3.0, 8.0]})
        >>> rounds.median("ours"), rounds.ratio("theirs", "ours")
        (2.0, 2.0)
    """

    values: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """The median of the rounds."""
        return statistics.median(self.values[name])

    def ratio(self, over: str, under: str) -> float:
        """The median of the ratios of the rounds: what disturbs a whole round leaves its ratio as it is."""
        pairs = zip(self.values[over], self.values[under], strict=True)
        return statistics.median(a / b for a, b in pairs)


def interleaved(measures: Mapping[str, Measure], rounds: int, *, warm: bool = True) -> Rounds:
    """Measure all in turn, `rounds` times, every other round backwards; `warm` measures each once before, untold.

    Example:
        >>> order: list[str] = []
        >>> interleaved({"a": lambda: order.append("a") or 1.0, "b": lambda: order.append("b") or 2.0}, 2).values
        {'a': [1.0, 1.0], 'b': [2.0, 2.0]}
        >>> order
        ['a', 'b', 'a', 'b', 'b', 'a']
    """
    if warm:
        for measure in measures.values():
            measure()
    values: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures) if number % 2 == 0 else reversed(list(measures)):
            time.sleep(_PAUSE)
            values[name].append(measures[name]())
    return Rounds(values)


@dataclass
class Clocked:
    """A program of JAX as a measure: milliseconds a run, over as many runs as make the clock's own error small."""

    run: Callable[[], Any]
    repeats: int | None = None

    def __call__(self) -> float:
        """Run, wait and tell the milliseconds; the first call compiles and finds out how long it takes."""
        if self.repeats is None:
            jax.block_until_ready(self.run())
            self.repeats = enough(self._milliseconds(1))
        return self._milliseconds(self.repeats)

    def _milliseconds(self, repeats: int) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            jax.block_until_ready(self.run())
        return 1000 * (time.perf_counter() - began) / repeats


def enough(milliseconds: float) -> int:
    """How often what takes so long should run in one measurement.

    Example:
        >>> enough(1000.0), enough(10.0), enough(0.001)
        (1, 5, 100)
    """
    return min(_MOST, max(1, round(1000 * _LEAST / max(milliseconds, 1e-6))))
