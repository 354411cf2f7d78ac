"""Standard error, which may end before the work does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO, TypeVar, cast

T = TypeVar("T")


def lasting(stream: TextIO) -> TextIO:
    """A text stream that leads nowhere from when on it cannot be written: its reader has gone, or its disk is full.

    What is told to people on the way must not end the work that it tells of.

    Example:
        >>> import io
        >>> said = io.StringIO()
        >>> print("heard", file=lasting(said))
        >>> said.getvalue()
        'heard\\n'
    """
    return cast(TextIO, _Lasting(stream))


class _Lasting:
    def __init__(self, stream: TextIO):
        self._stream, self._lost = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._tried(lambda: self._stream.write(text), len(text))

    def flush(self) -> None:
        self._tried(self._stream.flush, None)

    def _tried(self, act: Callable[[], T], otherwise: T) -> T:
        try:
            return otherwise if self._lost else act()
        except OSError:
            self._lost = True
            return otherwise
