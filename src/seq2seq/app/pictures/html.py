"""An output as HTML, for notebooks: its tokens, how sure the model was of each, and where it looked.

Nothing but a table with inline styles: no script, no style sheet, nothing from elsewhere. Text has the colour that the
notebook gives it and cells are tinted by translucent colours, so it reads on light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from numpy.typing import NDArray

from seq2seq.app.pictures.terminal import shown

_TINT = "38,132,255"
_STRONGEST = 0.65  # text stays readable on it
_CELL = "padding:2px 6px;border:1px solid rgba(128,128,128,.25);text-align:center;background:transparent"
_NAME = "padding:2px 6px;text-align:right;font-weight:normal;background:transparent"


def as_html(
    text: str,
    said: str,
    tokens: Sequence[str],
    log_probabilities: Sequence[float],
    look: tuple[Sequence[str], NDArray[Any]] | None,
) -> str:
    """An output as HTML.

    Args:
        text: the output.
        said: a line about it.
        tokens: its tokens: the rows.
        log_probabilities: of each, in nats; rows show them as percentages.
        look: the source tokens and the (tokens, source) attention, the columns; None for a table without.

    Example:
        >>> "&lt;b&gt;" in as_html("<b>", "", ["<b>"], [0.0], None)
        True
    """
    names, attention = look if look is not None else ((), None)
    head = "".join(_cell("th", content, _NAME) for content in ("", *(escape(shown(name)) for name in names), "p"))
    rows = [f"<tr>{head}</tr>"]
    for place, (token, log_probability) in enumerate(zip(tokens, log_probabilities, strict=True)):
        cells = [_cell("th", escape(shown(token)), _NAME)]
        if attention is not None:
            cells += [_weight(float(weight), name) for weight, name in zip(attention[place], names, strict=True)]
        cells.append(_cell("td", f"{100 * math.exp(log_probability):.1f}&nbsp;%", _CELL))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    table = f'<table style="border-collapse:collapse;font-size:90%"><tbody>{"".join(rows)}</tbody></table>'
    about = f'<div style="opacity:.7;font-size:85%">{escape(said)}</div>'
    return f'<div style="overflow-x:auto"><div dir="auto"><b>{escape(text)}</b></div>{about}{table}</div>'


def _weight(weight: float, name: str) -> str:
    share = min(max(weight, 0.0), 1.0) if math.isfinite(weight) else 0.0
    style = f"{_CELL.rpartition(';')[0]};background:rgba({_TINT},{_STRONGEST * share:.3f})"
    return f'<td style="{style}" title="{escape(shown(name))}: {100 * share:.1f} %"></td>'


def _cell(kind: str, content: str, style: str) -> str:
    return f'<{kind} dir="auto" style="{style}">{content}</{kind}>'
