"""Who hears of a run: a progress bar, a log of JSON lines, TensorBoard. A listener is any callable of events."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from seq2seq.core.files import atomic_write, make_folder
from seq2seq.core.streams import lasting
from seq2seq.errors import ArchiveError, TrainingError
from seq2seq.training.events import Evaluated, Event, Sample, Started, Stopped, Updated, Warned, event_of, to_json
from seq2seq.training.terminal import error_console

_QUEUED = 1000
"""Things that may wait for TensorBoard's thread: more than come between two looks at whether it lives."""
_LONGEST = 400
"""Characters of a sample."""
_TARGETS = 3
"""Targets of one."""
_MARKUP = frozenset("\\`*_{}[]()<>#+-.!|&~$:")
Listener: TypeAlias = Callable[[Event], None]


def follow(events: Generator[Event, None, None], listeners: Sequence[Listener]) -> Stopped:
    """Let a run run: tell each event to each listener, close those that have a `close`, and give the last event.

    Raises:
        TrainingError: the events ended without a `Stopped`; and whatever `train` raises.

    Example:
        >>> from seq2seq.training.progress import Progress
        >>> end = Stopped(update=1, reason="updates", progress=Progress(), path=Path("x"), model=None)
        >>> follow((event for event in [end]), [lambda event: print(event.reason)]).update
        updates
        1
    """
    last = None
    with ExitStack() as stack:
        for listener in listeners:
            stack.callback(getattr(listener, "close", lambda: None))
        stack.callback(events.close)
        for last in events:
            for tell in listeners:
                tell(last)
    if not isinstance(last, Stopped):
        raise TrainingError("the run ended without saying why; its last event was not Stopped.")
    return last


class ProgressBar:
    """A bar on a terminal with speed, time left, loss and dev score; elsewhere silent, but for a line per evaluation.

    It writes to standard error, so that standard output stays free for results, and while somebody reads that: a
    terminal or a reader that goes (`2>&1 | head`) does not end the run.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or error_console()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._limits: tuple[int | None, float | None] = (None, None)
        self._notes = {"speed": "", "loss": "", "dev": ""}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Started():
                self._start(event)
            case Updated():
                self._show(
                    event, {"speed": f"{event.tokens_per_second:,.0f} tokens/s", "loss": f"loss {event.loss:.3f}"}
                )
            case Evaluated():
                self._say(_evaluation_line(event, self._notes["loss"]))
                self._show(event, {"dev": f"dev {event.metric} {event.scores[event.metric]:.4g}"})
            case Warned():
                self._say(f"warning: {event.message}")
            case Stopped():
                self.close()
                self._say(event.advice)
            case _:
                pass

    def close(self) -> None:
        """Take the bar down."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _start(self, event: Started) -> None:
        self._limits = (event.updates, event.minutes)
        if event.resumed:
            self._say(f"resumed at update {event.update:,}")
        if not self._console.is_terminal:
            return
        shown = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(compact=True)]
        self._bar = Progress(*shown, TextColumn("{task.fields[notes]}"), console=self._console, transient=True)
        done = self._done(event.update, event.seconds)
        self._task = self._bar.add_task("compiling", total=done if done is None else 1.0, notes="")
        self._bar.update(self._task, completed=done)
        self._bar.start()

    def _show(self, event: Updated | Evaluated, notes: Mapping[str, str]) -> None:
        self._notes |= notes
        if self._bar:
            name = f"update {event.update:,}, epoch {event.epoch}"
            done = self._done(event.update, event.seconds)
            shown = "  ".join(note for note in self._notes.values() if note)
            self._bar.update(self._task, description=name, completed=done, notes=shown)

    def _done(self, update: int, seconds: float) -> float | None:
        """The part of the run that is done, by the limit that is nearer."""
        updates, minutes = self._limits
        parts = [update / updates] if updates else []
        parts += [seconds / (60 * minutes)] if minutes else []
        return min(max(parts), 1.0) if parts else None

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class JsonLog:
    """One JSON object per event, appended to a file and flushed line by line.

    When a run goes on from a checkpoint, the lines after it are removed first: they tell of updates that are about
    to be made again. So the log of a run that was killed is, but for its times, that of one that was not. Lines before
    it that are not there any more are missed, on standard error and in the log.

    Raises:
        ArchiveError: the file cannot be written.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: TextIO | None = None

    def __call__(self, event: Event) -> None:
        """Write one event."""
        with self._writing():
            missed = self._open(event) if isinstance(event, Started) else None
            self._write(event)
            if missed:
                self._write(Warned(update=event.update, message=missed))
        if missed:
            print(f"warning: {missed}", file=lasting(sys.stderr))

    def sync(self) -> None:
        """Have all that is written on the disk: a checkpoint made afterwards has its log, also after a power cut."""
        if self._file:
            with self._writing():
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file:
            with suppress(OSError):  # each line is flushed, so what cannot be written was said already
                self._file.close()
            self._file = None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveError(f"{self._path}: cannot be written ({error.strerror or error}).") from None

    def _write(self, event: Event) -> None:
        if self._file:
            self._file.write(json.dumps(to_json(event), ensure_ascii=False) + "\n")
            self._file.flush()

    def _open(self, event: Started) -> str | None:
        """Open the log, cut to what stays true; what is missing in it."""
        self.close()
        make_folder(self._path.parent)
        kept = list(_lines_until(self._path, event)) if event.resumed and self._path.exists() else []
        text = "".join(line for line, _ in kept)
        atomic_write(self._path, lambda temporary: temporary.write_text(text, "utf-8"))
        self._file = self._path.open("a", encoding="utf-8")
        return _missed(self._path, event, [found for _, found in kept]) if event.resumed else None


def tensorboard(folder: Path) -> Listener | None:
    """A listener that writes TensorBoard events to `folder`; None where tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return _TensorBoard(folder, SummaryWriter)


