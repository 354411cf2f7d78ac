"""`seq2seq score MODEL PAIRS`: one number for each pair."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from seq2seq.app.arguments import EnsembleOptions, parse
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.options import Files, PairOptions
from seq2seq.app.train import say
from seq2seq.data import Ledger, Pair, corpus_format, iterate_pairs

_PAIRS_AT_ONCE = 8192


@dataclass(frozen=True)
class ScoreOptions(Arithmetic, PairOptions, EnsembleOptions):
    """log p(target | source) of each pair, one number a line: natural log, the end of the target counted."""

    pairs: Files = ()
    """Files of pairs, one pair a line: source TAB target, or as --format says."""
    per_token: bool = False
    """Write each target token and its log-probability: token TAB number, with an empty line between pairs."""


def main(arguments: Sequence[str]) -> int:
    """Score."""
    options = parse(ScoreOptions, "score", arguments)
    model, paths = options.load_leading(options.pairs)
    ledger, began, count = Ledger(options.skip_bad), time.perf_counter(), 0
    model.check_format(corpus_format(options.files(paths)))
    pairs = iterate_pairs(options.files(paths), ledger)
    for chunk in _chunks(pairs):
        for tokens, scores in model.token_scores(chunk, options):
            if options.per_token:
                print("".join(f"{token}\t{one:.9g}\n" for token, one in zip(tokens, scores, strict=True)))
            else:
                print(f"{sum(scores):.9g}")
        sys.stdout.flush()
        count += len(chunk)
    seconds = time.perf_counter() - began
    for note in ledger.notes:
        say(f"note: {note}")
    skipped = sum(ledger.skipped.values())
    say(f"{count:,} pairs scored, {skipped:,} skipped, {count / max(seconds, 1e-9):,.0f} pairs/s")
    return 0


def _chunks(pairs: Iterator[Pair]) -> Iterator[list[tuple[str, str]]]:
    while chunk := [(pair.source, pair.target) for pair in islice(pairs, _PAIRS_AT_ONCE)]:
        yield chunk
