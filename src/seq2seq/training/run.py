"""A run: where its batches come from, what it calls, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from seq2seq.core.precision import resolve
from seq2seq.core.seams import BatchLike
from seq2seq.training.checkpoint import Checkpoints, Fingerprint
from seq2seq.training.config import TrainingConfig
from seq2seq.training.optimizer import OptimizerConfig


class BatchSource(Protocol):
    """Where batches come from: a pure function of the epoch (`seq2seq.Batches` is one)."""

    @property
    def count(self) -> int:
        """Batches in an epoch, the same in each."""
        ...

    @property
    def pairs(self) -> int:
        """Pairs in an epoch; wanted where the loss is per sentence."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[BatchLike]:
        """The batches of an epoch (from 0), beginning with the one at `start`."""
        ...


def _keep_nothing(model: Any, scores: Mapping[str, float]) -> None:
    """The default of `save_best`."""


def _nothing() -> None:
    """The default of `lost_best` and `before_saving`."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run: its folder, what it calls, and its configuration.

    Attributes:
        folder: the run's folder; checkpoints go to `checkpoints/` in it.
        evaluate: gives the dev scores of a model by name; None trains without a dev set.
        save_best: called with each model that is the best so far and its scores, before the checkpoint is written;
            also without scores, where a run ends that has no best one: it was not evaluated, or no score was finite.
        lost_best: called on a resume, if there was a best model: what has become of it since, if it cannot be used; the
            model of the checkpoint is then scored, and is the best until it is beaten.
        before_saving: called before each checkpoint and each `save_best`; what it raises ends the run.
        training: when to stop, evaluate and save.
        optimizer: how to learn.
        fingerprint: what the run rests on: data, model, versions. What `training` and `optimizer` say is added.
        resume: whether to go on from the newest checkpoint; otherwise there must be none.
        score_first: whether the model that a new run begins with is scored too, and can be the best: it is a model.
    """

    folder: Path
    evaluate: Callable[[Any], Mapping[str, float]] | None = None
    save_best: Callable[[Any, Mapping[str, float]], None] = _keep_nothing
    lost_best: Callable[[], str | None] = _nothing
    before_saving: Callable[[], None] = _nothing
    training: TrainingConfig = field(default_factory=TrainingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    resume: bool = False
    score_first: bool = False

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of the run."""
        return Checkpoints(self.folder / "checkpoints")

    def full_fingerprint(self, batches: int) -> Fingerprint:
        """The fingerprint with all of the configuration that decides what the weights become.

        What only ends a run (updates, epochs, minutes, patience), saves it or shows it may change on a resume; but a
        cosine is drawn to the last update, which then belongs to it.
        """
        training = self.training
        content = {f"optimizer.{name}": str(value) for name, value in asdict(self.optimizer).items()}
        if self.optimizer.per == "token":  # runs that began before there was a choice still resume
            del content["optimizer.per"]
        content |= {f"training.{name}": str(getattr(training, name)) for name in ("seed", "metric", "average")}
        if training.moving_average:  # named only where there is one: runs that began without still resume
            content["training.moving_average"] = str(training.moving_average)
        content["training.precision"] = resolve(training.precision)
        content["training.evaluate_every"] = str(training.cadence(batches))
        if self.optimizer.schedule == "cosine":
            content["training.updates"] = str(training.last_update(batches))
        return replace(self.fingerprint, content=content | dict(self.fingerprint.content))  # of whatever kind it is
