from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from contract.toy_models import TableModel, all_strings, numpy_log_probabilities

from seq2seq.core.seams import BEGIN
from seq2seq.errors import ShapeError
from seq2seq.search import score, score_candidates


def test_score_is_the_log_probability_of_each_token():
    model, source, targets = TableModel.random(2), [6, 7, 4], all_strings(3)
    lengths = [len(target) for target in targets]
    out = np.array([list(target) + [0] * (5 - len(target)) for target in targets]).T
    given = np.concatenate([np.full((1, len(targets)), BEGIN), out[:-1]])
    mask = np.arange(5)[:, None] < np.array(lengths)
    columns = np.repeat(np.array(source)[:, None], len(targets), axis=1)
    found = score(model, columns, [3] * len(targets), given, out, mask.astype(np.float32))
    for row, target in enumerate(targets):
        expected = [numpy_log_probabilities(model, source, target[:i])[token] for i, token in enumerate(target)]
        np.testing.assert_allclose(found[: len(target), row], expected, atol=1e-5)
        assert not found[len(target) :, row].any()
    # Every string of the space, ended or cut off, is counted once: all that is missing went to PAD and BEGIN.
    banned_free = np.exp(np.asarray(found).sum(0)).sum()
    assert 0 < banned_free < 1


def test_a_filler_row_scores_nothing():
    found = score(TableModel.random(2), [[0], [0]], [0], [[2], [0]], [[0], [0]], [[0], [0]])
    assert found.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_batch_major_targets_are_refused(which):
    targets = [np.zeros((2, 1), int) for _ in range(3)]
    targets[which] = np.zeros((1, 2), int)
    with pytest.raises(ShapeError, match="time-major"):
        score(TableModel.random(2), [[4], [5]], [2], *targets)


def test_candidates_of_a_source_score_what_they_score_alone():
    model, sources = TableModel.random(4), [[6, 7, 4], [5, 0, 0], [4, 4, 0]]
    lengths, strings = [3, 1, 2], all_strings(3)
    picks = np.random.default_rng(0).integers(len(strings), size=(3, 6))
    out = np.zeros((3, 3, 6), np.int32)
    for row, column in np.ndindex(3, 6):
        target = strings[picks[row, column]]
        out[: len(target), row, column] = target
    given = np.concatenate([np.full((1, 3, 6), BEGIN), out[:-1]]).astype(np.int32)
    memory, state = model.start(jnp.asarray(sources).T, jnp.asarray(lengths))
    found = score_candidates(model, memory, state, jnp.asarray(given), jnp.asarray(out), jnp.asarray(out > 0))
    for row, column in np.ndindex(3, 6):
        target, source = strings[picks[row, column]], sources[row][: lengths[row]]
        expected = sum(numpy_log_probabilities(model, source, target[:i])[token] for i, token in enumerate(target))
        np.testing.assert_allclose(found[row, column], expected, atol=1e-5)
