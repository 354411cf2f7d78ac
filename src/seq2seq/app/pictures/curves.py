"""The curves of a run, from what its log tells: `log.jsonl`, whether the run ended, goes on or was killed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.errors import DataError
from seq2seq.metrics import METRICS
from seq2seq.training.events import event_of

_LOSS = "loss_nats_per_token"
_TOLD = {
    "loss": "loss, nats/token",
    "gradient_norm": "gradient norm",
    "tokens_per_second": "tokens/s",
    "rate": "learning rate",
}


class Line(NamedTuple):
    """One line of a panel; a value that the log has as null is NaN.

    Attributes:
        name: what it is of, "" if the panel has no other.
        updates: where.
        values: what; as many.
        best: the indices of the models that were the best so far.
    """

    name: str
    updates: list[int]
    values: list[float]
    best: list[int]


class Panel(NamedTuple):
    """One picture of the run: a title with its unit, and its lines."""

    title: str
    lines: list[Line]


class Curves(NamedTuple):
    """What a log tells.

    Attributes:
        panels: loss (training and dev), dev score, gradient norm, tokens/s, learning rate; those that there are.
        notes: what was left out, for people.
    """

    panels: list[Panel]
    notes: list[str]


def read_curves(path: Path) -> Curves:
    """The curves in a log.

    Raises:
        DataError: there is no such log, or no update or evaluation in it.
    """
    if not path.is_file():
        raise DataError("no such file; plot needs the folder of a run, or a model and --attention TEXT.", path)
    with path.open(encoding="utf-8", errors="replace") as file:
        found = curves_of(file, str(path))
    if not found.panels:
        raise DataError("no update and no evaluation is told of yet; wait for the first, or train on.", path)
    return found


def curves_of(log: Iterable[str], name: str) -> Curves:
    """The curves in the lines of a log; what is no event, such as a line that a crash cut off, is left out and told.

    Example:
        >>> found = curves_of(['{"event": "updated", "update": 5, "loss": 2.5}', '{"event": "upd'], "log.jsonl")
        >>> found.panels
        [Panel(title='loss, nats/token', lines=[Line(name='training', updates=[5], values=[2.5], best=[])])]
        >>> found.notes
        ['log.jsonl: 1 line is no event and is left out (first: line 2).']
    """
    events: list[dict[str, Any]] = []
    bad: list[int] = []
    for number, line in enumerate(log, 1):
        if event := event_of(line):
            events.append(event)
        elif line.strip():
            bad.append(number)
    many = "1 line is no event and is" if len(bad) == 1 else f"{len(bad)} lines are no events and are"
    notes = [f"{name}: {many} left out (first: line {bad[0]})."] if bad else []
    return Curves([panel for panel in _panels(events) if panel.lines], notes)


def _panels(events: list[dict[str, Any]]) -> Iterator[Panel]:
    updated = [event for event in events if event["event"] == "updated"]
    evaluated = [event for event in events if event["event"] == "evaluated"]
    training = {name: _line("training" if name == "loss" else "", updated, name) for name in _TOLD}
    yield Panel(_TOLD["loss"], [*training.pop("loss"), *_of_dev(evaluated, _LOSS)])
    for name in _deciding(evaluated):
        metric = METRICS.get(name)
        yield Panel(metric.label.strip() if metric else name, _of_dev(evaluated, name))
    for name, line in training.items():
        yield Panel(_TOLD[name], line)


def _deciding(evaluated: list[dict[str, Any]]) -> list[str]:
    """The score that decides; where that is the loss, which has its panel, the first of the outputs."""
    if not evaluated:
        return []
    metric = str(evaluated[-1].get("metric", _LOSS))
    others = (name for name in evaluated[-1].get("scores", {}) if name not in (_LOSS, "perplexity"))
    return [metric] if metric != _LOSS else [name for name in [next(others, None)] if name is not None]


def _of_dev(evaluated: list[dict[str, Any]], name: str) -> list[Line]:
    """The line of the models themselves, and that of the means of the last ones."""
    own = [event for event in evaluated if not event.get("averaged")]
    kinds = (("dev", own), ("dev, mean of the last models", [event for event in evaluated if event.get("averaged")]))
    return [line for kind, events in kinds for line in _line(kind, events, name, scores=True)]


def _line(kind: str, events: list[dict[str, Any]], name: str, scores: bool = False) -> list[Line]:
    values: list[Mapping[str, Any]] = [event.get("scores", {}) if scores else event for event in events]
    kept = [(event, value[name]) for event, value in zip(events, values, strict=True) if name in value]
    if not kept:
        return []
    best = [index for index, (event, _) in enumerate(kept) if event.get("is_best")]
    return [Line(kind, [event["update"] for event, _ in kept], [_number(value) for _, value in kept], best)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
