"""`seq2seq score MODEL PAIRS`: one number for each pair."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from seq2seq.app.alignment import as_pharaoh, links
from seq2seq.app.arguments import EnsembleOptions, in_chunks, parse
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.hypothesis import escaped
from seq2seq.app.meter import count_lines, watched
from seq2seq.app.options import Files, PairOptions
from seq2seq.app.partial_file import sha256_of
from seq2seq.app.phrase_table import TableOptions, score_table
from seq2seq.app.text_model import TextModel, model_file
from seq2seq.app.train import say
from seq2seq.data import Ledger, corpus_format, iterate_rows
from seq2seq.errors import ConfigError

Say: TypeAlias = Callable[[TextModel, Sequence[tuple[str, str]], Arithmetic], list[str]]
"""What is written of each pair."""

_ROWS_AT_ONCE = 8192
_WITH_ATTENTION = 128
"""Rows at once whose attention is kept until it is written."""


@dataclass(frozen=True)
class ScoreOptions(TableOptions, Arithmetic, PairOptions, EnsembleOptions):
    """log p(target | source) of each pair, one number a line: natural log, the end of the target counted.

    A line that --skip-bad leaves out has the number nan, so that line n of the output is still that of line n.
    With --phrase-table, the lines of a Moses phrase table with one more score each; no line is ever lost.
    """

    pairs: Files = ()
    """Files of pairs, one pair a line: source TAB target, or as --format says."""
    per_token: bool = False
    """Write each target token and its log-probability: token TAB number, with an empty line between pairs."""
    alignments: bool = False
    """Write where each target token comes from: 0-0 0-1 1-2, the places, counted from 0, of the source token that had
    most attention and of the target token (Moses' format). Places are of letters where a side is split into letters,
    and of what is separated by spaces otherwise (of inflections, of the lemma's letters and then of the features); the
    line of a bad pair that --skip-bad leaves out is empty."""


def main(arguments: Sequence[str]) -> int:
    """Score."""
    options = parse(ScoreOptions, "score", arguments)
    options.check_table()
    if options.phrase_table is not None:
        return _score_table(options)
    if options.per_token and options.alignments:
        raise ConfigError("--per-token and --alignments each decide what is written: take one.")
    say_each, left_out = (
        (_tokens, "\tnan\n") if options.per_token else (_aligned, "") if options.alignments else (_whole, "nan")
    )
    model, paths = options.load_leading(options.pairs)
    ledger, began, count = Ledger(options.skip_bad), time.perf_counter(), 0
    model.check_format(corpus_format(options.files(paths)))
    rows, model = iterate_rows(options.files(paths), ledger), model.of_read_pairs()
    shown = not sys.stdout.isatty()  # else the numbers themselves tell how far it is
    total = count_lines(paths or (options.source,)) if shown else None
    with watched("pairs", total, shown=shown):
        for chunk in in_chunks(rows, _WITH_ATTENTION if options.alignments else _ROWS_AT_ONCE):
            pairs = [pair[:2] for pair in chunk if pair is not None]
            said = iter(say_each(model, pairs, options))
            print("\n".join(left_out if pair is None else next(said) for pair in chunk), flush=True)
            count += len(pairs)
    seconds = time.perf_counter() - began
    for note in ledger.notes:
        say(f"note: {note}")
    skipped = sum(ledger.skipped.values())
    say(f"{count:,} pairs scored, {skipped:,} skipped, {count / max(seconds, 1e-9):,.0f} pairs/s")
    return 0


def _whole(model: TextModel, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic) -> list[str]:
    return [f"{score:.9g}" for score in model.pair_scores(pairs, arithmetic).tolist()]


def _tokens(model: TextModel, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic) -> list[str]:
    return [
        "".join(f"{escaped(token)}\t{score:.9g}\n" for token, score in zip(tokens, scores, strict=True))
        for tokens, scores in model.token_scores(pairs, arithmetic)
    ]


def _aligned(model: TextModel, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic) -> list[str]:
    looks = model.attention(pairs, arithmetic)
    cut = model.source_tokenizer, model.target_tokenizer
    return [as_pharaoh(links(look, *cut, pair)) for look, pair in zip(looks, pairs, strict=True)]


def _score_table(options: ScoreOptions) -> int:
    names, pairs = options.leading(options.pairs)
    if pairs or options.per_token or options.alignments:
        raise ConfigError("--phrase-table is read instead of pairs: leave out PAIRS, --per-token and --alignments.")
    for option in fields(PairOptions):
        if option.name != "skip_bad" and getattr(options, option.name) != option.default:
            name = option.name.replace("_", "-")
            raise ConfigError(f"--phrase-table is read instead of pairs: leave out --{name}, which is about these.")
    model, _ = options.load_leading(options.pairs)
    identity = {"the model": sha256_of(map(model_file, names)), "--ensemble-mean": options.ensemble_mean}
    try:
        told = score_table(model, options, options, options.skip_bad, identity)
    except KeyboardInterrupt:
        if options.out:
            say("Go on: the same command with --resume.")
        raise
    for note in told.notes:
        say(f"note: {note}")
    counts = told.written.counts
    unchanged, unique = (counts.get(name, 0) for name in ("unchanged", "unique"))
    left = f", {unchanged:,} bad ones passed on as they were" * (unchanged > 0)
    say(f"{told.written.lines:,} phrases, {unique:,} different ones scored{left}, {told.speed:,.0f} phrases/s")
    return 0
