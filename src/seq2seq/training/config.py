"""What the user may choose about a run: when it ends, how it is judged, what is kept."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from seq2seq.core.precision import Precision
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.metrics import METRICS

Cost: TypeAlias = tuple[float, float]
"""A dev score as it is compared, less being better: see `TrainingConfig.cost`."""


@dataclass(frozen=True)
class TrainingConfig:
    """When a run ends, how it is judged and what is kept.

    `updates`, `epochs` and `minutes` count from the beginning of the run, also after a resume, so that the same
    command ends at the same place however often it was interrupted. The first limit that is reached ends the run;
    with none, `patience` does.

    Raises:
        ConfigError: a value out of its range.

    Example:
        >>> TrainingConfig(metric="wer_percent").lowest, TrainingConfig(metric="bleu").lowest
        (True, False)
    """

    updates: int | None = None
    """Stop after this many updates."""
    epochs: int | None = None
    """Stop after this many passes over the training data."""
    minutes: float | None = None
    """Stop after this many minutes. Time only stops a run: everything else counts updates."""
    evaluate_every: int | None = None
    """Updates from one evaluation on the dev set to the next. None: once an epoch, but 200 at least, 1000 at most."""
    metric: str = "loss"
    """The dev score that says which model is best, and when to stop."""
    patience: int | None = 10
    """Stop after this many evaluations in a row that were not the best so far. None: never; nor on a cosine, whose gain
    comes at its end."""
    average: int = 0
    """Score also the mean of the models of the last so many evaluations (Junczys-Dowmunt et al. 2016), and keep it if
    it is best. 0: off."""
    moving_average: float = 0.999
    """Decay of an exponential moving average of the parameters, which then is what is scored and kept (after Polyak and
    Juditsky 1992): 0.999 is a mean of about the last thousand updates. 0: off."""
    seed: int = 1
    """The seed of parameters, dropout and the order of the data: the same seed gives the same run."""
    precision: Precision = "auto"
    """What matrix products are computed in, parameters staying float32; auto is bfloat16 where the processor multiplies
    it faster. On NVIDIA cards JAX computes float32 products in TF32, unless JAX_DEFAULT_MATMUL_PRECISION=highest."""
    most_skipped: int = 10
    """Updates whose loss or gradient is not finite are skipped; stop after so many in a row."""
    log_every: int = 10
    """Updates from one line of the log to the next."""
    save_minutes: float = 3.0
    """Minutes from one checkpoint to the next at most; there is one at each evaluation too."""

    def __post_init__(self) -> None:
        for name, least in (("updates", 1), ("epochs", 1), ("minutes", 0), ("evaluate_every", 1), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} is {value}; wanted {least} or more.")
        if self.average < 0 or self.average == 1:
            raise ConfigError(f"--average is {self.average}; wanted 0 (off), or 2 or more models to average.")
        if self.most_skipped < 1:
            raise ConfigError(f"--most-skipped is {self.most_skipped}; wanted 1 (stop at the first) or more.")
        if not 0 <= self.moving_average < 1:
            raise ConfigError(f"--moving-average is {self.moving_average}; wanted 0 (off), or a decay below 1.")
        if self.log_every < 1 or not self.save_minutes >= 0:
            raise ConfigError("--log-every must be 1 or more and --save-minutes 0 or more.")

    @property
    def lowest(self) -> bool:
        """Whether the lowest value of the metric is best; so it is of one that `seq2seq.metrics` does not know."""
        return self.metric not in METRICS or METRICS[self.metric].better == "lower"

    def cost(self, scores: Mapping[str, float]) -> Cost:
        """What is to be least: the metric, negated if its highest value is best; among equals the loss.

        A metric that counts whole outputs stays where it is for a long time at first, while the loss falls: that is
        no reason to run out of patience.

        Example:
            >>> TrainingConfig(metric="bleu").cost({"loss_nats_per_token": 2.5, "bleu": 30.0})
            (-30.0, 2.5)
        """
        value = scores[self.metric]
        loss = next((score for name, score in scores.items() if name.startswith("loss")), 0.0)
        loss = loss if math.isfinite(loss) else sys.float_info.max  # the metric decides; JSON has no infinity
        return (value if self.lowest else -value, loss)

    def cadence(self, batches: int) -> int:
        """Updates from one evaluation to the next, for an epoch of `batches` updates.

        Example:
            >>> [TrainingConfig().cadence(batches) for batches in (7, 300, 90_000)]
            [200, 300, 1000]
        """
        return self.evaluate_every or min(max(batches, 200), 1000)

    def last_update(self, batches: int) -> int | None:
        """The update at which the run ends, if it ends at one."""
        ends = [self.updates, self.epochs and self.epochs * batches]
        return min((end for end in ends if end is not None), default=None)

    def check_metric(self, names: Iterable[str]) -> None:
        """See to it that the metric is one of the scores that there are.

        Raises:
            ConfigError: it is not.
        """
        names = list(names)
        if self.metric not in names:
            raise ConfigError(f"--metric {self.metric}: there is no such score; {did_you_mean(self.metric, names)}")
