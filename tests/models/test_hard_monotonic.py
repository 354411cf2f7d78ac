"""Hard monotonic attention is the sum over all alignments that never go back, written out; step by step as at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, LONGER, PLACES, VOCABULARY
from contract.cells import randomised
from nn import reference

from seq2seq import EncoderDecoder, EncoderDecoderConfig, Ensemble, PreparedModel
from seq2seq.errors import ConfigError
from seq2seq.models.hard_monotonic import HardMonotonic, HardMonotonicConfig
from seq2seq.models.model import Model
from seq2seq.nn.cells import GRU
from seq2seq.search import score

CONFIG = HardMonotonicConfig(cell=GRU, hidden=6, embedding=4, layers=2)
ROWS = range(BATCH.size)
own_loss = jax.jit(lambda model, batch, key: model.loss(batch, key))
default_loss = jax.jit(lambda model, batch: Model.loss(model, batch))


@pytest.fixture(scope="module")
def model():
    shapes = jax.eval_shape(lambda: HardMonotonic.init(jax.random.key(0), VOCABULARY, VOCABULARY, CONFIG))
    return randomised(shapes, jax.random.key(1))


def affine(layer, x):
    return x @ np.asarray(layer.w, np.float64) + np.asarray(layer.b, np.float64)


def likelihood(model, annotations, outputs, target):
    """Wu and Cotterell 2019, equations 1 to 5: the sum over every alignment a_1 <= a_2 <= ..., one by one."""
    w = np.asarray(model.transition.w, np.float64)
    places, total = len(annotations), 0.0
    scores = outputs @ (annotations @ w).T  # (target, source)
    emitted = np.array([
        [reference.softmax(affine(model.output, np.tanh(affine(model.state_layer, s) + affine(model.place_layer, h))))
         for h in annotations] for s in outputs
    ])  # fmt: skip
    for alignment in combinations_with_replacement(range(places), len(target)):
        p, before = 1.0, 0
        for i, here in enumerate(alignment):
            p *= reference.softmax(scores[i, before:])[here - before] * emitted[i, here, target[i]]
            before = here
        total += p
    return total


def test_the_loss_is_the_sum_over_all_alignments(model):
    for row in ROWS:
        length, kept = int(BATCH.source_lengths[row]), int(BATCH.target_mask[:, row].sum())
        if not 0 < length <= 5:
            continue
        encoded = model.encoder(jnp.asarray(BATCH.source), jnp.asarray(BATCH.source_lengths))
        annotations = np.asarray(encoded.annotations, np.float64)[:length, row]
        state = model.bridge(model.cell, encoded.summary)
        _, outputs = jax.lax.scan(model.cell.step, state, model.embedding(jnp.asarray(BATCH.target_in)))
        wanted = likelihood(
            model, annotations, np.asarray(outputs, np.float64)[:kept, row], BATCH.target_out[:kept, row]
        )
        found = own_loss(model, BATCH.only(row), None)
        np.testing.assert_allclose(found.sum, -np.log(wanted), rtol=1e-4)


def test_step_by_step_it_is_the_same_and_company_changes_nothing(model):
    for row, place in zip(ROWS, PLACES, strict=True):
        own, default = own_loss(model, BATCH.only(row), None), default_loss(model, BATCH.only(row))
        longer = own_loss(model, LONGER.only(place), None)
        np.testing.assert_allclose([own.sum, own.sum], [default.sum, longer.sum], rtol=0, atol=2e-5)


def test_smoothing_is_of_the_places_that_the_model_itself_thinks_of(model):
    plain = replace(model, dropout=0.0, label_smoothing=0.0)
    memory, state = plain.start(jnp.asarray(BATCH.source), jnp.asarray(BATCH.source_lengths))
    wanted = 0.0
    for token, target, on in zip(BATCH.target_in, BATCH.target_out, BATCH.target_mask, strict=True):
        _, output = plain.cell.step(state.cell, plain.embedding(token))
        state, told = plain.step(memory, state, token)
        spread = -jax.nn.log_softmax(plain.output(plain._vectors(memory, output))).mean(-1)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(told.logits), target[:, None], -1)[:, 0]
        wanted += (on * (-0.7 * log_p + 0.3 * (told.attention * spread).sum(-1))).sum()
    found = replace(plain, label_smoothing=0.3).loss(BATCH, jax.random.key(0)).sum
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_gradients_are_finite_also_where_a_source_is_empty(model):
    found = jax.jit(jax.grad(lambda m, k: m.loss(BATCH, k).mean))(model, jax.random.key(3))
    leaves = jax.tree.leaves(found)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves) and all(bool((leaf != 0).any()) for leaf in leaves)


def test_it_is_saved_prepared_and_joined_as_any_model(model, tmp_path):
    model.save(tmp_path / "model.npz")
    back = HardMonotonic.load(tmp_path / "model.npz")
    jax.tree.map(np.testing.assert_array_equal, back, model)
    alone = score(model, *BATCH)
    np.testing.assert_allclose(score(PreparedModel.of(model), *BATCH), alone, atol=1e-5)
    other = EncoderDecoder.init(jax.random.key(1), VOCABULARY, VOCABULARY, EncoderDecoderConfig(hidden=6, embedding=4))
    together = score(Ensemble(models=(model, other)), *BATCH)
    np.testing.assert_allclose(together, np.log((np.exp(alone) + np.exp(score(other, *BATCH))) / 2), atol=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="needs an even number"):
        HardMonotonicConfig(hidden=7)
    with pytest.raises(ConfigError, match="dropout is 1"):
        HardMonotonicConfig(dropout=1.0)
