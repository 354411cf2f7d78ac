"""Phrase tables with our score as one more column (Cho et al. 2014, section 3.1), in windows that a kill loses at most.

A line of the output is the line of the input with one number more at the end of its scores:
p(target | source), of which Moses takes the logarithm itself when it loads the table, or log p.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.meter import Meter
from seq2seq.app.partial_file import PartialFile, Written, skip
from seq2seq.app.runtime import thread_count
from seq2seq.app.text_model import TextModel
from seq2seq.core.precision import resolve
from seq2seq.data import BadLineError, Ledger, source_of_line
from seq2seq.data.lines import without_byte_order_mark
from seq2seq.data.moses import Phrase
from seq2seq.data.raw_lines import RawLines, windows
from seq2seq.errors import ConfigError, DataError
from seq2seq.training.checkpoint import Fingerprint, machine

_LOWEST = -100.0
"""Moses takes no score below this: a probability below e^-100 is written as e^-100, or it would read log 0."""
_MOST = 4  # times --window: where a source has more lines than that, its window is cut


@dataclass(frozen=True)
class TableOptions:
    """What `score --phrase-table` is told."""

    phrase_table: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A Moses phrase table instead of PAIRS, plain or gzip, - for standard input: the same with one more score."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """With --phrase-table: the file to write, gzip if its name ends in .gz. Without: standard output."""
    resume: bool = False
    """With --out: go on where a command that was stopped or killed was; from the beginning if there was none."""
    column: Literal["probability", "log"] = "probability"
    """With --phrase-table: what to add. Moses wants probabilities and takes the logarithm itself; log adds log p."""
    window: int = 32_768
    """With --phrase-table: lines that are read, sorted, scored and written together; a kill loses no more."""

    def check_table(self) -> None:
        """Refuse options that do nothing.

        Raises:
            ConfigError: an option without the one it belongs to.
        """
        if self.phrase_table is None:
            for one in fields(TableOptions):
                if getattr(self, one.name) != one.default:
                    raise ConfigError(f"--{one.name} is for --phrase-table FILE; numbers go to standard output.")
        if self.resume and not self.out:
            raise ConfigError("--resume needs --out FILE: what went to standard output cannot be gone on with.")
        if self.window < 1:
            raise ConfigError(f"--window is {self.window}; wanted 1 or more.")


class _Stream:
    """Standard output, in the place of a `PartialFile`."""

    cure = ""  # it always begins

    def __init__(self) -> None:
        self.written = Written()
        self.warning: str | None = None

    def append(self, content: bytes, written: Written) -> None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        self.written = written

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


class Told(NamedTuple):
    """What was done.

    Attributes:
        written: lines and counts, of this command and of those it went on with.
        speed: phrases a second of this command.
        notes: one line for each kind of thing that is worth telling.
    """

    written: Written
    speed: float
    notes: list[str]


def score_table(
    model: TextModel, options: TableOptions, arithmetic: Arithmetic, skip_bad: bool, identity: Mapping[str, str]
) -> Told:
    """Score the phrase table that the options name; memory is that of a window, whatever the table's size.

    Equal pairs of a window are scored once and equal sources read once; a window is cut only between two sources, so
    in a sorted table that is every pair and source (but for a source of more than four windows of lines).

    Args:
        model: what scores.
        options: the table, and what to write.
        arithmetic: what to compute in.
        skip_bad: pass bad lines on as they are, and count them.
        identity: what says which model it is; a resumed command must find it as it was.

    Raises:
        DataError: a line is no phrase, and `skip_bad` is false.
        ResumeError: the output that is there was made by another model, of another input or with other options.
    """
    ledger = Ledger(skip_bad)
    with RawLines(options.phrase_table, sys.stdin.buffer) as lines:
        sink = _sink(options, arithmetic, skip_bad, identity)
        try:
            iterator = iter(lines)
            digest = skip(iterator, sink.written, lines.name, sink.cure)
            with Meter("phrases", lines.size) as meter:
                left = iter(()) if sink.written.complete else iterator
                # Prepared as for the longest window, so that whatever rest rounds as all in one go does.
                model.searchable(arithmetic, reads=_MOST * options.window)
                for window in windows(left, options.window, _MOST * options.window):
                    content, counts = _scored(window, sink.written, (model, arithmetic), options, (ledger, lines.name))
                    for line in window:
                        digest.update(line)
                    done = sink.written.lines + len(window)
                    sink.append(content, replace(sink.written, lines=done, input=digest.hexdigest(), counts=counts))
                    meter.advance(len(window), lines.position)
            sink.finish()
        finally:
            sink.close()
    return Told(sink.written, meter.speed, [*([sink.warning] if sink.warning else []), *ledger.notes])


def _sink(
    options: TableOptions, arithmetic: Arithmetic, skip_bad: bool, identity: Mapping[str, str]
) -> PartialFile | _Stream:
    if options.out is None:
        return _Stream()
    content = {
        **identity,
        "--column": options.column,
        "--window": str(options.window),
        "--precision": resolve(arithmetic.precision),
        "--int8": str(arithmetic.int8),
        "--skip-bad": str(skip_bad),
    }
    versions = machine() | {"threads": str(thread_count())}
    return PartialFile(Path(options.out), Fingerprint(content, versions), options.resume)


def _scored(
    window: Sequence[bytes],
    before: Written,
    scorer: tuple[TextModel, Arithmetic],
    options: TableOptions,
    book: tuple[Ledger, str],
) -> tuple[bytes, dict[str, int]]:
    """The lines of a window with their scores, and the counts after it."""
    model, arithmetic = scorer
    phrases = list(_parsed(window, before.lines, *book, model.settings.format))
    pairs = [(phrase.source, phrase.target) for phrase in phrases if isinstance(phrase, Phrase)]
    numbers = iter(_column(model.pair_scores(pairs, arithmetic).tolist(), options.column))
    out = [phrase.with_score(next(numbers)) if isinstance(phrase, Phrase) else phrase for phrase in phrases]
    added = {"unique": len(set(pairs)), "unchanged": len(window) - len(pairs)}
    return b"".join(out), {name: before.counts.get(name, 0) + count for name, count in added.items()}


def _parsed(
    window: Sequence[bytes], before: int, ledger: Ledger, name: str, model_format: str
) -> Iterator[Phrase | bytes]:
    """Each line read, or as it is where it is bad and may be."""
    for number, raw in enumerate(window, before + 1):
        if number == 1:
            raw = without_byte_order_mark(raw, name, ledger)
        try:
            phrase = Phrase.parse(raw)
            if phrase.source.strip():
                source_of_line(phrase.source, model_format)  # which `pair_scores` does too, without the line's number
            yield phrase
        except BadLineError as error:
            if not ledger.skip_bad:
                cure = "--skip-bad passes such lines on without a new number, and counts them"
                raise DataError(f"{error} ({cure}).", name, number) from None
            ledger.note(f"passed on as it was: {error.reason}", name, number)
            yield raw


def _column(scores: Sequence[float], column: str) -> list[float]:
    """log p as the table wants it.

    Example:
        >>> _column([0.0, -1000.0], "probability")
        [1.0, 3.720075976020836e-44]
    """
    return list(scores) if column == "log" else [math.exp(max(score, _LOWEST)) for score in scores]
