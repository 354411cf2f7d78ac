"""Where bars are drawn."""

from __future__ import annotations

import sys

from rich.console import Console

from seq2seq.core.streams import lasting


def error_console() -> Console:
    """Standard error, while somebody reads it; a terminal only where it is one: FORCE_COLOR makes a file none, whatever
    rich says."""
    return Console(file=lasting(sys.stderr), force_terminal=None if sys.stderr.isatty() else False)
