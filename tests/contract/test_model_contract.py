"""What every model keeps, whatever it is made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, LONGER, PLACES, VOCABULARY
from contract.table import TABLE, Counting, model_of

from seq2seq.core.seams import Encodable, Searchable, Trainable
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.model import Model

ROWS = range(BATCH.size)

# Compiled once for each structure of model and shape of batch, for all tests here.
own_loss = jax.jit(lambda model, batch, key: model.loss(batch, key))
gradient = jax.jit(jax.grad(lambda model, batch, key: model.loss(batch, key).mean))
default_loss = jax.jit(lambda model, batch: Model.loss(model, batch))


@pytest.fixture(params=TABLE)
def model(request):
    return model_of(request.param)


def test_default_loss_by_start_and_step_is_its_own_loss(model):
    assert isinstance(model, Trainable) and isinstance(model, Searchable) and isinstance(model, Encodable)
    for row in ROWS:
        own, default = own_loss(model, BATCH.only(row), None), default_loss(model, BATCH.only(row))
        np.testing.assert_allclose(own.sum, default.sum, rtol=0, atol=1e-5)
        assert own.count == default.count == BATCH.target_mask[:, row].sum()
        assert own.sum > 0


def test_padding_columns_and_batch_mates_change_no_loss(model):
    for row, place in zip(ROWS, PLACES, strict=True):
        here, there = (own_loss(model, batch, None) for batch in (BATCH.only(row), LONGER.only(place)))
        np.testing.assert_allclose(here.sum, there.sum, rtol=0, atol=1e-5)
        assert here.count == there.count


@pytest.mark.parametrize("name", ["elman", "dot", "residual additive", "copying", "user's cell"])
def test_dropout_needs_a_key_and_gradients_are_finite_where_a_source_is_empty(name):
    model = model_of(name)
    keys = jax.random.split(jax.random.key(5))
    one, two = (gradient(model, BATCH, key) for key in keys)
    leaves = jax.tree.leaves(one)
    assert jax.tree.structure(one) == jax.tree.structure(model)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)
    assert all(bool((leaf != 0).any()) for leaf in leaves)
    assert any(bool((a != b).any()) for a, b in zip(leaves, jax.tree.leaves(two), strict=True))
    jax.tree.map(np.testing.assert_array_equal, one, gradient(model, BATCH, keys[0]))


def test_save_and_load_give_back_every_bit_and_every_setting(model, tmp_path):
    model.save(tmp_path / "model.npz")
    back = EncoderDecoder.load(tmp_path / "model.npz", types=[Counting])
    assert jax.tree.structure(back) == jax.tree.structure(model)
    jax.tree.map(np.testing.assert_array_equal, back, model)


def test_memory_and_state_are_batch_first_and_a_step_keeps_their_shapes(model):
    memory, state = jax.eval_shape(model.start, jnp.asarray(BATCH.source), jnp.asarray(BATCH.source_lengths))
    after, prediction = jax.eval_shape(model.step, memory, state, jnp.zeros(BATCH.size, jnp.int32))
    assert {leaf.shape[0] for leaf in jax.tree.leaves((memory, state))} == {BATCH.size}
    assert jax.tree.structure(after) == jax.tree.structure(state)
    described = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (state, after)]
    assert described[0] == described[1]
    assert prediction.logits.shape == (BATCH.size, VOCABULARY)
    if model.decoder.attention is not None:
        assert prediction.attention.shape == (BATCH.size, len(BATCH.source))


def test_search_may_map_step_over_beams_without_copying_memory(model):
    memory, state = jax.eval_shape(model.start, jnp.asarray(BATCH.source), jnp.asarray(BATCH.source_lengths))
    many = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((leaf.shape[0], 3, *leaf.shape[1:]), leaf.dtype), state)
    tokens = jnp.zeros((BATCH.size, 3), jnp.int32)
    step = jax.vmap(model.step, in_axes=(None, 1, 1), out_axes=1)
    _, prediction = jax.eval_shape(step, memory, many, tokens)
    assert prediction.logits.shape == (BATCH.size, 3, VOCABULARY)
