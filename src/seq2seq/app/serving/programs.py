"""What is compiled for requests, within bounds: options and shapes that nobody has asked for yet have new programs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache

import jax

from seq2seq.app.runtime import give_back_memory

_COMPILED = "/jax/core/compile/backend_compile_duration"  # also of what the cache on disk had compiled already


def forget_programs() -> None:
    """Drop every compiled program of this process; what is wanted again is read from the cache on disk, or made."""
    jax.clear_caches()
    gc.collect()
    give_back_memory()


class _Counter:
    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._told)

    def _told(self, event: str, duration_secs: float, **_: str | int) -> None:
        self.count += event == _COMPILED


_counter = cache(_Counter)  # one for the process, whoever asks


def programs_made() -> int:
    """How many programs this process has compiled, or read from the cache on disk, since this was first asked."""
    return _counter().count


class Programs:
    """The compiled programs of this process; when there are too many, all are forgotten.

    JAX drops programs all at once or not at all, so that the first requests after it wait as those after a start do.

    Args:
        most: programs.
        forget: drops them.
        made: how many there have been.

    Example:
        >>> made = iter([0, 2, 3, 3, 5])
        >>> programs = Programs(2, forget=lambda: print("forgotten"), made=lambda: next(made))
        >>> for _ in range(3):
        ...     programs.make_room()
        forgotten
    """

    def __init__(
        self, most: int, forget: Callable[[], None] = forget_programs, made: Callable[[], int] = programs_made
    ):
        self._most, self._forget, self._made = most, forget, made
        self._before = made()

    def make_room(self) -> None:
        """Before something is computed that may compile more."""
        if self._made() - self._before > self._most:
            self._forget()
            self._before = self._made()
