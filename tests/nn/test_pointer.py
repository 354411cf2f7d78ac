"""A pointer's prediction is the papers' mixture, sums to 1, and is what its loss takes the logarithm of."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seq2seq.nn import loss as loss_module
from seq2seq.nn.layers import FF
from seq2seq.nn.loss import cross_entropy
from seq2seq.nn.pointer import Pointer

SOURCE, BATCH, TARGET, HIDDEN, VOCABULARY = 5, 3, 4, 6, 9
TARGETS = (-1, 1, -1, 3, 5, 8, -1)  # of seven ids of the source
SOURCES = jnp.array([[4, 5, 4, 6, 3], [6, 6, 3, 0, 0], [0, 0, 0, 0, 0]]).T  # a word twice; words that have no id; empty
LENGTHS = jnp.array([5, 3, 0])


@pytest.fixture
def case(key):
    k = jax.random.split(key, 4)
    weights = jax.nn.softmax(jax.random.normal(k[0], (TARGET, BATCH, SOURCE)))
    weights = jnp.where(jnp.arange(SOURCE) < LENGTHS[:, None], weights, 0)
    pointer = Pointer.init(k[1], HIDDEN, TARGETS)
    readout = FF.init(k[2], HIDDEN, VOCABULARY)
    return pointer, readout, 2 * jax.random.normal(k[3], (TARGET, BATCH, HIDDEN)), weights


def probabilities(pointer, readout, vector, weights, row):
    """See et al. 2017, equations 8 and 9, word by word, in float64; words without an id leave their share behind."""
    a = np.asarray(vector, np.float64) @ np.asarray(readout.w, np.float64) + np.asarray(readout.b, np.float64)
    gate = 1 / (1 + np.exp(-(np.asarray(vector, np.float64) @ np.asarray(pointer.gate.w, np.float64))[0]))
    p = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
    ids = [TARGETS[int(word)] for word in SOURCES[:, row]]
    p = p * (1 - gate * sum(float(w) for w, y in zip(weights, ids, strict=True) if y >= 0))
    for w, y in zip(weights, ids, strict=True):
        if y >= 0:
            p[y] += gate * float(w)
    return p


def mixed(pointer, readout, vectors, weights):
    places = pointer.places(SOURCES)
    return jax.vmap(lambda v, w: pointer.mixed(readout(v), v, w, places))(vectors, weights)


def short_loss(targets, mask, pointer, readout, vectors, weights):
    places = pointer.places(SOURCES)
    on = jax.vmap(lambda y, w: pointer.weights_on(y, w, places))(targets, weights)
    return cross_entropy(readout, vectors, targets, mask, copied=pointer.copied(vectors, *on)).sum


def written_out(targets, mask, *case):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(mixed(*case)), targets[..., None], -1)[..., 0]
    return -(chosen * mask).sum()


def test_it_is_the_papers_mixture(case):
    found = jax.nn.softmax(mixed(*case))
    pointer, readout, vectors, weights = case
    for t in range(TARGET):
        for row in range(BATCH):
            wanted = probabilities(pointer, readout, vectors[t, row], weights[t, row], row)
            np.testing.assert_allclose(wanted.sum(), 1, rtol=1e-6)
            np.testing.assert_allclose(found[t, row], wanted, rtol=1e-4, atol=1e-7)


def test_a_source_of_no_words_changes_nothing(case):
    pointer, readout, vectors, weights = case
    np.testing.assert_array_equal(mixed(pointer, readout, vectors, weights)[:, 2], readout(vectors)[:, 2])


@pytest.mark.parametrize("block", [2**23, 2 * VOCABULARY])
def test_the_loss_is_its_logarithm_in_blocks_or_not_and_so_is_the_gradient(case, block, monkeypatch):
    monkeypatch.setattr(loss_module, "_BLOCK", block)
    mask = jnp.ones((TARGET, BATCH)).at[2:, 1].set(0)

    for y in (1, 3, 5, 8, 4):
        targets = jnp.full((TARGET, BATCH), y)
        found, wanted = (
            jax.value_and_grad(partial(f, targets, mask), (0, 1, 2, 3))(*case) for f in (short_loss, written_out)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, wanted)


def test_fewer_logits_keep_the_shares_of_the_words_that_are_left(case):
    pointer, readout, vectors, weights = case
    few = FF(w=readout.w[:, :6], b=readout.b[:6])
    found = jax.nn.softmax(mixed(pointer, few, vectors, weights))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert (found[:, 0, 5] > jax.nn.softmax(few(vectors))[:, 0, 5]).all()  # 5 is copied, 8 is not there to be


def test_gradients_are_finite_where_the_gate_is_as_good_as_shut_or_open(case):
    pointer, readout, vectors, weights = case

    loss = partial(short_loss, jnp.full((TARGET, BATCH), 5), jnp.ones((TARGET, BATCH)), pointer, readout)
    for size in (1e3, -1e3):
        moved = vectors + size * pointer.gate.w[:, 0]
        value, found = jax.value_and_grad(loss, (0, 1))(moved, weights)
        assert np.isfinite(value) and all(bool(jnp.isfinite(g).all()) for g in found)


def test_a_gate_that_is_open_is_pulled_back_where_nothing_is_right_to_copy():
    def kept(logit, on_any):
        gate = FF(w=jnp.zeros((1, 1)), b=logit[None])
        return Pointer(gate=gate, targets=(5,)).copied(jnp.zeros(1), jnp.array(0.0), on_any).kept

    for on_any, logit in ((1.0, 30.0), (1.0 + 1e-7, 30.0), (0.5, 1.0), (0.0, 30.0)):
        value, slope = jax.value_and_grad(kept)(jnp.float32(logit), jnp.float32(on_any))
        gate, shut, most = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit)), min(on_any, 1.0)
        left = shut + gate * (1 - most)
        wanted = [np.log(left), -gate * shut * most / left]
        np.testing.assert_allclose([value, slope], wanted, rtol=1e-4, atol=1e-6)


def test_nothing_is_as_large_as_the_square_of_the_source(case):
    pointer, long = case[0], 1000
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, VOCABULARY), (1, HIDDEN), (1, long))]
    made = jax.make_jaxpr(pointer.mixed)(*shapes, jax.ShapeDtypeStruct((1, long), jnp.int32))
    assert max(out.aval.size for equation in made.eqns for out in equation.outvars) <= long * 4
