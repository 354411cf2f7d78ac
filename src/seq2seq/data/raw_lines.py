"""Lines as bytes, from a file or a stream, plain or gzip, in windows that keep neighbours of one kind together."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from seq2seq.data.lines import check_file
from seq2seq.data.packed import reading_error, reading_errors, unpacked
from seq2seq.errors import DataError

_MOST_BYTES = 1 << 24
_WINDOW_BYTES = 1 << 26


class RawLines:
    """The lines of a file or stream, their ends included; gzip and zstd are known by content, not by name.

    Iterate once. `position` of `size` bytes (None for a stream or a pipe) are read, as they lie on disk.

    Args:
        path: a file; None or `-` for `stream`.
        stream: what is read where there is no path.

    Raises:
        DataError: the file cannot be read, is cut off, or has a line of more than 16 MiB.

    Example:
        >>> import gzip
        >>> packed = io.BytesIO(gzip.compress(b"a\\nb"))
        >>> with RawLines(None, packed) as lines:
        ...     list(lines)
        [b'a\\n', b'b']
    """

    def __init__(self, path: str | Path | None, stream: BinaryIO):
        self._stack = ExitStack()
        self.name, self.size, self.read = str(path), None, 0
        self._is_ours = path not in (None, "-")
        if not self._is_ours:
            self.name, self._file = "standard input", stream
        try:
            if self._is_ours:
                found = check_file(str(path), once=True, may_be_empty=True)
                self._file = self._stack.enter_context(found.open("rb"))
                if found.is_file():
                    self.size = os.fstat(self._file.fileno()).st_size
            peeked = io.BufferedReader(self._file, 1 << 16)  # pyright: ignore[reportArgumentType]
            self._lines: BinaryIO = unpacked(peeked, self._stack, self.name)  # pyright: ignore[reportArgumentType]
        except reading_errors() as error:
            self._stack.close()
            raise reading_error(error, self.name) from None
        self._peeked = peeked

    def __enter__(self) -> RawLines:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_ours:
            self._peeked.detach()
        self._stack.close()

    @property
    def position(self) -> int:
        """The bytes read so far, as they lie on disk."""
        return self._file.tell() if self.size is not None else 0

    def __iter__(self) -> Iterator[bytes]:
        """The lines."""
        while True:
            try:
                line = self._lines.readline(_MOST_BYTES)
            except reading_errors() as error:
                raise reading_error(error, self.name, self.read + 1) from None
            if not line:
                return
            if len(line) == _MOST_BYTES and not line.endswith(b"\n"):
                raise DataError("a line of more than 16 MiB; is this a text file?", self.name, self.read + 1)
            self.read += 1
            yield line


def windows(lines: Iterator[bytes], least: int, most: int | None) -> Iterator[list[bytes]]:
    """Lines in lists of at least `least`, cut only where the first column (what is before `|||`) changes.

    So equal sources that stand together, and a whole n-best list, are in one window. Where a column stays the same for
    more than `most` lines, or a window holds 64 MiB, it is cut all the same (None: never). Where windows are cut
    depends on the lines from the last cut on only, so that reading may begin at any cut.

    Example:
        >>> [len(window) for window in windows(iter([b"a ||| 1", b"a ||| 2", b"b ||| 3"]), 1, 10)]
        [2, 1]
    """
    window: list[bytes] = []
    held = 0
    for line in lines:
        full = len(window) >= least and _column(line) != _column(window[-1])
        if window and (full or (most is not None and (len(window) >= most or held >= _WINDOW_BYTES))):
            yield window
            window, held = [], 0
        window.append(line)
        held += len(line)
    if window:
        yield window


def _column(line: bytes) -> bytes:
    return line.partition(b"|||")[0].strip()
