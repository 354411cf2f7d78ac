"""Lines for people to type next: the program as it was called, and what a shell must not take apart."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def program() -> str:
    """How to call this program again: `seq2seq` where the shell finds this very one, else as it was called.

    A virtual environment that is not activated is not on the PATH; after `.venv/bin/seq2seq` nothing is called seq2seq.
    """
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and called.parent.name == "seq2seq":
        return f"{quoted(sys.executable)} -m seq2seq"
    if called.stem != "seq2seq":  # from Python
        return "seq2seq"
    known, here = shutil.which("seq2seq"), shutil.which(str(called))
    if known and here and os.path.samefile(known, here):
        return "seq2seq"
    return quoted(called)


def quoted(word: str | Path) -> str:
    """A word as a shell takes it for one.

    Example:
        >>> quoted("run"), quoted("my run")[1:-1]
        ('run', 'my run')
    """
    return shlex.quote(str(word)) if os.name == "posix" else subprocess.list2cmdline([str(word)])
