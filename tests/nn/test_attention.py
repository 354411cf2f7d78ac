"""Attention is the papers' equations over the tokens alone, whatever stands in the padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.cells import randomised
from nn import reference

from seq2seq.nn.attention import Additive, Attention, Dot, General, attend, masked_softmax, prepare

LENGTHS = [4, 2, 0, 1]
SOURCE, BATCH, QUERY = 4, 4, 3


@jax.jit
def look(attention, query, annotations, lengths):
    return attend(attention, query, prepare(attention, annotations, lengths))


@pytest.fixture(params=[Additive, Dot, General])
def case(request, key):
    width = QUERY if request.param is Dot else 5
    keys = jax.random.split(key, 4)
    attention = randomised(request.param.init(keys[0], QUERY, width), keys[1])
    return (
        attention,
        2 * jax.random.normal(keys[2], (BATCH, QUERY)),
        jax.random.normal(keys[3], (SOURCE, BATCH, width)),
        jnp.array(LENGTHS),
    )


def test_context_and_weights_are_the_papers(case):
    attention, query, annotations, lengths = case
    assert isinstance(attention, Attention)
    context, weights = look(*case)
    for row, length in enumerate(LENGTHS):
        if length:
            tokens = np.asarray(annotations, np.float64)[:length, row]
            wanted, a = reference.attend(attention, np.asarray(query, np.float64)[row], tokens)
            np.testing.assert_allclose(weights[row, :length], a, atol=1e-5)
            np.testing.assert_allclose(context[row], wanted, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(weights)[~np.asarray(jnp.arange(SOURCE) < lengths[:, None])], 0)
    np.testing.assert_allclose(weights.sum(-1), np.array(LENGTHS) > 0, atol=1e-6)
    np.testing.assert_array_equal(context[2], 0)


def test_padding_changes_nothing(case):
    attention, query, annotations, lengths = case
    context, weights = look(*case)
    on = (jnp.arange(SOURCE)[:, None] < lengths)[..., None]
    loud = jnp.where(on, annotations, 50.0)
    for other in (loud, jnp.concatenate([loud, 50.0 + loud])):
        found, spread = look(attention, query, other, lengths)
        np.testing.assert_allclose(found, context, atol=1e-6)
        np.testing.assert_allclose(spread[:, :SOURCE], weights, atol=1e-6)
        np.testing.assert_array_equal(spread[:, SOURCE:], 0)


def test_gradients_are_finite_and_padding_has_none(case):
    attention, query, annotations, lengths = case

    @jax.jit
    @jax.grad
    def gradient(inputs):
        context, weights = look(*inputs, lengths)
        return (context**2).sum() + (weights * jnp.arange(1.0, SOURCE + 1)).sum() + context.sum()

    _, to_query, to_annotations = found = gradient((attention, query, annotations))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))
    np.testing.assert_array_equal(to_query[2], 0)
    for row, length in enumerate(LENGTHS):
        assert (to_annotations[length:, row] == 0).all()
        assert length == 0 or (to_annotations[:length, row] != 0).any()


def test_softmax_survives_large_scores():
    scores = jnp.array([[1e4, 1e4, -1e4], [-1e8, 0.0, 1e8]])
    weights = masked_softmax(scores, jnp.array([[True, True, True], [True, True, False]]))
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize("mask", [[False, False], [True, False]])
def test_nothing_to_look_at_is_finite_in_every_derivative_and_type(mask):
    def spread(scores):
        return (masked_softmax(scores, jnp.array(mask)) ** 2).sum()

    for kind in (jnp.float32, jnp.float16):
        scores = jnp.array([1.0, 2.0], kind)
        assert float(masked_softmax(scores, jnp.array(mask)).sum()) == any(mask)
        assert all(bool((f(spread)(scores) == 0).all()) for f in (jax.grad, jax.jacfwd, jax.hessian))


def test_prepared_is_batch_first(case):
    attention, _, annotations, lengths = case
    prepared = jax.eval_shape(lambda: prepare(attention, annotations, lengths))
    assert all(leaf.shape[:2] == (BATCH, SOURCE) for leaf in prepared)
