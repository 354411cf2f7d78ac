"""One run in a folder at a time: a lock that the system takes back when its holder ends, however it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import IO

from seq2seq.errors import ConfigError


class FolderLock:
    """A context manager: within it, no other process gets the lock of the folder.

    The file `lock` in the folder names who holds it; it stays there afterwards, and means nothing by itself.

    Raises:
        ConfigError: somebody else holds it, or the file cannot be written; names the holder.

    Example:
        >>> import tempfile
        >>> with FolderLock(Path(tempfile.mkdtemp())) as lock:
        ...     lock.path.read_text().startswith("process")
        True
    """

    def __init__(self, folder: Path):
        self.path = folder / "lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> FolderLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written ({error.strerror or error}).") from None
        if not _locked(self._file):
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise ConfigError(
                f"{self.path.parent}: {holder} is training here; wait for it or stop it, or choose another --out."
            )
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        self._file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()  # which gives the lock back


def _locked(file: IO[str]) -> bool:
    """Take the lock of an open file; false if somebody has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _locked_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: better no lock than no run
        return True
    return True


def _locked_on_windows(file: IO[str]) -> bool:
    import msvcrt

    file.seek(0x7FFF0000)  # a byte far behind what is read
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    except OSError:
        return False
    return True
