"""Pictures made of characters: a heat map of attention, and the curves of a run."""

from __future__ import annotations

import math
import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from seq2seq.app.pictures.curves import Line, Panel

_SHADES = "·░▒▓█"
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_NARROWEST, _WIDEST = 2, 12
"""Columns for a token."""
_DOTTED_CIRCLE = "\u25cc"
_LEFT_TO_RIGHT = "\u200e"
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class Screen:
    """What a terminal can show: so many columns, and 24-bit colours or none."""

    width: int = 80
    colours: bool = False

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Screen:
        """The screen behind a stream: colours if it is a terminal that says it has them, and nobody set NO_COLOR."""
        able = environment.get("COLORTERM", "").lower() in ("truecolor", "24bit") and environment.get("TERM") != "dumb"
        colours = able and stream.isatty() and not environment.get("NO_COLOR")
        return cls(max(20, shutil.get_terminal_size().columns), colours)


def shown(token: str) -> str:
    r"""A token so that it can be seen: a space is ␣, a mark that stands alone gets a circle, a control its code.

    Joiners between letters, which shape them, stay, and so do letters for private use.

    Example:
        >>> shown(" "), shown("\u0301"), shown("a\tb"), shown(""), shown("\u200c")
        ('␣', '◌́', 'a\\tb', '∅', '\\u200c')
    """
    if not token:
        return "∅"
    token = token.replace(" ", "␣")
    if unicodedata.category(token[0]).startswith("M"):
        token = _DOTTED_CIRCLE + token
    seen = _JOINERS if token.strip(_JOINERS) else ""
    return "".join(c if c in seen or _has_a_shape(c) else repr(c)[1:-1] for c in token)


def _has_a_shape(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] not in "CZ" or kind == "Co"


def heat_map(
    attention: NDArray[np.float32], source: Sequence[str], target: Sequence[str], screen: Screen = Screen()
) -> str:
    """Attention as a table of characters: a row for each target token, a column for each source token.

    The fuller a cell, the more weight: `·░▒▓█` are 0, 25, 50, 75 and 100 %, rounded; with colours, the brighter.
    A table that is too wide for the screen is cut into several, one below the other.

    Args:
        attention: (target, source) weights, from 0 to 1.
        source: the source tokens.
        target: the target tokens.
        screen: how wide, and whether in colours.

    Example:
        >>> print(heat_map(np.array([[0.9, 0.1], [0.5, 0.5]], np.float32), ["a", "<end>"], ["x", "yy"]))
            a  <end>
        x   ██ ·
        yy  ▒▒ ▒▒▒▒▒
    """
    columns, rows = [shown(token) for token in source], [shown(token) for token in target]
    margin = min(_WIDEST, max(map(cell_len, rows), default=0)) + 2
    widths = [max(_NARROWEST, min(_WIDEST, screen.width - margin, cell_len(column))) for column in columns]
    blocks = []
    for part in _parts(widths, screen.width - margin):
        head = " " * margin + " ".join(map(_fitted, columns[part], widths[part]))
        lines = [
            _fitted(name, margin - 2) + "  " + _cells(weights[part], widths[part], screen.colours)
            for name, weights in zip(rows, attention, strict=True)
        ]
        blocks.append("\n".join(line.rstrip(" ") for line in [head, *lines]))
    return "\n\n".join(blocks)


def charts(panels: Sequence[Panel], screen: Screen = Screen(), height: int = 4) -> str:
    """The curves of a run, each line of each panel by itself, two beside each other where there is room."""
    across = 2 if screen.width >= 100 else 1
    width = (screen.width - 3 * (across - 1)) // across
    made = []
    for panel in panels:
        for line in panel.lines:
            title = f"{line.name}: {panel.title}" if line.name else panel.title
            made.append(chart(title, line, width, height))
    rows = [made[first : first + across] for first in range(0, len(made), across)]
    return "\n\n".join("\n".join("   ".join(parts).rstrip() for parts in zip(*row, strict=True)) for row in rows)


