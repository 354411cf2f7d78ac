"""`seq2seq plot RUN | MODEL --attention TEXT`: curves of a run, or where a model looks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from seq2seq.app.arguments import ModelOptions, parse
from seq2seq.app.decoding import Decoding
from seq2seq.app.outputs import check_output
from seq2seq.app.pictures import terminal
from seq2seq.app.pictures.attention import Look, look
from seq2seq.app.pictures.curves import Panel, read_curves
from seq2seq.app.pictures.figures import attention_figure, curves_figure
from seq2seq.app.pictures.files import check_picture, write_figure
from seq2seq.app.pictures.fonts import fonts_for
from seq2seq.app.train import say
from seq2seq.errors import ConfigError, DataError

Picture = Annotated[str | None, tyro.conf.arg(aliases=["-o"], metavar="FILE.png|FILE.svg")]


@dataclass(frozen=True)
class PlotOptions(ModelOptions):
    """The curves of a run: loss, dev score, gradient norm, tokens/s and learning rate over its updates.

    With --attention TEXT, where the model looks in the text. Without --output, drawn in the terminal.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|MODEL")]
    """The folder of a run, for its curves; or, for --attention, a model."""
    attention: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """Draw where the model looks in this text while it generates."""
    target: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """--attention: while it reads this target instead."""
    beam: int = 5
    """--attention: hypotheses kept at each step; 1 is greedy search."""
    output: Picture = None
    """The picture to write, as its name ends."""


def main(arguments: Sequence[str]) -> int:
    """Plot."""
    options = parse(PlotOptions, "plot", arguments)
    if options.output is not None:
        check_picture(options.output)
        check_output("--output", options.output)
    if options.attention is not None:
        if options.target is not None and options.beam != PlotOptions.beam:
            raise ConfigError("--beam is how an output is searched for; with --target there is one: leave one out.")
        decoding = Decoding(beam=options.beam)
        decoding.check()
        _show_look(look(options.load(), options.attention, options.target, decoding), options.output)
        return 0
    if (options.target, options.beam) != (None, PlotOptions.beam):
        raise ConfigError("--target and --beam are for what --attention draws: add --attention TEXT.")
    path = Path(options.model)
    if not path.exists():
        raise DataError("no such file or folder; plot needs the folder of a run, or a model and --attention.", path)
    found = read_curves(path if path.suffix == ".jsonl" else (path if path.is_dir() else path.parent) / "log.jsonl")
    for note in found.notes:
        say(f"note: {note}")
    _show_curves(found.panels, options.output)
    return 0


def _show_look(found: Look, output: str | None) -> None:
    if output is None:
        screen = terminal.Screen.of(sys.stdout)
        print(terminal.heat_map(found.attention, found.source, found.target, screen))
        return
    fonts = fonts_for(terminal.shown(token) for token in (*found.source, *found.target))
    if fonts.note:
        say(f"note: {fonts.note}")
    write_figure(attention_figure(found.attention, found.source, found.target, fonts), output)
    say(f"Wrote {output}: {len(found.target)} target tokens by {len(found.source)} source tokens.")


def _show_curves(panels: Sequence[Panel], output: str | None) -> None:
    if output is None:
        print(terminal.charts(panels, terminal.Screen.of(sys.stdout)))
        return
    write_figure(curves_figure(panels), output)
    say(f"Wrote {output}: {', '.join(panel.title for panel in panels)}.")
