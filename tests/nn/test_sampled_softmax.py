"""The sampled loss becomes the cross-entropy as the sample grows, and costs a sample's products only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq2seq.core.cost import product_flops
from seq2seq.errors import ConfigError
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.nn.layers import FF
from seq2seq.nn.loss import cross_entropy
from seq2seq.nn.sampled_softmax import draw_words, sampled_cross_entropy

HIDDEN, VOCABULARY = 3, 40


@pytest.fixture
def case(key):
    k = jax.random.split(key, 3)
    layer = FF.init(k[0], HIDDEN, VOCABULARY)
    states = 2 * jax.random.normal(k[1], (5, 2, HIDDEN))
    targets = jax.random.randint(k[2], (5, 2), 0, VOCABULARY)
    return layer, states, targets, jnp.ones((5, 2)).at[3:, 1].set(0)


def sampled(layer, states, targets, mask, samples, key):
    at = lambda ids: FF(w=layer.w[:, ids], b=layer.b[ids])  # noqa: E731
    return sampled_cross_entropy(at, states, targets, mask, *draw_words(key, VOCABULARY, samples))


def test_it_becomes_the_cross_entropy_in_its_gradient_too(case, key):
    layer, states, targets, mask = case
    exact = jax.value_and_grad(lambda layer: cross_entropy(layer, states, targets, mask).sum)(layer)
    found = jax.value_and_grad(lambda layer: sampled(layer, states, targets, mask, 200_000, key).sum)(layer)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.02, atol=0.05), found, exact)


def test_the_words_are_drawn_as_often_as_is_said():
    drawn, log_counts = map(np.asarray, draw_words(jax.random.key(3), VOCABULARY, 100_000))
    expected = dict(zip(drawn.tolist(), np.exp(log_counts.astype(float)).tolist(), strict=True))
    assert set(expected) == set(range(VOCABULARY))
    found = np.bincount(drawn, minlength=VOCABULARY)
    chi_square = sum((found[word] - n) ** 2 / n for word, n in expected.items())
    assert chi_square < 80  # 39 degrees of freedom: passed in 99.99 % of draws
    np.testing.assert_allclose(sum(expected.values()), 100_000, rtol=1e-4)


def test_padding_says_nothing_and_a_drawn_target_counts_once(case, key):
    layer, states, targets, mask = case
    whole = sampled(layer, states, targets, mask, 10, key)
    assert float(whole.count) == 8
    other = sampled(layer, states.at[4, 1].set(9.0), targets.at[4, 1].set(7), mask, 10, key)
    np.testing.assert_allclose(other.sum, whole.sum, rtol=1e-6)
    at = lambda ids: FF(w=layer.w[:, ids], b=layer.b[ids])  # noqa: E731
    only = sampled_cross_entropy(at, states, targets * 0 + 3, mask, jnp.array([3, 3]), jnp.zeros(2))
    np.testing.assert_allclose(only.sum, 0, atol=1e-5)  # nothing but the target itself was drawn


def test_the_products_are_those_of_the_sample(case, key):
    layer, states, targets, mask = case
    flops = product_flops(lambda layer: sampled(layer, states, targets, mask, 6, key).sum, layer)
    assert flops == 2 * 10 * HIDDEN * (6 + 1)


def test_it_does_not_go_with_label_smoothing():
    with pytest.raises(ConfigError, match="label_smoothing 0"):
        EncoderDecoderConfig(sampled_softmax=100)
    with pytest.raises(ConfigError, match="sampled_softmax is -1"):
        EncoderDecoderConfig(sampled_softmax=-1, label_smoothing=0.0)
