"""Pictures as figures of matplotlib: made as objects, so that no window opens and no setting of anyone changes."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.pictures.curves import Line, Panel
from seq2seq.app.pictures.fonts import Fonts
from seq2seq.app.pictures.terminal import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

_BLUE = "#1f77b4"
_COLOURS = {"dev": "#d95f02", "dev, mean of the last models": "#7570b3"}
_LARGEST = 40.0
"""Inches; a picture of more tokens has smaller ones."""
_LOGARITHMIC = ("gradient norm",)
_FROM_ZERO = ("tokens/s", "learning rate")
_LABELLED = 150
_LONGEST = 32
"""Characters of a label in a map."""
_UPRIGHT = 2
"""Characters that fit beside those of the next column."""
_SIDES = (
    ("left", "center", (4, 0)),
    ("right", "center", (-4, 0)),
    ("center", "bottom", (0, 4)),
    ("center", "top", (0, -4)),
)
"""Where the label of a dot may stand: alignment, and points from the dot."""


def curves_figure(panels: Sequence[Panel]) -> Figure:
    """The curves of a run over its updates, a panel each; the models that were the best so far are dots."""
    columns = min(3, max(1, len(panels)))
    rows = -(-len(panels) // columns)
    figure = _figure(4.6 * columns, 3.1 * rows)
    last = max((line.updates[-1] for panel in panels for line in panel.lines), default=1)
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel("updates", fontsize=9)
        axes.set_xlim(-0.02 * last, 1.02 * last)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        for number, line in enumerate(panel.lines):
            _draw(axes, line, told=not any(before.best for before in panel.lines[:number]))
        _scale(axes, panel)
        axes.tick_params(which="both", labelsize=8)
        if any(line.name for line in panel.lines):
            axes.legend(fontsize=8, frameon=False)
    return figure


def _draw(axes: Axes, line: Line, told: bool) -> None:
    colour, few = _COLOURS.get(line.name, _BLUE), len(line.updates) <= 2
    axes.plot(line.updates, line.values, color=colour, linewidth=1.3, marker="." * few, label=line.name or None)
    if line.best:
        best = [line.updates[index] for index in line.best], [line.values[index] for index in line.best]
        axes.plot(*best, ".", color=colour, markersize=7, label="best so far" if told else None)


def _scale(axes: Axes, panel: Panel) -> None:
    if panel.title in _FROM_ZERO:
        axes.set_ylim(bottom=0.0)
    elif panel.title in _LOGARITHMIC and any(value > 0 for line in panel.lines for value in line.values):
        from matplotlib.ticker import LogFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # 0.1, not ten to a power
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.5)))


def attention_figure(
    attention: NDArray[np.float32], source: Sequence[str], target: Sequence[str], fonts: Fonts
) -> Figure:
    """Attention as a heat map: a column for each source token, a row for each target token, from above.

    Args:
        attention: (target, source) weights, from 0 to 1.
        source: the source tokens.
        target: the target tokens.
        fonts: what has their characters.
    """
    columns, rows = ([fonts.drawable(shown(token)) for token in side] for side in (source, target))
    widest, highest = max(map(len, rows), default=1), max(map(len, columns), default=1)
    size = min(0.32, (_LARGEST - 3) / max(len(rows), len(columns), 1))  # inches a cell
    width = max(3.2, size * len(columns) + 0.1 * widest + 1.2)
    height = max(2.4, size * len(rows) + 0.1 * highest + 0.6)
    figure = _figure(width, height)
    axes = figure.add_subplot()
    image = axes.imshow(attention, cmap="Blues", vmin=0.0, vmax=1.0, aspect="equal", interpolation="nearest")
    font: dict[str, Any] = {"fontfamily": fonts.families, "fontsize": min(10.0, 30 * size), "parse_math": False}
    axes.set_xticks(range(len(columns)), columns, **font)
    axes.set_yticks(range(len(rows)), rows, **font)
    axes.xaxis.tick_top()
    for label, name in zip(axes.get_xticklabels(), columns, strict=True):
        label.set_rotation(0 if len(name) <= _UPRIGHT else 90)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03)
    bar.set_label("attention", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def map_figure(points: NDArray[np.float64], texts: Sequence[str], title: str, fonts: Fonts) -> Figure:
    """A map of vectors: a dot each, and labels for at most 150, each where it hides no other.

    Args:
        points: (texts, 2).
        texts: what they are.
        title: how the map was made.
        fonts: what has their characters.
    """
    figure = _figure(10.0, 8.0)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.scatter(points[:, 0], points[:, 1], s=10 if len(points) < 1000 else 3, color=_BLUE, alpha=0.7)
    axes.margins(0.08)
    axes.set_xticks([])
    axes.set_yticks([])
    labels = {index: fonts.drawable(label) for index, label in map_labels(texts).items()}
    _place(figure, axes, points, labels, {"fontfamily": fonts.families, "fontsize": 8, "parse_math": False})
    return figure


def map_labels(texts: Sequence[str]) -> dict[int, str]:
    """Which texts a map has labels for, by index, and what these say: at most 150, and so many letters of each.

    Example:
        >>> map_labels(["a", "b " * 40])
        {0: 'a', 1: 'b b b b b b b b b b b b b b b b…'}
    """
    return {index: _clipped(texts[index]) for index in spread(len(texts), _LABELLED)}


def _place(
    figure: Figure, axes: Axes, points: NDArray[np.float64], labels: Mapping[int, str], font: dict[str, Any]
) -> None:
    """Write labels beside their points: right, left, above or below, or not at all if all of these are taken."""
    figure.draw_without_rendering()  # only now does the figure know where its points are
    frame, dots = np.array(axes.get_window_extent().extents), axes.transData.transform(points)
    taken: list[NDArray[np.float64]] = []
    for index, label in labels.items():
        text = axes.annotate(label, points[index], (0, 0), textcoords="offset points", **font)
        free = []
        for side in _SIDES:
            box = _moved(text, side)
            if _is_free(box, taken, frame):
                hidden = ((dots > box[:2]) & (dots < box[2:])).all(axis=1).sum()
                free.append((int(hidden), side, box))
        if free:
            _, side, box = min(free, key=lambda one: one[0])
            _moved(text, side)
            taken.append(box)
        else:
            text.remove()


def _moved(text: Annotation, side: tuple[Any, Any, tuple[int, int]]) -> NDArray[np.float64]:
    """(left, bottom, right, top), in pixels, of a label that now stands on that side of its dot."""
    across, up, offset = side
    text.set(horizontalalignment=across, verticalalignment=up)
    text.xyann = offset
    return np.array(text.get_window_extent().extents)


def _is_free(box: NDArray[np.float64], taken: Sequence[NDArray[np.float64]], frame: NDArray[np.float64]) -> bool:
    inside = bool((box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all())
    return inside and not any((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all() for other in taken)


def spread(count: int, most: int) -> list[int]:
    """Some `most` of `count` indices, evenly spread; all where there are not more.

    Example:
        >>> spread(5, 3), spread(2, 3)
        ([0, 2, 4], [0, 1])
    """
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, most)).round()}) if count else []


def _clipped(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= _LONGEST:
        return text
    end = _LONGEST - 1
    while end and unicodedata.category(text[end]).startswith("M"):  # a letter keeps its marks, or goes with them
        end -= 1
    return text[:end] + "…"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
