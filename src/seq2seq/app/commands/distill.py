"""`seq2seq distill PAIRS... --teacher MODEL... --out RUN`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic

import tyro

from seq2seq.app.arguments import input_lines, input_name
from seq2seq.app.commands.train import options_from
from seq2seq.app.decoding import Decoding
from seq2seq.app.options import M, TrainOptions, Types
from seq2seq.app.partial_file import sha256_of
from seq2seq.app.preflight import render
from seq2seq.app.prepare import holds_run, run_folder
from seq2seq.app.reading import Read, check_pairs, read_files
from seq2seq.app.teacher import Teacher, forget
from seq2seq.app.text_model import TextModel, model_file
from seq2seq.app.train import run_in, say
from seq2seq.app.user_code import known_classes
from seq2seq.core.files import atomic_write
from seq2seq.data import (
    BadLineError,
    Corpus,
    Ledger,
    Pair,
    corpus_format,
    parse_inflection_source,
    source_of_line,
)
from seq2seq.data.formats import parse_sigmorphon
from seq2seq.data.holdout import as_read, lines_of
from seq2seq.errors import ConfigError, DataError


@dataclass(frozen=True)
class DistillOptions(TrainOptions[M], Generic[M]):
    """Train a student on what a teacher, one model or an ensemble, says (Kim and Rush 2016, sequence-level).

    The student learns from the pairs and from the teacher's output for each of their sources, if that has an end;
    --unlabelled adds sources that have no target (self-training). With --teacher-only it is as in the paper, except
    that the teacher's outputs are ranked by log p per token. Everything else is as in `seq2seq train`. The pairs
    that it learns from stay in RUN/distilled.jsonl (lemma, features and form: .tsv). Where this was stopped or killed
    while the teacher spoke, the same command goes on.
    """

    types: Types = ()
    """A class of yours that a teacher, or the model of --from, holds."""
    teacher: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL...")] = ()
    """The teacher: a model.npz or the folder of a run; several are an ensemble."""
    unlabelled: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Files of sources without targets, one a line; --skip-bad is for these too."""
    teacher_beam: int = 5
    """Beam width of the teacher."""
    teacher_only: bool = False
    """Leave the pairs' own targets out: the student then learns from the teacher alone."""

    def inputs(self) -> tuple[str, ...]:
        """The names of all files that are read."""
        return (*super().inputs(), *self.unlabelled)


_WRITTEN = ("distilled", "dev")


def main(arguments: Sequence[str]) -> int:
    """Let the teacher speak, then train."""
    if "--resume" in arguments:
        raise ConfigError(
            "distill does without --resume: while the teacher speaks the same command goes on, and with the student "
            "seq2seq train --resume --out RUN does."
        )
    options = options_from(arguments, DistillOptions, "distill")
    if not options.teacher:
        raise ConfigError("--teacher is missing: name a model, or several to be an ensemble.")
    if options.teacher_beam < 1:
        raise ConfigError(f"--teacher-beam is {options.teacher_beam}; wanted at least 1.")
    check_pairs(options)
    suffix = _suffix(corpus_format(options.files(options.pairs)))
    with run_folder(options, [f"{name}.{suffix}" for name in _WRITTEN]) as folder:
        try:
            return run_in(folder, taught(options, folder))
        finally:
            if holds_run(folder):  # there is a student to go on with
                forget(folder)


def taught(options: DistillOptions[Any], folder: Path) -> TrainOptions[Any]:
    """The options of the student's training, whose files are now written."""
    read = read_files(options)
    say(render(read.report))
    suffix = _suffix(read.corpus.format)
    files = {name: folder / f"{name}.{suffix}" for name in _WRITTEN}
    write(files["distilled"], _lessons(options, read, folder), suffix)
    write(files["dev"], read.dev, suffix)
    student = TrainOptions(**{f.name: getattr(options, f.name) for f in fields(TrainOptions)})
    return replace(
        student,
        pairs=(str(files["distilled"]),),
        dev=(str(files["dev"]),),
        **dict.fromkeys(("source", "target", "dev_source", "dev_target")),
        format="sigmorphon" if suffix == "tsv" else "jsonl",
        metric=_metric(options, read.corpus),
        types=() if options.from_model is None else options.types,
        next_sentence=False,
        split="line",
    )


