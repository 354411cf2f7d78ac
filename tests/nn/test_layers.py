"""Layers, dropout and how weights begin."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.cells import HIDDEN, INPUT, randomised

from seq2seq.errors import ShapeError
from seq2seq.nn.cells import GRU, LSTM
from seq2seq.nn.initializers import glorot, orthogonal
from seq2seq.nn.layers import FF, Embedding, LayerNorm, Maxout, dropout, dropout_mask, split

X = np.random.default_rng(0).normal(size=(2, 3, INPUT)).astype(np.float32)


def test_ff_is_affine_and_leaves_leading_axes_free(key):
    layer = randomised(FF.init(key, INPUT, 5), key)
    wanted = np.einsum("tbi,io->tbo", X.astype(np.float64), np.asarray(layer.w, np.float64)) + np.asarray(layer.b)
    np.testing.assert_allclose(layer(jnp.asarray(X)), wanted, atol=1e-5)
    np.testing.assert_allclose(layer(jnp.asarray(X[0, 0])), wanted[0, 0], atol=1e-5)


def test_embedding_looks_up_and_its_logits_are_inner_products(key):
    layer = Embedding.init(key, 7, INPUT)
    table = np.asarray(layer.table, np.float64)
    looked_up = np.asarray(layer.table)[[[6, 0], [3, 3]]]
    np.testing.assert_allclose(layer(jnp.array([[6, 0], [3, 3]])), layer.scale * looked_up, rtol=1e-6)
    wanted = [[[sum(x * row) for row in table] for x in xs] for xs in X]
    np.testing.assert_allclose(layer.logits(jnp.asarray(X)), wanted, atol=1e-5)


@pytest.mark.parametrize("pieces", [2, 3])
def test_maxout_takes_the_largest_of_neighbouring_pieces(key, pieces):
    layer = randomised(Maxout.init(key, INPUT, 4, pieces), key)
    before = X @ np.asarray(layer.w) + np.asarray(layer.b)
    wanted = np.stack([before[..., i * pieces : (i + 1) * pieces].max(-1) for i in range(4)], -1)
    np.testing.assert_allclose(layer(jnp.asarray(X)), wanted, atol=1e-5)


def test_layer_norm_has_mean_shift_and_deviation_scale():
    layer = LayerNorm(scale=jnp.full(INPUT, 2.0), shift=jnp.full(INPUT, 5.0))
    y = np.asarray(layer(jnp.asarray(X)), np.float64)
    np.testing.assert_allclose(y.mean(-1), 5, atol=1e-4)
    wanted = 2 * (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-5) + 5
    np.testing.assert_allclose(y, wanted, atol=1e-4)


@pytest.mark.parametrize("layer", [FF, Maxout])
def test_wrong_width_is_refused(key, layer):
    with pytest.raises(ShapeError, match=rf"{layer.__name__}: x has width 3, this was made for input 4"):
        layer.init(key, 4, 5)(jnp.asarray(X))


def test_dropout_keeps_the_mean_the_dtype_and_without_a_key_everything(key):
    x = jnp.ones((100, 100))
    dropped = dropout(key, 0.25, x)
    assert set(np.unique(dropped).round(4)) == {0, np.float32(1.3333)}
    # A mean of 10,000 draws with standard deviation sqrt(0.25 / 0.75) = 0.58: 0.03 is five standard errors.
    assert abs(float(dropped.mean()) - 1) < 0.03
    assert dropout(None, 0.25, x) is x and dropout(key, 0.0, x) is x
    assert dropout(key, 0.25, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert (dropout_mask(key, 0.25, x.shape) == dropped).all()


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5), (2, 3, 4)])
def test_a_mask_has_any_shape(key, shape):
    assert dropout_mask(key, 0.5, shape).shape == shape


def test_the_two_halves_of_a_random_word_are_as_two_draws(key):
    # Neighbours come from one word: they are dropped together as often as any two are, and halves of one kind at the
    # rate. Shares of 500,000 draws have standard errors of at most 0.0007.
    assert float(dropout_mask(key, 0.99999, (1 << 21,)).max()) == 65536  # as the rate is rounded
    dropped = np.asarray(dropout_mask(key, 0.3, (500_000, 2))) == 0
    np.testing.assert_allclose(dropped.mean(0), 0.3, atol=0.004)
    np.testing.assert_allclose(dropped.all(1).mean(), 0.09, atol=0.004)


def test_split_of_none_is_none(key):
    assert split(None, 3) == [None] * 3
    keys = split(key, 3)
    assert len({tuple(np.asarray(jax.random.key_data(k))) for k in keys}) == 3


def test_glorot_is_uniform_within_its_bounds(key):
    w, limit = glorot(key, 30, 20, blocks=2), np.sqrt(6 / 50)
    assert w.shape == (30, 40) and np.abs(w).max() <= limit
    # 1200 draws, each of variance limit^2 / 3; its relative standard error is sqrt(0.8 / 1200) = 0.026.
    assert np.var(w) == pytest.approx(limit**2 / 3, rel=0.13)


def test_every_orthogonal_block_keeps_norms_and_no_two_are_alike(key):
    blocks = np.split(np.asarray(orthogonal(key, 6, blocks=3)), 3, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-5)
    assert not np.allclose(blocks[0], blocks[1])


def test_cells_begin_as_they_say(key):
    lstm, gru = LSTM.init(key, INPUT, HIDDEN), GRU.init(key, INPUT, HIDDEN)
    np.testing.assert_array_equal(np.split(np.asarray(lstm.b), 4), [[0] * 4, [1] * 4, [0] * 4, [0] * 4])
    assert not gru.b.any() and not gru.c.any()
    ensemble = jax.jit(jax.vmap(lambda key: GRU.init(key, INPUT, HIDDEN)))(jax.random.split(key, 2))
    np.testing.assert_allclose(ensemble.u[0], GRU.init(jax.random.split(key, 2)[0], INPUT, HIDDEN).u, atol=1e-5)
    assert not np.allclose(ensemble.u[0], ensemble.u[1])
