from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array
from tiny_run import Batches, Tiny, bits

from seq2seq.core.module import module
from seq2seq.core.seams import Loss
from seq2seq.data import Batch
from seq2seq.errors import ModuleError
from seq2seq.models.model import Model
from seq2seq.training.optimizer import OptimizerConfig, build
from seq2seq.training.state import begin, make_update, mean

KEY = jax.random.key(3)
BATCH = next(Batches().epoch(0))


def sgd(rate: float = 0.1) -> optax.GradientTransformation:
    return optax.sgd(rate)


def test_an_update_is_the_gradient_of_the_mean_loss_under_its_own_key():
    model, update = Tiny.init(), make_update(sgd())
    state = begin(model, sgd())
    for number in range(2):
        value, gradient = jax.value_and_grad(lambda m, n: m.loss(BATCH, jax.random.fold_in(KEY, n)).mean)(model, number)
        state, report = update(state, BATCH, KEY, 1.0)
        model = jax.tree.map(lambda p, g: p - 0.1 * g, model, gradient)
        for found, wanted in zip(jax.tree.leaves(state.model), jax.tree.leaves(model), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
        assert float(report.loss / report.count) == pytest.approx(float(value), rel=1e-5)
        assert float(report.gradient_norm) == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-5)
        assert float(report.count) == BATCH.mask.sum()
    assert int(state.update) == 2


def test_the_callers_model_is_left_as_it_is():
    model = Tiny.init()
    before = bits(model)
    make_update(sgd())(begin(model, sgd()), BATCH, KEY, 1.0)
    assert bits(model) == before


def test_the_moving_average_follows_the_parameters():
    update, state = make_update(sgd(), decay=0.5), begin(Tiny.init(), sgd(), averaged=True)
    average = jax.tree.map(np.asarray, Tiny.init())
    for number, batch in enumerate(Batches().epoch(0)):
        state, _ = update(state, batch, KEY, 1.0)
        d = min(0.5, (1 + number) / (10 + number))
        average = jax.tree.map(lambda a, p, d=d: d * a + (1 - d) * np.asarray(p), average, state.model)
    for found, wanted in zip(jax.tree.leaves(state.best_guess), jax.tree.leaves(average), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert d == 5 / 14 and bits(state.average) != bits(state.model)


def test_the_rate_scale_multiplies_the_update():
    update = make_update(sgd())
    moved = [update(begin(Tiny.init(), sgd()), BATCH, KEY, scale)[0].model.decoder.w for scale in (1.0, 0.25)]
    steps = [leaf - Tiny.init().decoder.w for leaf in moved]
    np.testing.assert_allclose(steps[1], 0.25 * steps[0], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "momentum", "adadelta"])
def test_each_optimizer_lowers_the_loss(name):
    config = OptimizerConfig(name=name, learning_rate=0.03 if name.startswith("adam") else None)
    optimizer = build(config, Tiny.init())
    update, state = make_update(optimizer), begin(Tiny.init(), optimizer)
    losses = []
    for epoch in range(10):
        for batch in Batches(10).epoch(epoch):
            state, report = update(state, batch, KEY, 1.0)
            losses.append(float(report.loss / report.count))
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:3])


def test_a_frozen_module_keeps_its_bits():
    config = OptimizerConfig(name="adamw", freeze=("encoder",), learning_rate=0.1)
    optimizer = build(config, Tiny.init())
    update, state = make_update(optimizer, config.freeze, decay=0.9), begin(Tiny.init(), optimizer, averaged=True)
    gradient = jax.grad(lambda m: m.loss(BATCH, jax.random.fold_in(KEY, 0)).mean)(state.model)
    for number, batch in enumerate(Batches().epoch(0)):
        state, report = update(state, batch, KEY, 1.0)
        if number == 0:
            assert float(report.gradient_norm) == pytest.approx(float(optax.tree.norm(gradient.decoder)), rel=1e-5)
    # Its -0.0 among them.
    assert bits(state.model.encoder) == bits(state.best_guess.encoder) == bits(Tiny.init().encoder)
    assert bits(state.model.decoder) != bits(Tiny.init().decoder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_report_says_when_the_loss_is_not_finite(value):
    _, report = make_update(sgd())(begin(Tiny.init(), sgd()), BATCH._replace(y=BATCH.y + value), KEY, 1.0)
    assert not report.finite


def test_a_batch_of_padding_only_changes_nothing():
    state, report = make_update(sgd())(begin(Tiny.init(), sgd()), BATCH._replace(mask=0 * BATCH.mask), KEY, 1.0)
    assert report.finite
    for found, wanted in zip(jax.tree.leaves(state.model), jax.tree.leaves(Tiny.init()), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_loss_that_is_a_plain_number_is_named():
    @module
    class Wrong:
        w: Array

        def loss(self, batch, key):
            return (self.w**2).sum()

    with pytest.raises(ModuleError, match=r"Wrong\.loss returned .*; wanted Loss"):
        make_update(sgd())(begin(Wrong(w=jnp.ones(2)), sgd()), BATCH, KEY, 1.0)


def test_the_mean_of_models_is_the_mean():
    models = [Tiny.init(seed) for seed in range(3)]
    for found, *leaves in zip(*map(jax.tree.leaves, [mean(tuple(models)), *models]), strict=True):
        wanted = np.mean([np.float64(leaf) for leaf in leaves], axis=0).astype(np.float32)
        np.testing.assert_array_equal(found, wanted)


def test_a_loss_per_sentence_is_summed_over_its_tokens():
    @module
    class Sum(Model):
        w: Array

        def loss(self, batch, key=None):
            return Loss((self.w * batch.target_mask).sum(), batch.target_mask.sum())

    lengths, mask = jnp.array([3, 1, 0]), jnp.array([[1.0, 1, 0], [1, 0, 0], [1, 0, 0]])  # the last row only fills up
    batch = Batch(jnp.zeros((3, 3), int), lengths, jnp.zeros((3, 3), int), jnp.zeros((3, 3), int), mask)
    for sentences, gradient in ((None, 1.0), (2.0, 4 / 2), (4.0, 4 / 4)):
        update = make_update(optax.sgd(1.0), sentences=sentences)
        state, _ = update(begin(Sum(w=jnp.zeros(())), optax.sgd(1.0)), batch, KEY, 1.0)
        assert float(state.model.w) == -gradient
