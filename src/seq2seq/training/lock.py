"""One run in a folder at a time: a lock that the system takes back when its holder ends, however it ends."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from seq2seq.core.files import make_folder
from seq2seq.errors import ConfigError, TrainingError

_BEGINS = "process "
_TRIES = 10  # then there is a file system whose files are never the same twice: better no lock than no run


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
            for tries_left in reversed(range(_TRIES)):
                if self._is_taken(last=not tries_left):
                    break
        except OSError as error:
            self.__exit__()
            raise ConfigError(f"{self.path}: cannot be written ({error.strerror or error}).") from None
        return self

    @property
    def is_ours(self) -> bool:
        """Whether there is such a file, and a run wrote it."""
        try:
            with self.path.open("rb") as file:
                return file.read(len(_BEGINS)) in (b"", _BEGINS.encode())  # empty: killed as it was made
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        if self._file:
            with suppress(OSError):  # of a full disk, which was said already
                self._file.close()  # which gives the lock back

    def _is_taken(self, last: bool) -> bool:
        """Try to take the lock; false if its file was removed meanwhile, unless it is the `last` try."""
        make_folder(self.path.parent)
        self._file = file = self.path.open("a+", encoding="utf-8")
        if not _locked(file):
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise ConfigError(
                f"{self.path.parent}: {holder} is training here; wait for it or stop it, or choose another --out."
            )
        if not last and not _is_at(file, self.path):
            file.close()
            return False
        file.truncate(0)
        file.write(f"{_name(os.getpid())}\n")
        file.flush()
        return True


def check_lock(folder: Path) -> None:
    """Look whether the lock of a folder is still this process's; to be called before anything is written there.

    It is lost with its file: where the folder is removed or moved, the next run gets a lock of its own.

    Raises:
        TrainingError: it is not; says whose it is, if anybody's.
    """
    try:
        holder = (folder / "lock").read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        holder = ""
    except OSError:  # a disk that cannot be read for a while is no other run
        return
    if holder == _name(os.getpid()):
        return
    found = f"{holder} trains here now" if holder else "the folder, or the lock in it, was moved or removed"
    raise TrainingError(
        f"{folder}: {found} while process {os.getpid()} was training here; it ends. "
        "Go on by --resume from what it has saved, where that is now."
    )


@cache
def _name(process: int) -> str:
    """What a holder is called: its process, since when it trains, and where."""
    return f"{_BEGINS}{process}, since {time.strftime('%Y-%m-%d %H:%M:%S')}, on {socket.gethostname()}"


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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
