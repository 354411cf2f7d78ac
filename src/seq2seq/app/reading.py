"""From files to ids: what `train` reads, holds out, and tokenises, in memory or in the run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.app.meter import Meter
from seq2seq.app.options import TrainOptions
from seq2seq.app.runtime import thread_count
from seq2seq.data import Corpus, Dataset, Pair, Tokenizer, distinct, hold_out, read_pairs
from seq2seq.data.holdout import lines_of, shared_lines
from seq2seq.data.spool import Spooled
from seq2seq.errors import ConfigError, DataError

_MANY = 1_000_000  # pairs, from which on processes that begin with importing all anew are worth it
_TOLD = 4096  # pairs that a bar hears of together


class Read(NamedTuple):
    """The pairs to train on, the pairs to measure on, and what to say of them.

    Attributes:
        corpus: to train on.
        dev: to measure on.
        report: lines of the report.
        of: what tells the pairs to train on from others, where they are spooled; "" where they are in memory.
    """

    corpus: Corpus
    dev: Sequence[Pair]
    report: list[tuple[str, str]]
    of: str


def read_files(options: TrainOptions[Any]) -> Read:
    """Read all the pairs; very many of them go through a file of the run's folder.

    Raises:
        DataError: the pairs cannot be read, or none can be held out.
        ConfigError: options that do not go together.
    """
    check_pairs(options)
    dev_files = options.dev_files()
    spool = Path(options.out) / "data" / "pairs"
    with Meter("pairs", None, task="reading") as meter:
        corpus = read_pairs(options.files(options.pairs), spool, partial(_watched, meter))
    skipped = sum(corpus.skipped.values())
    if dev_files is None:
        held = hold_out(corpus, seed=options.seed)
        train, dev, notes = held.train, held.dev, [*corpus.notes, *held.notes]
    else:
        found = read_pairs(dev_files)
        if (found.format == "sigmorphon") != (corpus.format == "sigmorphon"):
            raise ConfigError(
                f"the pairs to measure on are read as {found.format}, those to train on as {corpus.format}; "
                "give both the same columns, or say --format."
            )
        train, dev, notes = corpus.pairs, list(found.pairs), [*corpus.notes, *found.notes, *_overlap(corpus, found)]
        skipped += sum(found.skipped.values())
    report = [("pairs", f"{len(train):,} to train on, {len(dev):,} to measure on, {skipped:,} skipped")]
    report += [("", note) for note in notes]
    of = ""
    if isinstance(corpus.pairs, Spooled):
        report.append(("", f"in files of {spool.parent}, where memory need not hold them"))
        of = f"{corpus.pairs.sha256} {options.seed if dev_files is None else 'all'} {options.deduplicate}"
    return Read(replace(corpus, pairs=train), dev, report, of)


def tokenised(read: Read, options: TrainOptions[Any], source: Tokenizer, target: Tokenizer) -> Dataset:
    """The pairs as ids, in memory or in the run's folder, and lines of the report on what is left out."""
    pairs = distinct(read.corpus.pairs) if options.deduplicate else read.corpus.pairs
    if repeated := len(read.corpus.pairs) - len(pairs):
        read.report.append(("left out", f"{repeated:,} pairs that were there before"))
    limits = {"max_length": options.max_length, "max_ratio": options.max_ratio}
    workers = thread_count() if len(pairs) >= _MANY else 1
    files = {"folder": Path(options.out) / "data", "of": read.of, "workers": workers} if read.of else {}
    with Meter("pairs", len(pairs), task="tokenising") as meter:
        data = Dataset.build(_watched(meter, pairs), source, target, **limits, **files)
    if data.damaged:
        read.report.append(("", f"{data.damaged}: not what was written; the pairs were tokenised again"))
    if data.dropped:
        ratio = "" if options.max_ratio is None else f", or so long for the other (--max-ratio {options.max_ratio:g})"
        too_long = f"{data.dropped:,} pairs with a side of more than {options.max_length} tokens{ratio}"
        read.report.append(("left out", too_long))
    return data


def short_enough(read: Read, options: TrainOptions[Any], source: Tokenizer, target: Tokenizer) -> list[Pair]:
    """The pairs to measure on that are no longer than those to train on may be; a line of the report on the others.

    Raises:
        DataError: none is left.
    """
    sides = [tokenizer.encode_batch(pair[side] for pair in read.dev) for side, tokenizer in enumerate((source, target))]
    most = options.max_length
    kept = [pair for pair, *ids in zip(read.dev, *sides, strict=True) if max(map(len, ids)) <= most]
    if not kept:
        raise DataError(f"all pairs to measure on have a side of more than {most} tokens; raise --max-length.")
    if left_out := len(read.dev) - len(kept):
        read.report.append(("left out", f"{left_out:,} pairs to measure on with a side of more than {most} tokens"))
    return kept


def check_pairs(options: TrainOptions[Any]) -> None:
    """Refuse a command whose PAIRS an option took, which takes several words.

    Raises:
        ConfigError: no PAIRS are left.
    """
    files = [name for name in options.optimizer.freeze if Path(name).exists()]  # which are no fields of a model
    several: dict[str, Sequence[str]] = {"--dev": options.dev, "--optimizer.freeze": files}
    several |= {f"--{name}": getattr(options, name, ()) for name in ("teacher", "unlabelled")}  # of distill
    taken = " or ".join(name for name, words in several.items() if words)
    if taken and not (options.pairs or options.source or options.target):
        raise ConfigError(f"no PAIRS to train on: {taken} takes every word behind it, so write PAIRS before it.")


def _watched(meter: Meter, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs, which the meter hears of some thousand at a time."""
    for number, pair in enumerate(pairs, 1):
        yield pair
        if number % _TOLD == 0:
            meter.advance(_TOLD, number)


def _overlap(train: Corpus, dev: Corpus) -> list[str]:
    """A warning where dev lines also stand in the training data: sources, and targets too where lines follow lines."""
    known = shared_lines(train.pairs, dev.pairs, train.next_sentence)
    shared = sum(not known.isdisjoint(lines_of([pair], train.next_sentence)) for pair in dev.pairs)
    return [f"warning: {shared:,} of the dev pairs have a line that is also in the training data"] if shared else []
