"""A cell with dropout of its own: other masks in each training batch, none in an evaluation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, PAIRS, VOCABULARY, batch_of
from jax import Array

from seq2seq import GRU, EncoderDecoder, EncoderDecoderConfig, module
from seq2seq.core.seams import Key
from seq2seq.models.hard_monotonic import HardMonotonic, HardMonotonicConfig
from seq2seq.nn.recurrent import draw_cells, unroll


@module
class Noisy(GRU):
    """A GRU whose output is multiplied by masks that are drawn."""

    mask: Array | None = None

    def drawn(self, key: Key, batch: int):
        return replace(self, mask=jax.random.uniform(key, (batch, len(self.u)), minval=0.5))

    def step(self, state: Array, x: Array) -> tuple[Array, Array]:
        state, y = super().step(state, x)
        return state, y if self.mask is None else y * self.mask


SMALL = {"hidden": 8, "embedding": 4, "dropout": 0.0, "label_smoothing": 0.0}
NAMES = ("one layer", "two layers", "hard monotonic")


@cache
def model_of(name: str) -> EncoderDecoder | HardMonotonic:
    cls, config = EncoderDecoder, EncoderDecoderConfig(cell=Noisy, layers=1 + (name == "two layers"), **SMALL)
    if name == "hard monotonic":
        cls, config = HardMonotonic, HardMonotonicConfig(cell=Noisy, **SMALL)
    return jax.jit(lambda key: cls.init(key, VOCABULARY, VOCABULARY, config))(jax.random.key(0))


@cache
def loss_of(name: str):
    model = model_of(name)
    return jax.jit(lambda batch, key: model.loss(batch, key).sum)


@pytest.mark.parametrize("name", NAMES)
def test_training_draws_and_an_evaluation_does_not(name):
    first, again, other = (loss_of(name)(BATCH, jax.random.key(seed)) for seed in (1, 1, 2))
    still = loss_of(name)(BATCH, None)
    assert first == again and min(abs(first - other), abs(first - still), abs(other - still)) > 1e-3
    gradient = jax.jit(jax.grad(lambda model: model.loss(BATCH, jax.random.key(1)).mean))(model_of(name))
    assert jax.tree.structure(gradient) == jax.tree.structure(model_of(name))


def test_each_cell_has_masks_of_its_own():
    cells = [node for node in jax.tree.leaves(model_of("two layers"), is_leaf=lambda node: isinstance(node, Noisy))]
    before = [cell for cell in cells if isinstance(cell, Noisy)]
    drawn = draw_cells(tuple(before), jax.random.key(1), 3)
    masks = {np.asarray(cell.mask).tobytes() for cell in drawn}
    assert len(masks) == len(before) >= 4 and all(cell.mask.shape == (3, len(cell.u)) for cell in drawn)
    assert draw_cells(tuple(before), None, 3) == tuple(before)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_of_what_is_drawn(name):
    longer = batch_of(PAIRS, source=8, target=7)
    key = jax.random.key(5)
    np.testing.assert_allclose(loss_of(name)(BATCH, key), loss_of(name)(longer, key), rtol=1e-5)


def test_the_masks_stay_through_time():
    cell = draw_cells(Noisy.init(jax.random.key(0), 3, 5), jax.random.key(1), 2)
    plain = replace(cell, mask=None)
    xs = jax.random.normal(jax.random.key(2), (7, 2, 3))
    (_, ys), (_, without) = (unroll(one, xs, jnp.array([7, 4])) for one in (cell, plain))
    np.testing.assert_allclose(ys, without * cell.mask, rtol=1e-6)