def _suffix(corpus_format: str) -> str:
    return "tsv" if corpus_format == "sigmorphon" else "jsonl"


def _lessons(options: DistillOptions[Any], read: Read, folder: Path) -> list[Pair]:
    """The pairs that the student learns from: those of the files as often as they stand there, then the teacher's.

    Raises:
        DataError: there is none, or a line without a target cannot be used.
    """
    corpus = read.corpus
    teacher = _teacher(options, corpus, folder)
    sources = dict.fromkeys([*(pair.source for pair in corpus.pairs), *_unlabelled(options, read)])
    said = teacher.lessons(list(sources))
    own = [] if options.teacher_only else [Pair(*pair[:2]) for pair in corpus.pairs]
    known = set(own)
    if lessons := [*own, *(pair for pair in said if pair not in known)]:
        return lessons
    raise DataError("no output of the teacher is left to learn from: train it longer, or leave out --teacher-only.")


def _metric(options: DistillOptions[Any], corpus: Corpus) -> str:
    """The dev score: of next sentences as `train` would choose it, since the student's pairs do not tell."""
    return "loss_nats_per_token" if options.metric == "auto" and corpus.next_sentence else options.metric


def _teacher(options: DistillOptions[Any], corpus: Corpus, folder: Path) -> Teacher:
    types = known_classes(options.types)
    models = [TextModel.load(path, types) for path in options.teacher]
    model = TextModel.ensemble(models, names=options.teacher)
    model.check_format(corpus.format)
    identity = sha256_of(map(model_file, options.teacher))
    decoding = Decoding(beam=options.teacher_beam, precision=options.precision)
    suffix = _suffix(corpus.format)
    return Teacher(model.of_read_pairs(), decoding, identity, folder, partial(_readable, suffix, options.max_line))


def _readable(suffix: str, max_line: int, pair: Pair) -> bool:
    """Whether the student's reader finds the pair in the line that it is written as, and its target is all text."""
    if len(pair.target) > max_line or set(pair.target) & set("\0\r\ufffd"):
        return False
    if suffix == "jsonl":
        return True
    try:
        line = _line(pair, suffix)
        return "\n" not in line and len(line) <= max_line and parse_sigmorphon(line) == pair
    except BadLineError:
        return False


def _unlabelled(options: DistillOptions[Any], read: Read) -> list[str]:
    """The sources without targets, but for those that are measured on."""
    ledger = Ledger(options.skip_bad)
    files = ((path, input_lines(path, ledger, options.max_line)) for path in options.unlabelled)
    sources = [source for path, lines in files for source in _sources(path, lines, read.corpus.format, ledger)]
    for note in ledger.notes:
        say(render([("", note)]))
    measured = set(lines_of(read.dev, read.corpus.next_sentence))
    kept = [source for source in sources if as_read(source) not in measured]
    if left_out := len(sources) - len(kept):
        say(f"{left_out:,} unlabelled sources are left out: what is measured on has them too.")
    return kept


def _sources(
    path: str, lines: Iterable[tuple[int, str | BadLineError]], corpus_format: str, ledger: Ledger
) -> Iterator[str]:
    """The sources in the lines of a file, one each; the ledger hears of what is no source."""
    for number, line in lines:
        try:
            if isinstance(line, BadLineError):
                raise line
            if corpus_format == "tsv" and "\t" in line.strip():
                raise BadLineError("a TAB", "write one source a line, without a target")
            if line.strip():
                yield source_of_line(line, corpus_format)
        except BadLineError as error:
            ledger.bad(error, input_name(path), number)


def write(path: Path, pairs: Iterable[Pair], suffix: str) -> None:
    """The pairs in a form that `read_pairs` reads as it did the first ones."""

    def written(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{_line(pair, suffix)}\n" for pair in pairs)

    atomic_write(path, written)


def _line(pair: Pair, suffix: str) -> str:
    if suffix == "tsv":
        return "\t".join((*parse_inflection_source(pair.source), pair.target))
    return json.dumps({"source": pair.source, "target": pair.target}, ensure_ascii=False)
