"""Files and folders that are whole, and still there, after a crash or a power cut."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from seq2seq.errors import ArchiveError


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing; each is durable in the one above it.

    A file that is fsynced, and its folder too, is lost all the same with the name of a folder that never reached the
    disk.

    Raises:
        OSError: it cannot be made.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run" / "checkpoints"
        >>> make_folder(folder)
        >>> folder.is_dir()
        True
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _fsync_folder(path.parent)


def atomic_write(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill(temporary)` write a file and put it at `path` in one step, safe against a crash at any instant.

    What takes the place of a file may be read and written by whom that might.

    Raises:
        ArchiveError: the disk is full, the folder cannot be written, or `path` is a device or a pipe.
    """
    named, path = path, replaceable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            if path.is_file():
                with suppress(OSError):  # a disk that knows no modes
                    temporary.touch()
                    temporary.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR)
            fill(temporary)
            with open(temporary, "r+b") as file:  # Windows only syncs what is open for writing
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ArchiveError(f"{named}: cannot be written ({error.strerror or error}).") from None


def replaceable(path: Path) -> Path:
    """Where a file that takes the place of `path` is to be put: behind a symbolic link, the file that it points to.

    Raises:
        ArchiveError: a device or a pipe is there, which would be gone.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ArchiveError(f"{path}: is a device or a pipe, of which a file would take the place; name a file.")
        found = path.resolve() if path.is_symlink() else path
        if found.is_symlink():  # Python 3.13 says nothing of it
            raise RuntimeError("links in a circle")
        return found
    except (OSError, RuntimeError) as error:  # a name too long, a folder that is closed to us; links in a circle
        raise ArchiveError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error}).") from None


def _fsync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows cannot open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
