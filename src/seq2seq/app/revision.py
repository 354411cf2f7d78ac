"""The git revision of a folder, where there is one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import seq2seq

_PATIENCE = 5.0  # s: to see what has changed in a repository of very many files


def revision(folder: Path) -> str | None:
    """The commit that a folder stands at, with -dirty behind it if a file of it was changed since; None where there is
    no repository, no commit or no git.

    Nothing of the repository is written, and nothing that its configuration names is run.
    """
    command = ["git", "-c", "core.fsmonitor=false", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        found = subprocess.run(
            command,
            cwd=folder,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.decode("ascii", "replace").strip() or None


def own_revision() -> str | None:
    """That of seq2seq itself, if it runs from a checkout: not that of a repository with an environment somewhere in it,
    in which it is installed."""
    root = Path(seq2seq.__file__).parents[2]
    return revision(root) if (root / ".git").exists() else None
