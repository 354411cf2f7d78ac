"""Our own commands, each in a process of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from seq2seq.app.runtime import thread_count


class CommandError(Exception):
    """A command failed: the last that it said."""


def seq2seq(*words: str | Path | float, cache: Path | None = None) -> str:
    """What `seq2seq WORDS` prints; `cache` holds compiled programs, the user's own folder by default.

    Raises:
        CommandError: it failed.
    """
    command = [sys.executable, "-m", "seq2seq", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment(cache))
    if done.returncode:
        told = [line.strip("│ ") for line in done.stderr.splitlines() if any(map(str.isalnum, line))]  # in a box or not
        raise CommandError(" ".join(told[-4:]) or "killed")
    return done.stdout


def as_typed(*words: str | Path | float) -> str:
    """The command as one would type it.

    Example:
        >>> as_typed("train", Path("my pairs.tsv"), "--seed", 1)
        "seq2seq train 'my pairs.tsv' --seed 1"
    """
    return f"seq2seq {shlex.join(map(str, words))}"


def share_cores(jobs: int) -> None:
    """From now on each command computes with its share of the cores: so many run side by side.

    Raises:
        SystemExit: jobs is less than 1.
    """
    if jobs < 1:
        raise SystemExit(f"--jobs is {jobs}; wanted 1 or more.")
    os.environ["NPROC"] = str(max(1, thread_count() // jobs))


def environment(cache: Path | None = None) -> dict[str, str]:
    """That of a process which is to import what this one does, and keeps compiled programs in `cache` if there is one
    as it would in the user's own folder."""
    found = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    if cache is None:
        return found
    return found | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",  # as app/runtime.py sets them
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
