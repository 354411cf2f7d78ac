"""Where a run stands: small numbers that go into every checkpoint as JSON, and the pure functions that move them on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from seq2seq.errors import ResumeError
from seq2seq.training.config import Cost
from seq2seq.training.optimizer import OptimizerConfig

_FOLLOWS = 0.02  # how fast the usual loss follows: about fifty updates


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Example:
        >>> Progress(epoch=1, index=9).advanced(batches=10)
        Progress(update=1, epoch=2, index=0, tokens=0, seconds=0.0, window_loss=0.0, window_tokens=0, logged=0, \
evaluated=0, best_cost=None, best_update=None, watched=None, stale=0, rate_scale=1.0, skipped=0, skipped_in_a_row=0, \
usual_loss=None, evaluating=0.0)
    """

    update: int = 0
    """Updates done."""
    epoch: int = 0
    """Whole epochs done."""
    index: int = 0
    """Batches of the present epoch done."""
    tokens: int = 0
    """Target tokens seen."""
    seconds: float = 0.0
    """Time trained, evaluations and all."""
    window_loss: float = 0.0
    """Nats since the last line of the log, so that the log of a resumed run goes on where it was."""
    window_tokens: int = 0
    """Target tokens since the last line of the log."""
    logged: int = 0
    """The update that the last line of the log tells of; 0 if there is none."""
    evaluated: int = 0
    """The update that was evaluated last; -1 if the model before the first one is still to be."""
    best_cost: Cost | None = None
    """The dev cost of the best model, the one in model.npz."""
    best_update: int | None = None
    """The update of the best model."""
    watched: Cost | None = None
    """The least dev cost of the regular evaluations: patience and plateau look at this. (The evaluation at the end of
    a run of so many minutes is not regular: where it falls depends on the clock, and it must leave no trace.)"""
    stale: int = 0
    """Regular evaluations since `watched` improved."""
    rate_scale: float = 1.0
    """The factor that a plateau has put on the learning rate."""
    skipped: int = 0
    """Updates that were skipped because loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    """Of these, the last ones without an update between them."""
    usual_loss: float | None = None
    """A moving average of the updates' losses, nats/token."""
    evaluating: float = 0.0
    """Seconds that the last evaluation took: a run of so many minutes leaves room for one at its end."""

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Progress:
        """The progress in a checkpoint.

        Raises:
            ResumeError: it was written by a version whose progress is another.
        """
        kept: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        try:
            return cls(**kept)
        except TypeError as error:
            raise ResumeError(
                f"the checkpoint was written by another version of seq2seq, whose progress differs ({error}); "
                "go on with that version, or start a new run from the model."
            ) from None

    def json(self) -> dict[str, Any]:
        """The fields, as JSON takes them."""
        return asdict(self)

    def advanced(self, batches: int) -> Progress:
        """After one more update, of an epoch of `batches` batches."""
        past = self.index + 1 >= batches
        epoch, index = (self.epoch + 1, 0) if past else (self.epoch, self.index + 1)
        return replace(self, update=self.update + 1, epoch=epoch, index=index)

    def seen(self, loss: float, tokens: int) -> Progress:
        """With the loss of one more update, in nats, and its tokens."""
        mean = loss / max(tokens, 1)
        usual = mean if self.usual_loss is None else self.usual_loss + _FOLLOWS * (mean - self.usual_loss)
        return replace(
            self,
            tokens=self.tokens + tokens,
            window_loss=self.window_loss + loss,
            window_tokens=self.window_tokens + tokens,
            usual_loss=usual,
            skipped_in_a_row=0,
        )

    def skipping(self) -> Progress:
        """With one more update skipped."""
        return replace(self, skipped=self.skipped + 1, skipped_in_a_row=self.skipped_in_a_row + 1)

    def spikes(self, loss: float) -> bool:
        """Whether a loss, in nats/token, is far above the usual: twice as high and a nat more.

        A loss of the user's may be below 0, as that of a density is.

        Example:
            >>> Progress(usual_loss=2.0).spikes(5.1), Progress(usual_loss=-2.0).spikes(-2.0)
            (True, False)
        """
        return self.usual_loss is not None and loss > self.usual_loss + abs(self.usual_loss) + 1

    def window(self) -> float:
        """The loss since the last line of the log, in nats/token."""
        return self.window_loss / max(self.window_tokens, 1)

    def told(self, update: int) -> Progress:
        """With a new window: the one before it ended with this update."""
        return replace(self, window_loss=0.0, window_tokens=0, logged=update)

    def is_best(self, cost: Cost) -> bool:
        """Whether `cost` is less than that of the best model so far. A NaN or an infinity never is."""
        return _better(cost, self.best_cost)

    def with_best(self, cost: Cost) -> Progress:
        """With this update's model as the best."""
        return replace(self, best_cost=cost, best_update=self.update)

    def without_best(self) -> Progress:
        """With no best model: the one there was is lost."""
        return replace(self, best_cost=None, best_update=None)

    def judged(self, cost: Cost, config: OptimizerConfig) -> Progress:
        """After a regular evaluation: patience counted, and the rate lowered if the schedule is a plateau's."""
        if _better(cost, self.watched):
            return replace(self, watched=cost, stale=0)
        stale = self.stale + 1
        lower = config.schedule == "plateau" and stale % config.plateau_patience == 0
        return replace(self, stale=stale, rate_scale=config.lowered(self.rate_scale) if lower else self.rate_scale)


def _better(cost: Cost, than: Cost | None) -> bool:
    return all(map(math.isfinite, cost)) and (than is None or cost < than)
