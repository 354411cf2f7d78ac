"""Ctrl-C, SIGTERM and a closed terminal as a wish to stop: the first is heard between two updates, the second ends at
once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """While entered, the first SIGINT, SIGTERM or SIGHUP only sets `asked`; a second one raises KeyboardInterrupt.

    Outside the main thread, where Python lets nobody hear signals, it does nothing.

    Attributes:
        heard: the number of the signal that was heard last, or 0. It is the argument of the KeyboardInterrupt too.

    Example:
        >>> with Interrupt() as interrupt:
        ...     signal.raise_signal(signal.SIGINT)
        ...     interrupt.asked
        True
    """

    def __init__(self) -> None:
        self.heard = 0
        self._open = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Who was started to ignore a signal (nohup, a shell's background job) goes on ignoring it.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    @property
    def asked(self) -> bool:
        """Whether a signal was heard."""
        return self.heard != 0

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it the first signal, too, raises KeyboardInterrupt: for long work that can be done again."""
        if self.asked:
            raise KeyboardInterrupt(self.heard)
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        again, self.heard = self.asked, int(number)
        if again or self._open:
            raise KeyboardInterrupt(self.heard)
