from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH
from contract.table import model_of
from contract.toy_models import TableModel, all_strings, numpy_log_probabilities

from seq2seq.core.seams import BEGIN, PAD
from seq2seq.errors import ShapeError
from seq2seq.search import continuations, force, force_started, score, start


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
    free = np.exp(np.asarray(found, np.float64).sum(0)).sum()
    missing = 0.0
    for prefix in {target[:i] for target in targets for i in range(len(target))}:
        before = np.exp(sum(numpy_log_probabilities(model, source, prefix[:i])[t] for i, t in enumerate(prefix)))
        missing += before * np.exp(numpy_log_probabilities(model, source, prefix))[[0, 2]].sum()
    assert abs(free + missing - 1) < 1e-5 < missing


def test_targets_of_sources_read_once_score_the_same():
    model, rng = TableModel.random(3), np.random.default_rng(0)
    sources, lengths = rng.integers(4, 9, (3, 4)), np.array([3, 1, 0, 2])
    of = np.array([3, 0, 0, 1, 3, 2])
    out = np.array([[*rng.integers(4, 6, 2), 3] for _ in of]).T
    given, mask = np.concatenate([np.full((1, len(of)), BEGIN), out[:-1]]), np.ones(out.shape, np.float32)
    blind = force_started(model, start(model, sources, lengths), of, given, out, mask, look=False)
    found = blind.log_probabilities
    assert blind.attention is None
    np.testing.assert_array_equal(found, score(model, sources[:, of], lengths[of], given, out, mask))
    forced = force_started(model, start(model, sources, lengths), of, given, out, mask)
    np.testing.assert_array_equal(forced.log_probabilities, found)
    wanted = force(model, sources[:, of], lengths[of], given, out, mask).attention
    np.testing.assert_array_equal(forced.attention, wanted)
    with pytest.raises(ShapeError, match="force_started: target_in has shape"):
        force_started(model, start(model, sources, lengths), of[:2], given, out, mask)


def test_a_forced_target_has_the_same_scores_and_the_attention_of_each_step():
    model = model_of("bahdanau2015")
    batch = [jnp.asarray(x) for x in BATCH]
    found = force(model, *batch)
    np.testing.assert_allclose(found.log_probabilities, score(model, *batch), atol=1e-6)
    memory, state = model.start(*batch[:2])
    for t, token in enumerate(batch[2]):
        state, prediction = model.step(memory, state, token)
        wanted = np.where(np.asarray(batch[4][t])[:, None] > 0, prediction.attention, 0)
        np.testing.assert_allclose(found.attention[t], wanted, atol=1e-6)
    silent = dataclasses.replace(TableModel.random(2), gives_attention=False)
    assert force(silent, [[4]], [1], [[2]], [[3]], [[1]]).attention is None


def test_what_may_come_next_are_the_likeliest_after_each_prefix():
    model, source, prefixes = TableModel.random(2), [6, 7, 4], [[], [4], [5, 4]]
    columns = np.repeat(np.array(source)[:, None], 3, axis=1)
    padded = np.array([prefix + [0] * (2 - len(prefix)) for prefix in prefixes]).T
    found = continuations(model, columns, [3] * 3, padded, [0, 1, 2], 3)
    for row, prefix in enumerate(prefixes):
        logs = np.array(numpy_log_probabilities(model, source, tuple(prefix)))
        logs[[PAD, BEGIN]] = -np.inf
        best = np.argsort(-logs)[:3]
        np.testing.assert_array_equal(found.tokens[row], best)
        np.testing.assert_allclose(found.log_probabilities[row], logs[best], atol=1e-5)
    for prefix, many in ((padded[:, :2], [0, 1, 2]), (padded, [0, 1, 3])):
        with pytest.raises(ShapeError, match="continuations: prefix has shape"):
            continuations(model, columns, [3] * 3, prefix, many, 3)


def test_a_filler_row_scores_nothing():
    found = score(TableModel.random(2), [[0], [0]], [0], [[2], [0]], [[0], [0]], [[0], [0]])
    assert found.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_batch_major_targets_are_refused(which):
    targets = [np.zeros((2, 1), int) for _ in range(3)]
    targets[which] = np.zeros((1, 2), int)
    with pytest.raises(ShapeError, match="time-major"):
        score(TableModel.random(2), [[4], [5]], [2], *targets)
