"""Folders that are still there after a power cut."""

from __future__ import annotations

from pathlib import Path

from seq2seq.core.archive import _fsync_folder


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
