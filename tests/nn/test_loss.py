"""The loss is the papers' sum over tokens, in blocks or not, and in blocks it never holds all logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn import reference

from seq2seq.core.cost import product_flops
from seq2seq.errors import ShapeError
from seq2seq.nn import loss as loss_module
from seq2seq.nn.layers import FF
from seq2seq.nn.loss import cross_entropy, token_cross_entropy

TARGET, BATCH, HIDDEN, VOCABULARY = 7, 2, 3, 11


@pytest.fixture
def case(key):
    k = jax.random.split(key, 4)
    readout = FF.init(k[0], HIDDEN, VOCABULARY)
    states = 3 * jax.random.normal(k[1], (TARGET, BATCH, HIDDEN))
    targets = jax.random.randint(k[2], (TARGET, BATCH), 0, VOCABULARY)
    mask = (jnp.arange(TARGET)[:, None] < jnp.array([7, 4])).astype(jnp.float32)
    return readout, states, targets, mask


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_the_papers_sum_over_tokens(case, smoothing):
    readout, states, targets, mask = case
    found = cross_entropy(readout, states, np.asarray(targets), np.asarray(mask), smoothing=smoothing)
    logits = np.asarray(readout(states), np.float64)
    wanted = [
        reference.cross_entropy(logits[t, b], int(targets[t, b]), smoothing)
        for t in range(TARGET)
        for b in range(BATCH)
        if mask[t, b]
    ]
    assert float(found.count) == len(wanted) == 11
    np.testing.assert_allclose(found.sum, sum(wanted), rtol=1e-5)
    np.testing.assert_allclose(found.mean, np.mean(wanted), rtol=1e-5)


def gradients(case, smoothing):
    _, _, targets, mask = case
    loss = lambda readout, states: cross_entropy(readout, states, targets, mask, smoothing=smoothing)  # noqa: E731
    value, pull, count = jax.vjp(lambda *a: (loss(*a).sum, loss(*a).count), *case[:2], has_aux=True)
    return value, count, pull(jnp.ones(()))


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_blocks_change_nothing(case, steps, monkeypatch):
    whole = gradients(case, 0.1)
    monkeypatch.setattr(loss_module, "_BLOCK", steps * BATCH * VOCABULARY)
    blocks = jax.jit(lambda case: gradients(case, 0.1))(case)  # a new function each time: jit remembers traces
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), blocks, whole)


def sizes(jaxpr) -> set[int]:
    """The sizes of all arrays in a jaxpr and the jaxprs inside it."""
    found = {v.aval.size for e in jaxpr.eqns for v in e.outvars}
    for inner in jax.tree.leaves([list(e.params.values()) for e in jaxpr.eqns], is_leaf=lambda p: hasattr(p, "eqns")):
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
            found |= sizes(inner)
    return found


def traced(case) -> set[int]:
    return sizes(jax.make_jaxpr(lambda case: gradients(case, 0.1))(case).jaxpr)


def test_in_blocks_no_array_holds_all_logits(case, monkeypatch):
    everything, block = TARGET * BATCH * VOCABULARY, 2 * BATCH * VOCABULARY
    assert everything in traced(case)
    monkeypatch.setattr(loss_module, "_BLOCK", block)
    assert block in traced(case) and max(traced(case)) < everything


def test_in_blocks_no_logit_is_computed_twice(case, monkeypatch):
    monkeypatch.setattr(loss_module, "_BLOCK", 2 * BATCH * VOCABULARY)
    once = 2 * TARGET * BATCH * HIDDEN * VOCABULARY
    gradient = jax.grad(lambda readout, states: cross_entropy(readout, states, *case[2:]).sum, (0, 1))
    assert product_flops(gradient, *case[:2]) // once == 3  # and no more than the small sums of the last block


def test_in_blocks_what_is_frozen_costs_nothing(case, monkeypatch):
    monkeypatch.setattr(loss_module, "_BLOCK", 2 * BATCH * VOCABULARY)
    readout, states, targets, mask = case
    once = 2 * TARGET * BATCH * HIDDEN * VOCABULARY
    loss = lambda states: cross_entropy(readout, states, targets, mask).sum  # noqa: E731
    assert product_flops(jax.grad(loss), states) // once == 2
    assert product_flops(loss, states) // once == 1


def test_blocks_of_padding_alone_are_passed_over(case):
    mask, ran = case[3].reshape(-1), []

    def count(now):
        jax.debug.callback(lambda: ran.append(1))
        return now[-1].sum(), [], []

    total, _, _ = loss_module._over_blocks(count, (mask,), 3, [])
    jax.effects_barrier()
    assert float(total) == 11 and len(ran) == 4  # 11 tokens and 3 of padding, in threes


def test_in_blocks_forward_mode_and_second_derivatives_work(case, monkeypatch):
    readout, states, targets, mask = case

    def loss(w, states):
        return cross_entropy(lambda x: jnp.tanh(x @ w), states, targets, mask, smoothing=0.1).sum

    both = jax.jit(lambda w, states: (jax.hessian(loss)(w, states), jax.jvp(loss, (w, states), (w, states))[1]))
    whole = both(readout.w, states)
    monkeypatch.setattr(loss_module, "_BLOCK", 3 * BATCH * VOCABULARY)
    jax.clear_caches()
    blocks = both(readout.w, states)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), blocks, whole)


def test_padding_says_nothing_even_where_the_readout_forbids_it(case):
    readout, states, targets, mask = case
    wanted = cross_entropy(readout, states, targets, mask)
    padded = jnp.where(mask > 0, targets, 0)
    targets = jnp.where(mask > 0, targets.clip(1), 0)

    def forbidding(states):
        return readout(states).at[..., 0].set(-jnp.inf)

    loss = lambda states: cross_entropy(forbidding, states, targets, mask).sum  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(states)
    assert np.isfinite(value) and np.isfinite(gradient).all() and (gradient[4:, 1] == 0).all()
    np.testing.assert_allclose(cross_entropy(readout, states, padded, mask).sum, wanted.sum, rtol=1e-6)
    nothing = cross_entropy(readout, states, targets, mask * 0)
    assert (float(nothing.sum), float(nothing.count), float(nothing.mean)) == (0, 0, 0)


def test_any_function_can_be_the_readout(case):
    readout, states, targets, mask = case
    wanted = cross_entropy(readout, states, targets, mask).sum
    assert cross_entropy(lambda x: x @ readout.w + readout.b, states, targets, mask).sum == wanted
    assert cross_entropy(readout.__call__, states, targets, mask).sum == wanted


def test_shapes_that_do_not_fit_are_refused(case):
    readout, states, targets, mask = case
    with pytest.raises(ShapeError, match=r"states \(7, 2, 3\), targets \(2, 7\) and mask \(7, 2\)"):
        cross_entropy(readout, states, targets.T, mask)
    with pytest.raises(ShapeError, match="mask"):
        cross_entropy(readout, states, targets, mask[:-1])


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=5, max_size=5), st.integers(0, 4), st.sampled_from([0.0, 0.1, 0.9])
)
def test_one_token(logits, target, smoothing):
    found = token_cross_entropy(jnp.array(logits, jnp.float32), jnp.array(target), smoothing)
    np.testing.assert_allclose(
        found, reference.cross_entropy(np.array(logits), target, smoothing), rtol=1e-4, atol=1e-4
    )


def test_smoothing_is_least_where_the_probabilities_are_the_smoothed_ones():
    smoothing, size = 0.2, 5
    best = jnp.log(jnp.full(size, smoothing / size).at[3].add(1 - smoothing))
    gradient = jax.grad(lambda logits: token_cross_entropy(logits, jnp.array(3), smoothing))(best)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_sums_are_float32_whatever_the_states_are():
    states, targets, mask = jnp.zeros((1001, 1, 4), jnp.bfloat16), jnp.zeros((1001, 1), int), jnp.ones((1001, 1))
    found = cross_entropy(lambda x: x, states, targets, mask)
    assert (float(found.count), found.sum.dtype) == (1001, jnp.float32)
    np.testing.assert_allclose(found.sum, 1001 * np.log(4), rtol=1e-4)