class _TensorBoard:
    def __init__(self, folder: Path, writer: Callable[..., Any]):
        self._folder, self._make, self._writer = folder, writer, None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            purge = event.update + 1 if event.resumed else None  # hides what is about to be written again
            try:
                self._writer = self._make(str(self._folder), purge_step=purge, max_queue=_QUEUED)
            except OSError:
                self._lost()
        if self._writer and not _writes(self._writer):
            self._lost()
        if self._writer:
            for name, value in _scalars(event):
                self._writer.add_scalar(name, value, event.update)
            if isinstance(event, Evaluated) and event.samples:
                kind = "average" if event.averaged else "dev"
                self._writer.add_text(f"{kind}/samples", _table(event.samples), event.update)

    def close(self) -> None:
        if self._writer and _writes(self._writer):
            try:
                self._writer.close()
            except OSError:  # such as a disk that was filled by what had waited: no reason for a run to end badly
                self._lost()
        self._writer = None

    def _lost(self) -> None:
        said = f"warning: {self._folder} cannot be written; TensorBoard's curves end here."
        print(said, file=lasting(sys.stderr))
        self._writer = None


def _writes(writer: Any) -> bool:
    """Whether the writer's thread lives. A full disk ends it without a word, and then its queue fills up: whoever puts
    one more thing into it waits for ever."""
    thread = getattr(getattr(getattr(writer, "file_writer", None), "event_writer", None), "_worker", None)
    return thread is None or thread.is_alive()


def _scalars(event: Event) -> Iterable[tuple[str, float]]:
    match event:
        case Updated():
            names = ("loss", "gradient_norm", "weight_norm", "rate", "tokens_per_second")
            return [(f"train/{name}", getattr(event, name)) for name in names]
        case Evaluated():
            kind = "average" if event.averaged else "dev"
            return [(f"{kind}/{name}", value) for name, value in event.scores.items()]
        case _:
            return []


def _table(samples: Iterable[Sample]) -> str:
    """Samples as a table in Markdown, in which their text is nothing but text."""

    def cell(text: str) -> str:
        text = " ".join(text[:_LONGEST].split())
        return "".join(f"&#{ord(character)};" if character in _MARKUP else character for character in text)

    rows = ["| source | target | output |", "|---|---|---|"]
    for source, targets, output in samples:
        rows.append(f"| {cell(source)} | {', '.join(map(cell, targets[:_TARGETS]))} | {cell(output)} |")
    return "\n".join(rows)


def _evaluation_line(event: Evaluated, loss: str) -> str:
    scores = ", ".join(f"{name} {value:.4g}" for name, value in event.scores.items())
    who = f"mean of {event.averaged} models" if event.averaged else loss
    parts = [f"update {event.update:,}, epoch {event.epoch}", who, f"dev: {scores}", "best so far" * event.is_best]
    return "  ".join(part for part in parts if part)


def _lines_until(path: Path, start: Started) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a log that stay true when its run goes on from `start`, and what is in them.

    A line cut by a crash is none, nor is one that no run wrote.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            found = event_of(line)
            if found and found["update"] <= (start.evaluated if found["event"] == "evaluated" else start.update):
                yield line, found


def _missed(path: Path, start: Started, kept: Sequence[Mapping[str, Any]]) -> str | None:
    """What to say of a log that lacks the last lines which the checkpoint knows of."""

    def is_there(event: str, update: int) -> bool:
        return update <= 0 or any((line.get("event"), line.get("update")) == (event, update) for line in kept)

    if is_there("updated", start.logged) and is_there("evaluated", start.evaluated):
        return None
    last = max((line.get("update", 0) for line in kept if line.get("event") in ("updated", "evaluated")), default=0)
    return (
        f"{path.name}: lines are lost: the last that is left is of update {last:,}, and the run goes on from update "
        f"{start.update:,}; its curves have a gap there."
    )
