"""`seq2seq rescore MODEL NBEST`: a Moses n-best list with our score added, reordered."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from seq2seq.app.arguments import ModelOptions, parse
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.meter import Meter
from seq2seq.app.rescoring import Ranking, rescore
from seq2seq.app.train import say
from seq2seq.core.files import atomic_write
from seq2seq.data.raw_lines import RawLines
from seq2seq.errors import ConfigError


@dataclass(frozen=True)
class RescoreOptions(Ranking, Arithmetic, ModelOptions):
    """Add log p(hypothesis | source) to a Moses n-best list (id ||| hypothesis ||| features ||| total) and reorder it.

    Files may be gzip. The lists come in the order of the source lines, as Moses writes them.
    """

    nbest: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[NBEST]")] = None
    """The n-best list; standard input by default."""
    source: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """What was translated: list n is of its line n, counted from 0."""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """The file to write, all of it or nothing; gzip if its name ends in .gz. Without: standard output."""


def main(arguments: Sequence[str]) -> int:
    """Rescore."""
    options = parse(RescoreOptions, "rescore", arguments)
    options.check()
    if options.source in (None, "-"):
        raise ConfigError("give what was translated by --source FILE: list n is of its line n, counted from 0.")
    if options.out is not None and Path(options.out).is_dir():
        raise ConfigError(f"--out {options.out} is a folder; name a file to write.")
    model = options.load()
    stdin = sys.stdin.buffer
    with RawLines(options.nbest, stdin) as nbest, RawLines(options.source, stdin) as sources:
        with Meter("hypotheses", nbest.size) as meter:
            _write(_counted(rescore(model, nbest, sources, options, options), meter, nbest), options.out)
        say(f"{meter.done:,} hypotheses rescored, {meter.speed:,.0f} hypotheses/s")
    return 0


def _counted(windows: Iterable[tuple[bytes, int]], meter: Meter, nbest: RawLines) -> Iterable[bytes]:
    for content, count in windows:
        yield content
        meter.advance(count, nbest.position)


def _write(contents: Iterable[bytes], out: str | None) -> None:
    if out is None:
        for content in contents:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        return
    opened: Callable[..., gzip.GzipFile] = gzip.open if out.endswith(".gz") else open  # pyright: ignore

    def fill(temporary: Path) -> None:
        with opened(temporary, "wb") as file:
            for content in contents:
                file.write(content)

    atomic_write(Path(out), fill)
