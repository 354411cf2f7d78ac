"""The table that is printed, row by row as the numbers come, or as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO, TypeAlias

Value: TypeAlias = float | int | str | None

_NAMES, _LEAST = 62, 8  # characters of the first column, and at least of each other


@dataclass
class Table:
    """Prints a heading wherever part or columns change, and the rows under it.

    Example:
        >>> table = Table()
        >>> table.row("layers", "GRU", {"ours ms": 1234.5, "lax/ours": 1.234, "torch/ours": None})  # doctest: +ELLIPSIS
        <BLANKLINE>
        layers ... ours ms  lax/ours  torch/ours
        GRU    ...   1,234      1.23           -
    """

    as_json: bool = False
    file: TextIO | None = None
    _heading: tuple[str, ...] = field(default=(), init=False)

    def row(self, part: str, what: str, values: Mapping[str, Value]) -> None:
        """Print what was found of one thing; None shows as a dash."""
        if self.as_json:
            self._print(json.dumps({"part": part, "what": what, **values}))
            return
        widths = [max(_LEAST, len(name)) for name in values]
        if self._heading != (part, *values):
            self._heading = (part, *values)
            names = "  ".join(name.rjust(width) for name, width in zip(values, widths, strict=True))
            self._print(f"\n{part:<{_NAMES}}{names}")
        cells = (shown(value).rjust(width) for value, width in zip(values.values(), widths, strict=True))
        self._print(f"{what:<{_NAMES}}{'  '.join(cells)}")

    def note(self, part: str, text: str) -> None:
        """Print a line that says why something is not there, or what else should be known."""
        self._print(json.dumps({"part": part, "note": text}) if self.as_json else f"{part}: {text}")

    def _print(self, line: str) -> None:
        file = self.file or sys.stdout
        file.write(f"{line}\n")  # in one piece: runs side by side print too
        file.flush()


def shown(value: Value) -> str:
    """A value as the table shows it: three digits, or whole numbers.

    Example:
        >>> [shown(value) for value in (12345.6, 12.34, 0.01234, 7, "left out", None)]
        ['12,346', '12.3', '0.0123', '7', 'left out', '-']
    """
    match value:
        case None:
            return "-"
        case float() if abs(value) >= 100:
            return f"{value:,.0f}"
        case float():
            return f"{value:#.3g}".rstrip(".")
        case int():
            return f"{value:,}"
        case _:
            return str(value)
