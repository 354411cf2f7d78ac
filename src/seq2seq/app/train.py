"""`seq2seq train`."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from seq2seq.app.called import program, quoted
from seq2seq.app.fingerprint import revisions
from seq2seq.app.options import TrainOptions
from seq2seq.app.preflight import render
from seq2seq.app.prepare import Job, prepare, run_folder, user_classes
from seq2seq.app.text_model import TextModel
from seq2seq.app.user_code import copy_code, known_classes, name_of
from seq2seq.core.files import atomic_write
from seq2seq.core.seams import Searchable
from seq2seq.errors import ArchiveError, NewerFormatError, UnknownClassError, UnreadableArchiveError
from seq2seq.training import JsonLog, ProgressBar, Run, Stopped, TrainingConfig, check_lock, follow, tensorboard, train


def run(options: TrainOptions[Any]) -> int:
    """Train as the options say; the exit status."""
    with run_folder(options) as folder:
        return run_in(folder, options)


def run_in(folder: Path, options: TrainOptions[Any]) -> int:
    """The same, in a folder that is locked."""
    job = prepare(options)
    say(render(job.report))
    end = run_job(job, folder)
    if end.reason == "interrupted":
        say(f"Go on:  {program()} train --resume --out {quoted(folder)}")
        return 128 + end.signal
    types = "".join(f" --types {quoted(name_of(cls))}" for cls in dict.fromkeys(user_classes(options)))
    command, of_it = program(), quoted(folder)
    if not isinstance(job.text_model.model, Searchable):  # it trains, and no more
        say(f"Next:  {command} evaluate {of_it} PAIRS{types}    {command} plot {of_it}")
        return 0
    say(f"Next:  {command} generate {of_it} INPUT{types}    {command} evaluate {of_it} PAIRS{types}")
    say(f"       {command} chat {of_it}{types}    {command} plot {of_it}    {command} serve {of_it}{types}")
    return 0


def run_job(job: Job, folder: Path) -> Stopped:
    """Train, with a progress bar, a log and TensorBoard; the best model ends in `folder`/model.npz."""
    options, path, log = job.options, folder / "model.npz", JsonLog(folder / "log.jsonl")
    written: list[Mapping[str, float]] = []

    def save_best(model: Any, scores: Mapping[str, float]) -> None:
        best = replace(job.text_model.with_model(model), provenance=_provenance(job, scores))
        best.save(path)
        written.append(scores)

    def before_saving() -> None:
        check_lock(folder)
        log.sync()

    run = Run(
        folder=folder,
        evaluate=job.evaluation,
        save_best=save_best,
        lost_best=lambda: _lost(path, options),
        before_saving=before_saving,
        training=TrainingConfig(**{f.name: getattr(options, f.name) for f in fields(TrainingConfig)}),
        optimizer=options.optimizer,
        fingerprint=job.fingerprint,
        resume=options.resume,
        score_first=options.from_model is not None,
    )
    events = train(job.text_model.model, job.batches, run)
    _write(folder / "config.toml", options.toml())  # not before: a refused --resume leaves the run's own as it was
    copy_code(user_classes(options), folder)
    board = tensorboard(folder / "tensorboard")
    listeners = [ProgressBar(), log, *([board] if board else [])]
    end = follow(events, listeners)
    if not path.exists():
        say(f"warning: {path} was written, and is gone; --resume makes one.")
    else:
        say(f"Wrote {path}." if written else f"{path} stays as it was: no better model was found.")
    return end


def _lost(path: Path, options: TrainOptions[Any]) -> str | None:
    """What is wrong with the best model of a run, if it is lost, without its folder; what there is is set aside.

    Raises:
        ArchiveError: it cannot be read now, or not by this version.
    """
    if not path.exists():
        return f"{path.name}: the best model so far is gone."
    try:
        TextModel.kind_of(path, [*user_classes(options), *known_classes(options.types)])
        return None
    except (UnreadableArchiveError, NewerFormatError, UnknownClassError):
        raise
    except ArchiveError as error:
        aside = path.with_suffix(".npz.bad")
        with suppress(OSError):  # what cannot be moved will be replaced
            os.replace(path, aside)
        said = str(error).replace(str(path), path.name)
        return f"{said} It was the best model so far, and is set aside as {aside.name}."


def say(text: str) -> None:
    """A line for people; standard output stays free for results."""
    print(text, file=sys.stderr, flush=True)


def _provenance(job: Job, scores: Mapping[str, float]) -> dict[str, Any]:
    """Where the model comes from; no names of people or machines."""
    packages = ("seq2seq-jax", "jax", "jaxlib", "numpy", "optax", "tokenizers")
    return {
        "scores": dict(scores),
        "training_pairs": len(job.batches.dataset),
        "data_sha256": job.batches.dataset.fingerprint,
        "seed": job.options.seed,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        **({"git": found} if (found := revisions(job.fingerprint)) else {}),
    }


def _write(path: Path, text: str) -> None:
    atomic_write(path, lambda temporary: temporary.write_text(text, "utf-8"))
