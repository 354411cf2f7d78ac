from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.errors import ConfigError, ResumeError
from seq2seq.training.config import TrainingConfig
from seq2seq.training.optimizer import OptimizerConfig
from seq2seq.training.progress import Progress

PLATEAU = OptimizerConfig(schedule="plateau", plateau_factor=0.5, plateau_patience=2)


@given(st.integers(1, 7), st.integers(0, 40))
def test_the_position_is_that_of_counting(batches, updates):
    progress = Progress()
    for _ in range(updates):
        progress = progress.advanced(batches)
    assert (progress.epoch, progress.index) == divmod(updates, batches)
    assert progress.update == updates


@given(st.lists(st.tuples(st.floats(allow_subnormal=False), st.floats(0, 9)), max_size=20))
def test_patience_counts_since_the_least_finite_cost(costs):
    progress = Progress()
    for cost in costs:
        progress = progress.judged(cost, PLATEAU)
    best = min((cost for cost in costs if math.isfinite(cost[0])), default=None)
    assert progress.watched == best
    assert progress.stale == len(costs) - (0 if best is None else costs.index(best) + 1)


def test_a_plateau_lowers_the_rate_after_so_many_evaluations_and_again():
    progress, scales = Progress(), []
    for score in [3.0, 4.0, 4.0, 4.0, 4.0, 2.0, 3.0]:
        progress = progress.judged((score, 0.0), PLATEAU)
        scales.append(progress.rate_scale)
    assert scales == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert Progress(stale=5).judged((9.0, 0.0), OptimizerConfig()).rate_scale == 1.0


def test_a_falling_loss_breaks_the_tie_of_a_metric_that_stands_still():
    config = TrainingConfig(metric="wer_percent")
    progress = Progress().judged(config.cost({"wer_percent": 100.0, "loss_nats_per_token": 3.0}), PLATEAU)
    assert progress.judged(config.cost({"wer_percent": 100.0, "loss_nats_per_token": 2.0}), PLATEAU).stale == 0
    assert progress.judged(config.cost({"wer_percent": 100.0, "loss_nats_per_token": 3.0}), PLATEAU).stale == 1


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1, exclude_min=True), st.integers(0))
def test_json_gives_the_same_bits_back(loss, scale, tokens):
    progress = Progress(window_loss=loss, rate_scale=scale, tokens=tokens, best_cost=(loss, scale))
    assert Progress.of_json(json.loads(json.dumps(progress.json()))) == progress


def test_progress_of_another_version_is_named():
    with pytest.raises(ResumeError, match="another version"):
        Progress.of_json({"moon": 1})


@pytest.mark.parametrize(
    "values", [{"updates": 0}, {"minutes": -1}, {"average": 1}, {"patience": 0}, {"log_every": 0}, {"epochs": 0}]
)
def test_a_value_out_of_range_is_named(values):
    with pytest.raises(ConfigError, match="--" + next(iter(values)).replace("_", "-")):
        TrainingConfig(**values)


def test_the_first_limit_ends_a_run():
    assert TrainingConfig(updates=100, epochs=3).last_update(batches=20) == 60
    assert TrainingConfig(updates=50, epochs=3).last_update(batches=20) == 50
    assert TrainingConfig(minutes=3).last_update(batches=20) is None
