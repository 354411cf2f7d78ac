"""What training tells: one small record for each thing that happened."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from seq2seq.training.progress import Progress

Reason: TypeAlias = Literal["updates", "epochs", "minutes", "patience", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run begins, or goes on from a checkpoint.

    Attributes:
        update: the update it goes on from, 0 for a new run.
        evaluated: the update that was evaluated last.
        logged: the update that was last told of in an `Updated`; 0 if none was, or nobody knows.
        resumed: whether it goes on from a checkpoint.
        epoch_updates: updates in an epoch.
        updates: the update at which the run will end, if it ends at one.
        minutes: the minutes after which it will end, if it ends by time.
        seconds: trained before.
    """

    update: int
    evaluated: int
    resumed: bool
    epoch_updates: int
    updates: int | None
    minutes: float | None
    seconds: float
    logged: int = 0


@dataclass(frozen=True, kw_only=True)
class Updated:
    """`log_every` updates were made.

    Attributes:
        update: the last of them, counted from 1.
        epoch: its epoch, counted from 1.
        loss: their training loss, nats/token.
        tokens: target tokens seen in the run.
        seconds: trained in the run.
        tokens_per_second: target tokens/s over these updates, making the batches included, evaluations not.
        gradient_norm: of the last update, before clipping.
        weight_norm: of all parameters, after the last update.
        skipped: updates of the run that were skipped because loss or gradient was not finite.
        rate: the learning rate of the last update.
    """

    update: int
    epoch: int
    loss: float
    tokens: int
    seconds: float
    tokens_per_second: float
    gradient_norm: float
    weight_norm: float
    skipped: int
    rate: float


class Sample(NamedTuple):
    """What a model says for a source of the dev set, beside the targets that would be right."""

    source: str
    targets: Sequence[str]
    output: str


class Judged(dict[str, float]):
    """Scores by name, as any dictionary of them, with a few outputs to look at.

    Example:
        >>> Judged({"bleu": 30.0}, [Sample("a", ["b"], "c")]).samples[0].output
        'c'
    """

    def __init__(self, scores: Mapping[str, float], samples: Iterable[Sample] = ()):
        super().__init__(scores)
        self.samples = tuple(samples)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A model was scored on the dev set.

    Attributes:
        update: after which.
        epoch: counted from 1.
        scores: by name, as `evaluate` gave them.
        metric: the name of the one that decides.
        is_best: whether it is the best so far, and was saved.
        averaged: 0 for the model itself, n for the mean of the last n evaluated models.
        seconds: trained in the run.
        model: what was scored.
        samples: a few outputs, if `evaluate` gave them. TensorBoard shows them; the log, which people send around,
            has numbers only and none of their text.
    """

    update: int
    epoch: int
    scores: Mapping[str, float]
    metric: str
    is_best: bool
    averaged: int
    seconds: float
    model: Any = field(default=None, repr=False)
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint was written."""

    update: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something that the user should know of."""

    update: int
    message: str


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The run ended, and everything is saved.

    Attributes:
        update: the last.
        reason: the limit that was reached, or `interrupted` (Ctrl-C, SIGTERM, SIGHUP).
        progress: where the run stands.
        path: the checkpoint from which `resume` goes on.
        model: the last one (not the best, which `save_best` got): a moving average of the updates' if there is one.
        signal: the number of the signal that interrupted it, or 0; a shell expects the exit status 128 + that.
        longer: whether more updates or epochs would have begun alike: not where the rate is drawn to the last one.
    """

    update: int
    reason: Reason
    progress: Progress
    path: Path
    model: Any = field(repr=False)
    signal: int = 0
    longer: bool = True

    @property
    def advice(self) -> str:
        """One line for the user: why it stopped, and how to go on.

        Example:
            >>> Stopped(update=70, reason="interrupted", progress=Progress(), path=Path("x"), model=None).advice
            'Interrupted at update 70; everything is saved. Go on with --resume.'
        """
        match self.reason:
            case "interrupted":
                return f"Interrupted at update {self.update:,}; everything is saved. Go on with --resume."
            case "patience":
                return (
                    f"Stopped at update {self.update:,}: the last {self.progress.stale} evaluations were no better "
                    "than the best. To go on all the same: --resume with a larger --patience."
                )
            case "updates" | "epochs" if not self.longer:
                return f"Stopped at update {self.update:,}: all {self.reason} are done, and the rate is at its end."
            case reason:
                return (
                    f"Stopped at update {self.update:,}: all {reason} are done. "
                    f"To go on: --resume with more --{reason} (counted from the beginning of the run)."
                )


_NOT_LOGGED = ("model", "samples", "longer")
Event: TypeAlias = Started | Updated | Evaluated | Saved | Warned | Stopped


def to_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object; a number that is not finite becomes null, since JSON has none.

    Example:
        >>> to_json(Warned(update=3, message="resumed"))
        {'event': 'warned', 'update': 3, 'message': 'resumed'}
    """
    values = {f.name: getattr(event, f.name) for f in fields(event) if f.name not in _NOT_LOGGED}
    return {"event": type(event).__name__.lower()} | {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Path():
            return value.name  # no machine's folders in a log that people send around
        case Progress():
            return _plain(value.json())
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value


def event_of(line: str) -> dict[str, Any] | None:
    """What a line of the log tells, its `event` and `update` among it; None of a line that no run wrote.

    Example:
        >>> event_of('{"event": "saved", "update": 3}'), event_of('{"event": "sav')
        ({'event': 'saved', 'update': 3}, None)
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    good = isinstance(found, dict) and isinstance(found.get("event"), str)
    good = good and type(found.get("update")) is int and isinstance(found.get("scores", {}), dict)
    return found if good else None
