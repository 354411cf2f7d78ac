"""How far a command is and how fast: a bar on a terminal, on standard error; elsewhere silent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from seq2seq.data.packed import is_packed
from seq2seq.training.terminal import error_console

T = TypeVar("T")
_LARGEST_READ = 1 << 20


class Meter:
    """Counts things done and shows them; a context manager.

    Args:
        unit: what is counted, in the plural.
        total: the bytes to read, or the things to do, or None where nobody knows.
        task: what is done with them, before the count.

    Example:
        >>> with Meter("lines", None) as meter:
        ...     meter.advance(3, 0)
        >>> meter.done
        3
    """

    def __init__(self, unit: str, total: int | None, console: Console | None = None, task: str = ""):
        self.unit, self.total, self.done, self._began = unit, total, 0, time.perf_counter()
        self.task = f"{task}: " * bool(task)
        console = console or error_console()
        shown = [BarColumn(), TaskProgressColumn(), TimeRemainingColumn(compact=True)]
        text = TextColumn("{task.description}")
        # Results on standard output are none of the bar's business: else it would print them, on standard error.
        self._bar = Progress(
            text, *shown, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
        )
        self._task = self._bar.add_task(f"{self.task}0 {unit}", total=total)

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def speed(self) -> float:
        """Things a second, since the beginning."""
        return self.done / max(time.perf_counter() - self._began, 1e-9)

    def advance(self, count: int, position: int) -> None:
        """Count things that are done; so many bytes are read by now."""
        self.done += count
        described = f"{self.task}{self.done:,} {self.unit}, {self.speed:,.0f}/s"
        self._bar.update(self._task, completed=position, description=described)


_WATCHED: ContextVar[Meter | None] = ContextVar("watched", default=None)


@contextmanager
def watched(unit: str, total: int | None, task: str = "", shown: bool = True) -> Iterator[None]:
    """A bar on a terminal that moves with everything that is `told` of in here, however deep; one inside another rules.

    Args:
        unit: what is counted; other things that are told of do not count.
        total: how many there are, or None where nobody knows.
        task: what is done with them.
        shown: false for no bar at all.
    """
    if not shown:
        yield
        return
    with Meter(unit, total, task=task) as meter:
        before = _WATCHED.set(meter)
        try:
            yield
        finally:
            _WATCHED.reset(before)


def told(unit: str, batches: Iterable[T], count: Callable[[T], int]) -> Iterator[T]:
    """The batches; whoever watches such things hears of each when it is done.

    Example:
        >>> with watched("lines", 3):
        ...     list(told("lines", ["ab", "c"], len))
        ['ab', 'c']
    """
    for batch in batches:
        yield batch
        if (meter := _WATCHED.get()) and meter.unit == unit:
            done = count(batch)
            meter.advance(done, meter.done + done)


def count_lines(paths: Iterable[str | None]) -> int | None:
    """The lines of plain files; None if one of them is something else, such as a pipe."""
    total = 0
    for path in paths:
        if path is None or not os.path.isfile(path) or path.endswith(".parquet"):
            return None
        with Path(path).open("rb") as file:
            if is_packed(file.read(4)):
                return None
            file.seek(0)
            while block := file.read(_LARGEST_READ):
                total += block.count(b"\n")
    return total
