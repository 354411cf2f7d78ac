"""Files that a command is to write, looked at before anything takes time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from seq2seq.errors import ConfigError


def check_output(option: str, path: str, read: Iterable[str | Path | None] = ()) -> None:
    """Refuse a file that could not be written, or that the command reads.

    Args:
        option: which names the file, for people.
        path: of the file.
        read: what is read; None and "-" are no files.

    Raises:
        ConfigError: it is a folder, in a folder that is not there, or one of those that are read.
    """
    out = Path(path)
    if out.is_dir():
        raise ConfigError(f"{option} {path} is a folder; name a file to write.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {out.parent}; make it, or name another file.")
    for given in filter(None, read):
        if out.exists() and Path(given).exists() and out.samefile(given):
            raise ConfigError(f"{option} {path} would be written over {given}, which is read; name another file.")
