"""Everything between the options and the first update: read, hold out, tokenise, batch, build; and report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seq2seq.app.construct import build_model, model_class, shares_vocabulary, with_settings
from seq2seq.app.evaluation import GREEDY, Evaluation
from seq2seq.app.fingerprint import fingerprint
from seq2seq.app.names import is_ours
from seq2seq.app.options import TrainOptions
from seq2seq.app.preflight import check_evaluated, cost_lines, smoothing_line, text_line, unknown_line
from seq2seq.app.reading import read_files, short_enough, tokenised
from seq2seq.app.runtime import give_back_memory
from seq2seq.app.text_model import TextModel, TextSettings
from seq2seq.app.tokens import tokenizers
from seq2seq.app.user_code import classes_of, copies, file_hash, known_classes
from seq2seq.core.files import make_folder
from seq2seq.core.module import count
from seq2seq.core.precision import resolve
from seq2seq.core.seams import Searchable
from seq2seq.data import Batches, Dataset, Dropping, PieceDropout, Tokenizer
from seq2seq.errors import ConfigError
from seq2seq.search import Ensemble
from seq2seq.search.checking import check_searchable
from seq2seq.training import Fingerprint, FolderLock
from seq2seq.training.checkpoint import Checkpoints

_PAIRS_IN_A_BATCH, _MOST_TOKENS = 64, 4096
_MOST_SHAPES, _COMPILING, _EPOCHS = 12, 5e11, 3  # operations that take as long as to compile a shape; epochs to come
_WRITTEN = ("model.npz", "config.toml", "log.jsonl", "*_tokenizer.json", "distilled.*", "dev.*")
_OWN = (
    *("config.toml", "log.jsonl", "source_tokenizer.json", "target_tokenizer.json"),
    *("data/pairs", "data/pairs.json"),
)
"""What any run writes and what a file of the user's could be called too, in a folder that is no run's yet."""
_INIT = 2**32 - 1  # the key of the fresh parameters; updates draw from the small numbers


@dataclass(frozen=True)
class Job:
    """A run that is ready to begin.

    Attributes:
        text_model: the model, fresh or from a file, with its tokenizers.
        batches: the training data.
        evaluation: the dev data.
        options: the options, `auto` resolved.
        report: the lines of the pre-flight report.
        fingerprint: what a resume compares.
    """

    text_model: TextModel
    batches: Batches
    evaluation: Evaluation
    options: TrainOptions[Any]
    report: list[tuple[str, str]]
    fingerprint: Fingerprint


def prepare(options: TrainOptions[Any]) -> Job:
    """Make a job of the options.

    Raises:
        DataError: the pairs cannot be read or used.
        ConfigError: options that do not go together.
        ArchiveError: the model to begin with cannot be read.
    """
    cls = model_class(options.model_type)
    read = read_files(options)
    corpus, report = read.corpus, read.report
    began_with = _began_with(options)
    if began_with:
        began_with.check_format(corpus.format)
    source, target = tokenizers(options, corpus, began_with, shares_vocabulary(cls))
    pieces = None
    if options.piece_dropout:
        pieces = PieceDropout.of(options.piece_dropout, source.tokenizer, target.tokenizer)
    data = tokenised(read, options, source.tokenizer, target.tokenizer)
    dev = short_enough(read, options, source.tokenizer, target.tokenizer)
    for column, (name, side) in enumerate((("source", source), ("target", target))):
        report.append(text_line(name, side.tokenizer, side.why, data.histogram(column)))
        report += unknown_line(name, side.tokenizer, (pair[column] for pair in dev))
    if began_with:
        model = with_settings(began_with.model, options.model)
    else:
        model = _fresh(cls, options, source.tokenizer, target.tokenizer)
    if options.metric == "auto":
        options = replace(options, metric=_metric(model, target.tokenizer, corpus.next_sentence))
    steps = data.lengths if pieces is None else pieces.steps(data)
    options = _resolved(options, float(steps.sum()) / len(data), source.tokenizer, target.tokenizer)
    batches = training_batches(
        data, model, options.batch_tokens or _MOST_TOKENS, options.seed, dropping=options.dropping, pieces=pieces
    )
    options = replace(
        options,
        evaluate_every=options.cadence(batches.count),
        optimizer=options.optimizer.in_updates(batches.count),
    )
    longest = [int(steps) for steps in data.lengths.max(axis=0)]
    if began_with:  # which has seen what it was trained on
        longest = list(map(max, longest, (began_with.settings.source_longest, began_with.settings.target_longest)))
    settings = TextSettings(format=corpus.format, source_longest=longest[0], target_longest=longest[1])
    config = options.public_toml(began_with.config if began_with else "")
    text_model = TextModel(model, source.tokenizer, target.tokenizer, settings, config=config)
    _refuse_later_failures(text_model, batches, options)
    evaluation = Evaluation(text_model, [pair[:2] for pair in dev], replace(GREEDY, precision=options.precision))
    options.check_metric(evaluation.names)
    give_back_memory()  # of what was read, and looked at, once
    return Job(
        text_model=text_model,
        batches=batches,
        evaluation=evaluation,
        options=options,
        report=report + smoothing_line(options.metric, _smoothing(options)) + cost_lines(model, batches, options),
        fingerprint=fingerprint(read, data.fingerprint, evaluation.fingerprint, options, model, _hashes(options)),
    )


def _refuse_later_failures(text_model: TextModel, batches: Batches, options: TrainOptions[Any]) -> None:
    """Refuse now what would fail when the first model is to be measured or kept, after hundreds of updates.

    Raises:
        ArchiveError: no file can hold the model.
        ModuleError, ShapeError: a class of the user's does not give what an evaluation asks for.
    """
    text_model.archive()
    if not user_classes(options):  # ours are known to be right
        return
    if isinstance(text_model.model, Searchable):
        check_searchable(text_model.model, text_model.target_tokenizer.size)
    check_evaluated(text_model.model, batches)


def training_batches(
    data: Dataset,
    model: Any,
    tokens: int,
    seed: int,
    dropping: Dropping = Dropping(),  # noqa: B008 (frozen)
    pieces: PieceDropout | None = None,
) -> Batches:
    """Batches to train a model on: of as many shapes as save more time than it takes to compile them.

    Each parameter takes about 3 floating-point operations for a time step of source or target: 6 to use it and to
    differentiate, on one of the two sides.
    """
    worth = _COMPILING / (3 * count(model)) / _EPOCHS
    return Batches(
        data, tokens=tokens, seed=seed, max_shapes=_MOST_SHAPES, worth=worth, dropping=dropping, pieces=pieces
    )


def _began_with(options: TrainOptions[Any]) -> TextModel | None:
    if options.from_model is None:
        return None
    found = TextModel.load(options.from_model, known_classes(options.types))
    if isinstance(found.model, Ensemble):
        raise ConfigError(
            f"--from: {options.from_model} is an ensemble, which does not train; give one of its members."
        )
    return found


def _smoothing(options: TrainOptions[Any]) -> float:
    return getattr(options.model, "label_smoothing", 0.0)


def _metric(model: Any, target: Tokenizer, next_sentence: bool) -> str:
    """What --metric auto stands for."""
    if next_sentence or not isinstance(model, Searchable):
        return "loss_nats_per_token"
    return "bleu" if target.kind in ("bpe", "unigram", "word") else "wer_percent"


def _resolved(options: TrainOptions[Any], mean: float, source: Tokenizer, target: Tokenizer) -> TrainOptions[Any]:
    """The options with every `auto` and None filled in that data, of pairs of so many time steps, and others decide."""
    usual = min(_MOST_TOKENS, round(mean * _PAIRS_IN_A_BATCH))
    asked = options.batch_tokens or (options.batch_pairs and round(mean * options.batch_pairs))
    optimizer = options.optimizer
    return replace(
        options,
        precision=resolve(options.precision),
        batch_tokens=asked or usual,
        batch_pairs=None,
        source_tokens=source.kind,
        target_tokens=target.kind,
        source_form=source.form,
        target_form=target.form,
        right_to_left=target.right_to_left,
        optimizer=replace(
            optimizer,
            learning_rate=optimizer.rate,
            warmup_updates=optimizer.warmup,
            weight_decay=optimizer.decay,
        ),
    )


def _fresh(cls: Any, options: TrainOptions[Any], source: Tokenizer, target: Tokenizer) -> Any:
    given = {
        "source_vocabulary": source.size,
        "target_vocabulary": target.size,
        "vocabulary": source.size,
        "target_of_source": target.matching(source),
    }

    def made(seed: Any) -> Any:
        return build_model(cls, jax.random.fold_in(jax.random.key(seed), _INIT), given, options.model)

    seed = np.uint32(options.seed)
    try:
        return jax.jit(made)(seed)  # one program: one by one, its hundred small ones take seconds to compile
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):  # an `init` that looks at the numbers it draws
        return made(seed)


def user_classes(options: TrainOptions[Any]) -> list[type]:
    """The classes of the user's that the options name."""
    named = [model_class(options.model_type), *(getattr(options.model, f.name) for f in fields(options.model))]
    return [cls for cls in named if isinstance(cls, type) and not is_ours(cls)] + classes_of(options.types)


