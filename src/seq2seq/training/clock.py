"""The time of a run. It says when to save and when to stop, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """The seconds of a run, and the speed of its updates, from which evaluations and saves are left out.

    It reads a clock that never jumps.

    Attributes:
        saved: the seconds at which the run was last saved.
        evaluation: the seconds that the last evaluation took.
    """

    def __init__(self, trained: float, tokens: int, evaluation: float = 0.0):
        self._began = time.perf_counter() - trained
        self._lap, self._tokens = time.perf_counter(), tokens
        self.saved, self.evaluation = trained, evaluation

    def seconds(self) -> float:
        """Seconds that the run has had, those before a resume among them."""
        return time.perf_counter() - self._began

    def lap(self, tokens: int) -> float:
        """The speed since the last lap in tokens/s, when `tokens` have been seen in all; begins the next lap."""
        now = time.perf_counter()
        speed = (tokens - self._tokens) / max(now - self._lap, 1e-9)
        self._lap, self._tokens = now, tokens
        return speed

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done within is no part of the lap."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._lap += time.perf_counter() - began
