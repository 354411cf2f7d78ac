"""The training loop: a generator of events around one pure update.

Exactness. What an update does depends on the state, the progress and the batch alone, and a checkpoint holds the
first two. The batch is a function of (seed, epoch, index), its key of (seed, update). The clock decides only when to
save and when to stop. An evaluation that was given up is made first thing after the resume.

Speed. An update is dispatched, then the report of the one before is read, then the next batch is made: device and
host work at the same time, and a loss that is not finite, whose update changes nothing, is seen one update later.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from seq2seq.core.module import named_leaves
from seq2seq.core.precision import resolve
from seq2seq.core.seams import BatchLike
from seq2seq.errors import ConfigError, NonFiniteLossError, ResumeError
from seq2seq.training.checkpoint import Snapshot, on_host
from seq2seq.training.clock import Clock
from seq2seq.training.config import Cost
from seq2seq.training.events import Evaluated, Event, Judged, Reason, Saved, Started, Stopped, Updated, Warned
from seq2seq.training.interrupt import Interrupt
from seq2seq.training.optimizer import build, schedule
from seq2seq.training.progress import Progress
from seq2seq.training.run import BatchSource, Run
from seq2seq.training.state import Report, begin, fresh, make_update, mean


def train(model: Any, batches: BatchSource, run: Run) -> Generator[Event, None, None]:
    """Train `model`, which is left as it is, and tell what happens.

    Ctrl-C, SIGTERM or SIGHUP once: the update is finished (an evaluation is given up, and made again after a resume), a
    checkpoint written, and the last event says how to go on. Twice: KeyboardInterrupt at once.

    Raises:
        ConfigError: an option that does not fit the model, the batches or the scores.
        ResumeError: there is nothing to resume, or it is another run; or a run would be overwritten.
        ArchiveError: a checkpoint cannot be written or read.
        NonFiniteLossError: loss or gradient was NaN or infinite so many times in a row (such updates are skipped), or
            a parameter is; the last checkpoint, which is finite, stays.

    Example:
        >>> import tempfile, pathlib, jax.numpy as jnp
        >>> from seq2seq.core.module import module
        >>> from seq2seq.core.seams import Loss
        >>> from seq2seq.training.config import TrainingConfig
        >>> @module
        ... class Mean:
        ...     value: jax.Array
        ...     def loss(self, batch, key):
        ...         return Loss(((batch - self.value) ** 2).sum(), jnp.array(batch.size))
        >>> class Numbers:
        ...     count = 1
        ...     def epoch(self, epoch, start=0):
        ...         return iter([np.array([1.0, 3.0])][start:])
        >>> run = Run(folder=pathlib.Path(tempfile.mkdtemp()), training=TrainingConfig(updates=3, log_every=3))
        >>> [type(event).__name__ for event in train(Mean(value=jnp.zeros(())), Numbers(), run)]
        ['Started', 'Saved', 'Updated', 'Saved', 'Stopped']
    """
    return _Session(model, batches, run).events()


class _Place(NamedTuple):
    """Which update, made from which batch: all counted from 1."""

    update: int
    epoch: int
    batch: int


class _Session:
    """A run while it runs. `state` is ahead of `progress`' losses by the one report that is `pending`."""

    def __init__(self, model: Any, batches: BatchSource, run: Run):
        if batches.count < 1:
            raise ConfigError("there is no batch to train on: the training data is empty.")
        run = replace(run, optimizer=run.optimizer.in_updates(batches.count))
        self.run, self.config, self.batches = run, run.training, batches
        self.last_update = self.config.last_update(batches.count)
        self.every = self.config.cadence(batches.count)
        optimizer = build(run.optimizer, model, self.last_update)
        self.rate = schedule(run.optimizer, self.last_update)
        decay = self.config.moving_average
        precision = resolve(self.config.precision)
        sentences = batches.pairs / batches.count if run.optimizer.per == "sentence" else None
        self.update = make_update(optimizer, run.optimizer.freeze, precision, decay, sentences)
        self.key = jax.random.key(self.config.seed)
        self.fingerprint = run.full_fingerprint(batches.count)
        self.state, self.recent = begin(model, optimizer, decay > 0), ()
        self.progress = Progress(evaluated=-1 if run.score_first else 0)
        self.pending: tuple[_Place, Report] | None = None
        self.loss_before = math.nan
        self.saved: tuple[int | None, ...] = ()  # `_told_apart` of the newest checkpoint
        self.lost_best = False
        self.warnings = self._restore()
        self.clock = Clock(self.progress.seconds, self.progress.tokens, self.progress.evaluating)
        self.interrupt = Interrupt()

    def events(self) -> Generator[Event, None, None]:
        """The run."""
        with self.interrupt:
            yield from self._start()
            source = self._source()
            while True:
                if self._is_due():
                    yield from self._evaluate(regular=True)
                    yield from self._save()
                if reason := self._reason():
                    break
                yield from self._step(next(source))
                if self.clock.seconds() - self.clock.saved > 60 * self.config.save_minutes:
                    yield from self._save()
            yield from self._finish(reason)

    def _restore(self) -> list[str]:
        """Take up the newest checkpoint, if the run is to be resumed; what the user should know of it."""
        found = self.run.checkpoints
        if not self.run.resume:
            if paths := found.paths():
                raise ResumeError(
                    f"{self.run.folder}: holds a run already, saved at {paths[0].stem}; go on with it by --resume, "
                    "or choose another --out."
                )
            return []
        snapshot, warnings = found.load(self.state, self.fingerprint)
        self.state, self.recent, self.progress = snapshot.state, snapshot.recent, snapshot.progress
        self.saved = self._told_apart()
        if self.progress.best_update is None:  # lost before a resume that was stopped while it measured another
            self.lost_best = self.run.evaluate is not None and self.progress.evaluated > 0
        elif lost := self.run.lost_best():
            self.lost_best, self.progress = True, self.progress.without_best()
            warnings.append(f"{lost} The model of the checkpoint takes its place until it is beaten.")
        return warnings

    def _told_apart(self) -> tuple[int | None, ...]:
        """What tells checkpoints apart."""
        return self.progress.update, self.progress.evaluated, self.progress.best_update

    def _start(self) -> Iterator[Event]:
        p = self.progress
        yield Started(
            update=p.update,
            logged=p.logged,
            evaluated=p.evaluated,
            resumed=self.run.resume,
            epoch_updates=self.batches.count,
            updates=self.last_update,
            minutes=self.config.minutes,
            seconds=p.seconds,
        )
        for message in self.warnings:
            yield Warned(update=p.update, message=message)
        yield from self._save()  # of a new run too: a folder that cannot be written is found before hours of work
        if self.lost_best and not self._is_due():
            yield from self._evaluate(regular=False)
            yield from self._save()

    def _source(self) -> Iterator[BatchLike]:
        """The batches from where the run stands, without an end."""
        epoch, index = self.progress.epoch, self.progress.index
        while True:
            yield from self.batches.epoch(epoch, index)
            epoch, index = epoch + 1, 0

    def _step(self, batch: BatchLike) -> Iterator[Event]:
        before = self.progress
        self.state, report = self.update(self.state, batch, self.key, before.rate_scale)
        self.progress = before.advanced(self.batches.count)
        behind, self.pending = self.pending, (_Place(before.update + 1, before.epoch + 1, before.index + 1), report)
        if behind:
            yield from self._read(*behind)

    def _settle(self) -> Iterator[Event]:
        """Read the report that is still out: afterwards state and progress are of the same update."""
        behind, self.pending = self.pending, None
        if behind:
            yield from self._read(*behind)

    def _read(self, place: _Place, report: Report) -> Iterator[Event]:
        report = jax.device_get(report)  # all at once
        loss, tokens, norm = float(report.loss), int(report.count), float(report.gradient_norm)
        mean = loss / max(tokens, 1)
        if not report.finite:
            yield self._skipped(place, f"the loss is {mean:.4g} nats/token, the gradient's norm {norm:.4g}")
            return
        if self.progress.spikes(mean):
            said = f"update {place.update}: the loss is {mean:.4g} nats/token, usually {self.progress.usual_loss:.4g}"
            yield Warned(update=place.update, message=said)
        self.loss_before = mean
        self.progress = p = self.progress.seen(loss, tokens)
        if place.update % self.config.log_every:
            return
        self.progress = p.told(place.update)
        yield Updated(
            update=place.update,
            epoch=place.epoch,
            loss=p.window(),
            tokens=p.tokens,
            seconds=self.clock.seconds(),
            tokens_per_second=self.clock.lap(p.tokens),
            gradient_norm=norm,
            weight_norm=float(report.weight_norm),
            skipped=p.skipped,
            rate=float(self.rate(place.update - p.skipped)) * p.rate_scale,  # a skipped one does not count for it
        )

    def _skipped(self, place: _Place, found: str) -> Warned:
        """Count an update that changed nothing; too many in a row are the end."""
        self.progress = p = self.progress.skipping()
        if p.skipped_in_a_row >= self.config.most_skipped:
            self._refuse(place, f"{found} ({p.skipped_in_a_row} in a row are not finite)")
        where = f"update {place.update}, made from batch {place.batch} of epoch {place.epoch}"
        return Warned(update=place.update, message=f"{where}, is skipped: {found} ({p.skipped} so far)")

    def _evaluate(self, regular: bool) -> Iterator[Event]:
        """Score the model and, if asked for, the mean of the last ones; what is best so far is saved."""
        if self.run.evaluate is None:
            return
        yield from self._settle()
        began = self.clock.seconds()
        with self.clock.aside():
            model = fresh(self.state.best_guess)  # to be kept: the next update reuses the memory of the state's own
            recent = self.recent if self._is_recent() else (*self.recent, on_host(model))[-self.config.average :]
            candidates = [(0, model), (len(recent), mean(recent))] if len(recent) > 1 else [(0, model)]
            try:
                with self.interrupt.at_once():
                    scored = [(averaged, candidate, self._scores(candidate)) for averaged, candidate in candidates]
            except KeyboardInterrupt:
                if not self.interrupt.asked:
                    raise
                return
            told = [self._keep_if_best(*one) for one in scored]
        took = self.clock.seconds() - began
        # One at the end may be quicker than that for which room was left: a resume is to find the minutes done.
        self.clock.evaluation = took if regular else max(took, self.clock.evaluation)
        yield from told
        if regular:
            self.recent = recent
            self.progress = self.progress.judged(self._least(scored), self.run.optimizer)
        self.progress = replace(self.progress, evaluated=self.progress.update)

    def _is_recent(self) -> bool:
        """Whether the model is the last of the recent ones already, or none of them is wanted."""
        p = self.progress
        return not self.config.average or (p.evaluated == p.update and p.update % self.every == 0)

    def _scores(self, model: Any) -> Judged:
        found = self.run.evaluate(model) if self.run.evaluate else {}
        self.config.check_metric(found)
        return Judged({name: float(score) for name, score in found.items()}, getattr(found, "samples", ()))

    def _least(self, scored: list[tuple[int, Any, Judged]]) -> Cost:
        costs = [self.config.cost(scores) for _, _, scores in scored]
        return min(costs, key=lambda cost: (not all(map(math.isfinite, cost)), cost))

    def _keep_if_best(self, averaged: int, model: Any, scores: Judged) -> Evaluated:
        cost = self.config.cost(scores)
        is_best = self.progress.is_best(cost)
        if is_best:
            self._save_best(model, scores)
            self.progress = self.progress.with_best(cost)
        p = self.progress
        return Evaluated(
            update=p.update,
            epoch=p.epoch + (p.index > 0),
            scores=scores,
            metric=self.config.metric,
            is_best=is_best,
            averaged=averaged,
            seconds=self.clock.seconds(),
            model=model,
            samples=scores.samples,
        )

    def _save_best(self, model: Any, scores: Mapping[str, float]) -> None:
        self.run.before_saving()
        self.run.save_best(model, scores)

    def _save(self) -> Iterator[Event]:
        yield from self._settle()
        self.clock.saved = self.clock.seconds()
        self.progress = p = replace(self.progress, seconds=self.clock.saved, evaluating=self.clock.evaluation)
        if self._told_apart() == self.saved:
            return
        with self.clock.aside():
            self._check_finite()
            self.run.before_saving()
            path = self.run.checkpoints.save(Snapshot(self.state, self.recent, p, self.fingerprint))
        self.saved = self._told_apart()
        yield Saved(update=p.update, path=path)

    def _finish(self, reason: Reason) -> Iterator[Event]:
        yield from self._settle()
        if reason != "interrupted" and self._is_unscored():
            yield from self._evaluate(regular=False)
            if self._is_unscored():  # which was given up
                reason = "interrupted"
        if self.progress.best_update is None:
            self._check_finite()
            self._save_best(fresh(self.state.best_guess), {})
        yield from self._save()
        yield Stopped(
            update=self.progress.update,
            reason=reason,
            progress=self.progress,
            path=self.run.checkpoints.paths()[0],
            model=self.state.best_guess,
            signal=self.interrupt.heard if reason == "interrupted" else 0,
            longer=self.run.optimizer.schedule != "cosine",
        )

    def _is_unscored(self) -> bool:
        return self.run.evaluate is not None and self.progress.evaluated < self.progress.update

    def _is_due(self) -> bool:
        return self._is_unscored() and self.progress.update % self.every == 0 and not self.interrupt.asked

    def _reason(self) -> Reason | None:
        p, config = self.progress, self.config
        if self.interrupt.asked:
            return "interrupted"
        patience = None if self.run.optimizer.schedule == "cosine" else config.patience
        if patience is not None and p.stale >= patience:
            return "patience"
        if config.updates is not None and p.update >= config.updates:
            return "updates"
        if config.epochs is not None and p.epoch >= config.epochs:
            return "epochs"
        # The last evaluation belongs to the time as well.
        if config.minutes is not None and self.clock.seconds() + self.clock.evaluation >= 60 * config.minutes:
            return "minutes"
        return None

    def _check_finite(self) -> None:
        for name, leaf in named_leaves(self.state.model).items():
            if not np.isfinite(np.asarray(leaf)).all():
                p = self.progress
                epoch, batch = (p.epoch + 1, p.index) if p.index else (p.epoch, self.batches.count)
                self._refuse(_Place(p.update, epoch, batch), f"the parameter {name} is not finite")

    def _refuse(self, place: _Place, found: str) -> None:
        if not place.update:
            raise NonFiniteLossError(f"the model that the run begins with: {found}; begin with another.")
        optimizer, paths = self.run.optimizer, self.run.checkpoints.paths()
        kept = f" The checkpoint {paths[0].name} is finite and stays." if paths else ""
        before = "" if math.isnan(self.loss_before) else f" (the last that was had {self.loss_before:.4g} nats/token)"
        again = "" if self.progress.best_update is None else ", perhaps --from this one,"
        clip = f"it is {optimizer.clip:g}" if optimizer.clip else "it is off; 1 is usual"
        raise NonFiniteLossError(
            f"update {place.update}, made from batch {place.batch} of epoch {place.epoch}: {found}{before}; begin a "
            f"new run{again} with a lower --optimizer.learning-rate (it is {optimizer.rate:g}) or "
            f"--optimizer.clip ({clip}).{kept}"
        )