def chart(title: str, line: Line, width: int, height: int = 4) -> list[str]:
    """A line as columns of blocks; a column is the mean of what falls in it; between are straight lines, and before
    the first finite value and after the last is nothing.

    Example:
        >>> for row in chart("loss", Line("", [0, 1, 2], [4.0, 2.0, 0.0], []), 20, 2):
        ...     print(row.rstrip())
        loss: 0
        4 ┤█▇▆▅▄▃▂▁
        0 ┤██████████▇▆▅▄▃▂▁
          └ update 0 to 2
    """
    values, updates = np.array(line.values), np.array(line.updates)
    good = np.isfinite(values)
    if not good.any():
        return [f"{title}: never a finite number".ljust(width)[:width], *[" " * width] * (height + 1)]
    low, high = float(values[good].min()), float(values[good].max())
    labels = [_short(high), *[""] * (height - 2), _short(low)]
    margin = max(map(len, labels))
    columns = _columns(values, updates, max(1, width - margin - 2))
    eighths = np.rint(np.nan_to_num(1 + (8 * height - 1) * (columns - low) / ((high - low) or 1.0))).astype(int)
    rows = [f"{title}: {_short(float(values[-1]))}"]
    for row in range(height):
        blocks = "".join(_EIGHTHS[min(8, max(0, count - 8 * (height - 1 - row)))] for count in eighths)
        rows.append(f"{labels[row].rjust(margin)} ┤{blocks}")
    rows.append(f"{'':{margin}} └ update {updates[0]:,} to {updates[-1]:,}")
    return [set_cell_size(row, width) for row in rows]


def _columns(values: NDArray[np.float64], updates: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """The heights; NaN where no finite value is on one of the sides."""
    span = max(1, int(updates[-1] - updates[0]))
    places = np.rint((updates - updates[0]) * (width - 1) / span)
    good = np.isfinite(values)
    filled = np.unique(places[good])
    means = [values[good & (places == place)].mean() for place in filled]
    return np.interp(np.arange(width), filled, means, left=np.nan, right=np.nan)


def _parts(widths: Sequence[int], room: int) -> Iterator[slice]:
    """Columns that fit beside each other, one space between them."""
    first = used = 0
    for place, width in enumerate(widths):
        if used + width > room and place > first:
            yield slice(first, place)
            first, used = place, 0
        used += width + 1
    yield slice(first, len(widths))


def _cells(weights: NDArray[np.float32], widths: Sequence[int], colours: bool) -> str:
    cells = zip(weights.tolist(), widths, strict=True)
    if colours:
        return " ".join(f"\x1b[48;2;{_colour(weight)}m{' ' * width}\x1b[0m" for weight, width in cells)
    return " ".join(_shade(weight, width) for weight, width in cells)


def _shade(weight: float, width: int) -> str:
    level = round(4 * min(max(weight, 0.0), 1.0)) if math.isfinite(weight) else 0
    return _SHADES[level] * width if level else "·".ljust(width)


def _colour(weight: float) -> str:
    """From a dark blue over green to yellow; the square root shows small weights, as most are."""
    part = math.sqrt(min(max(weight, 0.0), 1.0)) if math.isfinite(weight) else 0.0
    stops = np.array([[30, 32, 60], [33, 110, 140], [70, 190, 110], [250, 230, 60]])
    return ";".join(str(round(float(np.interp(3 * part, range(4), stops[:, i])))) for i in range(3))


def _fitted(text: str, width: int) -> str:
    """The text in so many columns; one that is too long ends in an ellipsis."""
    fitted = text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
    fitted = set_cell_size(fitted, width) if cell_len(fitted) < width else fitted
    # A terminal that knows of both directions would else turn the cells around with the letters.
    mixed = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)
    return _LEFT_TO_RIGHT + fitted + _LEFT_TO_RIGHT if mixed else fitted


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
