"""`seq2seq distill PAIRS... --teacher MODEL... --out RUN`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Generic

import tyro

from seq2seq.app.arguments import read_input
from seq2seq.app.commands.train import options_from
from seq2seq.app.decoding import Decoding
from seq2seq.app.meter import Meter
from seq2seq.app.options import M, TrainOptions
from seq2seq.app.preflight import render
from seq2seq.app.prepare import run_folder
from seq2seq.app.reading import read_files
from seq2seq.app.runtime import use_threads
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import run_in, say
from seq2seq.app.user_code import classes_of
from seq2seq.core.archive import atomic_write
from seq2seq.data import BadLineError, Corpus, Pair, parse_inflection_source, source_of_line
from seq2seq.data.holdout import as_read, lines_of
from seq2seq.errors import ConfigError, DataError

_CHUNK = 2048


@dataclass(frozen=True)
class DistillOptions(TrainOptions[M], Generic[M]):
    """Train a student on what a teacher, one model or an ensemble, says (Kim and Rush 2016, sequence-level).

    The student learns from the pairs and from the teacher's output for each of their sources; --unlabelled adds sources
    that have no target (self-training). Everything else is as in `seq2seq train`. The pairs that it learns from stay in
    RUN/distilled.jsonl (lemma, features and form: .tsv).
    """

    teacher: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL...")] = ()
    """The teacher: a model.npz or the folder of a run; several are an ensemble."""
    unlabelled: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Files of sources without targets, one a line."""
    teacher_beam: int = 5
    """Beam width of the teacher."""
    teacher_only: bool = False
    """Leave the pairs' own targets out: the student then learns from the teacher alone."""


def main(arguments: Sequence[str]) -> int:
    """Let the teacher speak, then train."""
    options = options_from(arguments, DistillOptions, "distill")
    if options.resume:
        raise ConfigError(f"go on with the student by seq2seq train --resume --out {options.out or 'RUN'}.")
    if not options.teacher:
        raise ConfigError("--teacher is missing: name a model, or several to be an ensemble.")
    use_threads(options.threads)
    with run_folder(options) as folder:
        return run_in(folder, taught(options, folder))


def taught(options: DistillOptions[Any], folder: Path) -> TrainOptions[Any]:
    """The options of the student's training, whose files are now written."""
    read = read_files(options)
    say(render(read.report))
    corpus = read.corpus
    teacher = _teacher(options, corpus)
    measured = set(lines_of(read.dev, corpus.next_sentence))
    unlabelled = list(_unlabelled(options.unlabelled, corpus.format))
    kept = [source for source in unlabelled if as_read(source) not in measured]
    if left_out := len(unlabelled) - len(kept):
        say(f"{left_out:,} unlabelled sources are left out: what is measured on has them too.")
    sources = dict.fromkeys([*(pair.source for pair in corpus.pairs), *kept])
    own = [] if options.teacher_only else [Pair(*pair[:2]) for pair in corpus.pairs]
    said = [Pair(*pair) for pair in _outputs(teacher, list(sources), Decoding(beam=options.teacher_beam))]
    suffix = "tsv" if corpus.format == "sigmorphon" else "jsonl"
    files = {name: folder / f"{name}.{suffix}" for name in ("distilled", "dev")}
    write(files["distilled"], dict.fromkeys([*own, *said]), suffix)
    write(files["dev"], read.dev, suffix)
    student = TrainOptions(**{f.name: getattr(options, f.name) for f in fields(TrainOptions)})
    return replace(
        student,
        pairs=(str(files["distilled"]),),
        dev=(str(files["dev"]),),
        **dict.fromkeys(("source", "target", "dev_source", "dev_target")),
        format="sigmorphon" if suffix == "tsv" else "jsonl",
        metric=_metric(options, corpus),
        max_line=12 * options.max_line + 100,  # JSON of both sides, every character of which may have to be escaped
        next_sentence=False,
        split="line",
    )


def _metric(options: DistillOptions[Any], corpus: Corpus) -> str:
    """The dev score: of next sentences as `train` would choose it, since the student's pairs do not tell."""
    return "loss_nats_per_token" if options.metric == "auto" and corpus.next_sentence else options.metric


def _teacher(options: DistillOptions[Any], corpus: Corpus) -> TextModel:
    types = classes_of(options.types)
    models = [TextModel.load(path, types) for path in options.teacher]
    teacher = TextModel.ensemble(models, names=options.teacher) if len(models) > 1 else models[0]
    teacher.check_format(corpus.format)
    return replace(teacher, settings=replace(teacher.settings, format="tsv"))  # its sources are rewritten already


def _unlabelled(paths: Iterable[str], corpus_format: str) -> Iterable[str]:
    for path in paths:
        for number, line in read_input(path):
            try:
                source = source_of_line(line, corpus_format)
            except BadLineError as error:
                raise DataError(str(error), path, number) from None
            if source:
                yield source


def _outputs(teacher: TextModel, sources: Sequence[str], decoding: Decoding) -> Iterable[tuple[str, str]]:
    """Each source with the teacher's output, where there is any."""
    with Meter("sources", len(sources)) as meter:
        for start in range(0, len(sources), _CHUNK):
            chunk = sources[start : start + _CHUNK]
            outputs = teacher.generate(chunk, decoding)
            yield from ((source, output) for source, output in zip(chunk, outputs, strict=True) if output.strip())
            meter.advance(len(chunk), start + len(chunk))


def write(path: Path, pairs: Iterable[Pair], suffix: str) -> None:
    """The pairs in a form that `read_pairs` reads as it did the first ones."""

    def line(pair: Pair) -> str:
        if suffix == "tsv":
            return "\t".join((*parse_inflection_source(pair.source), pair.target))
        return json.dumps({"source": pair.source, "target": pair.target}, ensure_ascii=False)

    text = "".join(line(pair) + "\n" for pair in pairs)
    atomic_write(path, lambda temporary: Path(temporary).write_text(text, "utf-8"))