def _hashes(options: TrainOptions[Any]) -> dict[str, str]:
    """What the files of the user's classes hold, by the classes' names, which those of several files may share."""
    hashes: dict[str, dict[str, None]] = {}
    for cls in user_classes(options):
        hashes.setdefault(cls.__name__, {})[file_hash(cls)] = None
    return {name: " ".join(several) for name, several in hashes.items()}


@contextmanager
def run_folder(options: TrainOptions[Any], more: Sequence[str] = ()) -> Iterator[Path]:
    """The run's folder, made if it is not there, and locked: nobody else writes into it within.

    Args:
        options: which folder, and what is read.
        more: what a command writes there, beside the files of any run.

    Raises:
        ConfigError: no folder was named, it holds a run or files that would be lost, it cannot be made, or somebody
            else trains there.
    """
    if not options.out:
        raise ConfigError("--out is missing: name the folder of the run.")
    folder = Path(options.out)
    _check_free(options, folder, more)
    try:
        make_folder(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}).") from None
    with FolderLock(folder):
        _check_free(options, folder, more)  # again: it may have come to hold one
        for name in _WRITTEN:
            for litter in folder.glob(f".{name}.*.tmp"):
                litter.unlink(missing_ok=True)  # of a run that was killed while it wrote
        yield folder


def _check_free(options: TrainOptions[Any], folder: Path, more: Sequence[str]) -> None:
    if options.resume:
        return
    if holds_run(folder):
        raise ConfigError(
            f"{folder}: holds a run already; go on with it by seq2seq train --resume --out {shlex.quote(str(folder))}, "
            "or choose another --out."
        )
    named = [*(folder / name for name in (*_OWN, *more)), *copies(user_classes(options), folder).values()]
    written = [path for path in named if path.is_file()]
    for given in (*options.inputs(), options.config):
        if given and os.path.exists(given) and any(path.samefile(given) for path in written):
            raise ConfigError(f"{given} would be overwritten: a run in {folder} writes there; choose another --out.")
    lock = FolderLock(folder)
    if lock.path.is_file() and not lock.is_ours:
        written.insert(0, lock.path)
    if written and not lock.is_ours:  # the folder of a run keeps its lock
        raise ConfigError(f"{written[0]}: is there already, and no run wrote it; choose another --out.")


def holds_run(folder: Path) -> bool:
    """Whether there is anything in the folder that a new run would overwrite."""
    return bool(Checkpoints(folder / "checkpoints").paths()) or (folder / "model.npz").exists()
