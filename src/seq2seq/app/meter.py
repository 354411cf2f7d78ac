"""How far a command is and how fast: a bar on a terminal, on standard error; elsewhere silent."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Meter:
    """Counts things done and shows them; a context manager.

    Args:
        unit: what is counted, in the plural.
        total: the bytes to read, or None where nobody knows.

    Example:
        >>> with Meter("lines", None) as meter:
        ...     meter.advance(3, 0)
        >>> meter.done
        3
    """

    def __init__(self, unit: str, total: int | None, console: Console | None = None):
        self.unit, self.done, self._began = unit, 0, time.perf_counter()
        console = console or Console(stderr=True)
        shown = [BarColumn(), TaskProgressColumn(), TimeRemainingColumn(compact=True)]
        text = TextColumn("{task.description}")
        self._bar = Progress(text, *shown, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(f"0 {unit}", total=total)

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
        described = f"{self.done:,} {self.unit}, {self.speed:,.0f}/s"
        self._bar.update(self._task, completed=position, description=described)
