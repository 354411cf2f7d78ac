"""The git revision of a folder, where there is one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import seq2seq

_PATIENCE = 5.0  # s


def revision(folder: Path) -> str | None:
    """The commit that a folder stands at; None where there is no repository, no commit or no git.

    Whether files were changed since is not asked: git then reads them, and runs what the repository's configuration
    names to filter them.
    """
    command = ["git", "rev-parse", "--verify", "HEAD"]
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
