"""What is compiled for requests, within bounds: each set of options has programs of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable

import jax

from seq2seq.app.runtime import give_back_memory


def forget_programs() -> None:
    """Drop every compiled program of this process; what is wanted again is read from the cache on disk, or made."""
    jax.clear_caches()
    gc.collect()
    give_back_memory()


class Programs:
    """The sets of options that programs are there for; when there are too many, all are forgotten.

    JAX drops programs all at once or not at all, so that the first requests after it wait as those after a start do.

    Args:
        most: sets of options.
        forget: drops the programs of all of them.

    Example:
        >>> programs = Programs(2, forget=lambda: print("forgotten"))
        >>> for options in ("beam 1", "beam 5", "beam 1", "beam 9", "beam 9"):
        ...     programs.use(options)
        forgotten
    """

    def __init__(self, most: int, forget: Callable[[], None] = forget_programs):
        self._most, self._forget = most, forget
        self._known: set[Hashable] = set()

    def use(self, options: Hashable) -> None:
        """Before something is computed that depends on these options."""
        if options in self._known:
            return
        if len(self._known) >= self._most:
            self._known.clear()
            self._forget()
        self._known.add(options)
