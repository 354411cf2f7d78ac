"""`seq2seq generate MODEL [INPUT]`: one line in, one line out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import tyro

from seq2seq.app.arguments import EnsembleOptions, Inputs, in_chunks, parse, read_input
from seq2seq.app.decoding import Decoding
from seq2seq.app.hypothesis import Hypothesis, as_json, as_nbest, on_one_line
from seq2seq.app.meter import count_lines, watched
from seq2seq.app.rerank import Reranker, RerankOptions
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import say
from seq2seq.app.unknown import unlike_training
from seq2seq.errors import ConfigError, DataError

_LINES_AT_ONCE = 1024
_WITH_ATTENTION = 128
"""Lines at once whose attention is kept until they are written."""


@dataclass(frozen=True)
class GenerateOptions(RerankOptions, Decoding, EnsembleOptions):
    """Generate an output for each line of input: one line in, one line out; an empty line stays empty.

    With --nbest N, lines are those of a Moses n-best list: line number ||| output ||| log p ||| score; a ||| within an
    output is written as \\u007c\\u007c\\u007c.
    """

    input: Inputs = ()
    """A file of inputs, one a line; standard input by default."""
    prefix: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A file with a line for each input: what its outputs begin with, or nothing."""
    json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """One JSON object a line: `input`, and `outputs`, best first, each with `text`, `score`, `log_probability`,
    `finished`, `tokens`, `token_log_probabilities` and `attention`."""


def main(arguments: Sequence[str]) -> int:
    """Generate."""
    options = parse(GenerateOptions, "generate", arguments)
    reranker = options.reranker(options, options.load_one)
    if reranker is None:
        options.check()
    model, rest = options.load_leading(options.input)
    if reranker is not None:
        reranker.check(model)
    if len(rest) > 1:
        raise ConfigError(
            f"{rest[0]} is not a model (there is no model.npz: a typo, or nothing is saved yet?), so it is the one "
            f"INPUT; {rest[1]} is one too many."
        )
    path = rest[0] if rest else None
    if options.prefix == "-" and path in (None, "-"):
        raise ConfigError("--prefix - and the inputs cannot both be standard input; give one of them as a file.")
    shown = not sys.stdout.isatty() and not _is_typed(path)  # else the outputs themselves tell how far it is
    with watched("lines", count_lines([path]) if shown else None, shown=shown):
        _generate_all(model, reranker, path, options)
    return 0


def _generate_all(model: TextModel, reranker: Reranker | None, path: str | None, options: GenerateOptions) -> None:
    search = model.hypotheses if reranker is None else partial(reranker.hypotheses, model)
    notes, first = Notes(), 0
    many = 1 if _is_typed(path) else max(_WITH_ATTENTION, options.batch) if options.json else _LINES_AT_ONCE
    for chunk in in_chunks(_rows(model, path, options.prefix), many):
        lines = [line for line, _ in chunk]
        begun = None if options.prefix is None else [prefix for _, prefix in chunk]
        notes.before(model, lines, first)
        found = search(lines, options, first_line=first, attention=options.json, prefixes=begun)
        for number, (line, hypotheses) in enumerate(zip(lines, found, strict=True), first):
            _write(number, line, hypotheses, options)
            notes.count(number, hypotheses)
        sys.stdout.flush()
        first += len(chunk)
    if options.require:
        notes.after()


class Notes:
    """What is said on standard error, once each."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._cut_off: list[int] = []

    def before(self, model: TextModel, texts: Sequence[str], first: int) -> None:
        """Say it if a text is unlike anything in training."""
        if len(self._told) == 2:
            return
        read, settings = model.sources(texts, first), model.settings
        for kind, (index, what) in unlike_training(model.source_tokenizer, read, settings.source_longest).items():
            if kind not in self._told:
                self._told.add(kind)
                say(f"note: line {first + index + 1} has {what}.")

    def count(self, number: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Remember a line whose best output was cut off."""
        if not hypotheses[0].finished:
            self._cut_off.append(number + 1)

    def after(self) -> None:
        """Say how many outputs may not be what was asked for."""
        if self._cut_off:
            many = f"{len(self._cut_off)} outputs were cut off before all that was asked for was there"
            say(f"note: {many} (first: line {self._cut_off[0]}); widen --beam or --max-length.")


def _is_typed(path: str | None) -> bool:
    return path in (None, "-") and sys.stdin.isatty()


def _rows(model: TextModel, path: str | None, prefix: str | None) -> Iterator[tuple[str, str]]:
    """Each line of the input, and what its outputs begin with; "" where there is no file of that."""
    prefixes = None if prefix is None else read_input(prefix)
    number = 0
    for number, line in read_input(path):
        model.sources([line], number - 1)  # raises for a line that is no source
        begun = (number, "") if prefixes is None else next(prefixes, None)
        if begun is None:
            raise DataError(f"only {number - 1} prefixes; wanted one line for each input.", prefix)
        yield line, begun[1]
    if prefixes is not None and next(prefixes, None):
        raise DataError(f"more prefixes than inputs, which are {number}.", prefix)


def _write(number: int, line: str, hypotheses: list[Hypothesis], options: GenerateOptions) -> None:
    if options.json:
        print(json.dumps({"input": line, "outputs": [as_json(h) for h in hypotheses]}, ensure_ascii=False))
    elif options.nbest == 1:
        print(on_one_line(hypotheses[0].text))
    else:
        for h in hypotheses:
            print(as_nbest(h, number))
