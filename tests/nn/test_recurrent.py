"""Through time and in layers: padding freezes the state, rows never meet, and each layer is its hand composition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.cells import BATCH, CELLS, HIDDEN, INPUT, randomised
from jax import Array
from nn import reference

from seq2seq.core.module import module, named_leaves
from seq2seq.core.seams import Cell
from seq2seq.errors import ModuleError, ShapeError
from seq2seq.nn.cells import GRU, LSTM
from seq2seq.nn.layers import dropout, dropout_mask
from seq2seq.nn.recurrent import Bidirectional, Dropped, Stack, drop_between, drop_recurrent, output_width, unroll

TIME = 5
LENGTHS = [5, 3, 0, 1]
ROWS = len(LENGTHS)

run = jax.jit(unroll, static_argnames="reverse")


@pytest.fixture
def xs():
    return jax.random.normal(jax.random.key(2), (TIME, ROWS, INPUT))


@pytest.fixture(params=["LSTM", "residual"])
def cell(request, key):
    return randomised(CELLS[request.param](key), jax.random.key(1))


def flat(state, row=slice(None)):
    return np.concatenate([np.asarray(leaf)[..., row, :] for leaf in jax.tree.leaves(state)], -1)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_row_runs_within_its_own_length(cell, xs, reverse):
    state, ys = run(cell, xs, jnp.array(LENGTHS), reverse=reverse)
    for row, length in enumerate(LENGTHS):
        x = np.asarray(xs)[:length, row]
        last, wanted = reference.run(cell, x[::-1] if reverse else x)
        wanted = np.reshape(wanted, (length, HIDDEN))[:: -1 if reverse else 1]
        np.testing.assert_allclose(ys[:length, row], wanted, atol=1e-5)
        np.testing.assert_array_equal(ys[length:, row], 0)
        np.testing.assert_allclose(flat(state, row), np.concatenate(jax.tree.leaves(last)), atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_and_batch_mates_change_nothing(cell, xs, reverse):
    lengths = jnp.array(LENGTHS)
    state, ys = run(cell, xs, lengths, reverse=reverse)
    on = (jnp.arange(TIME)[:, None] < lengths)[..., None]
    other = jnp.where(on, xs, 1e3 * jax.random.normal(jax.random.key(5), xs.shape))
    for longer in (other, jnp.concatenate([xs, other])):
        again, zs = run(cell, longer, lengths, reverse=reverse)
        np.testing.assert_allclose(zs[:TIME], ys, atol=1e-6)
        np.testing.assert_allclose(flat(again), flat(state), atol=1e-6)
    _, zs = run(cell, xs[:, ::-1], lengths[::-1], reverse=reverse)
    np.testing.assert_allclose(zs[:, ::-1], ys, atol=1e-6)


def test_full_rows_need_no_lengths_and_a_state_goes_on_where_another_ended(cell, xs):
    state, ys = run(cell, xs)
    _, zs = run(cell, xs, jnp.full(ROWS, TIME))
    np.testing.assert_allclose(zs, ys, atol=1e-6)
    half, first = run(cell, xs[:2])
    end, second = run(cell, xs[2:], None, half)
    np.testing.assert_allclose(jnp.concatenate([first, second]), ys, atol=1e-6)
    np.testing.assert_allclose(flat(end), flat(state), atol=1e-6)


def test_gradients_are_finite_and_nothing_flows_into_padding(cell, xs):
    @jax.jit
    @jax.grad
    def gradient(inputs):
        cell, xs = inputs
        state, ys = unroll(cell, xs, jnp.array(LENGTHS), reverse=True)
        return (ys**2).sum() + sum((leaf**2).sum() for leaf in jax.tree.leaves(state))

    cells, into = gradient((cell, xs))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(cells))
    for row, length in enumerate(LENGTHS):
        assert (into[length:, row] == 0).all() and (into[:length, row] != 0).any(-1).all()


def test_wrong_shapes_are_refused(key, xs):
    cell = CELLS["GRU"](key)
    with pytest.raises(ShapeError, match=r"xs is \(5, 3\), wanted \(time, batch, input\)"):
        unroll(cell, xs[:, 0])
    with pytest.raises(ShapeError, match=r"lengths is \(3,\), wanted \(4,\)"):
        unroll(cell, xs, jnp.array([1, 2, 3]))


def test_a_stack_is_its_layers_one_after_another(xs):
    stack = randomised(CELLS["Stack"](jax.random.key(0)), jax.random.key(1))
    _, ys = run(stack, xs)
    _, below = run(stack.cells[0], xs)
    np.testing.assert_allclose(ys, run(stack.cells[1], below)[1], atol=1e-6)
    residual = randomised(CELLS["residual"](jax.random.key(0)), jax.random.key(1))
    y = run(residual.cells[0], xs)[1]
    for layer in residual.cells[1:]:
        y = y + run(layer, y)[1]
    np.testing.assert_allclose(run(residual, xs)[1], y, atol=1e-5)


def test_bidirectional_is_two_cells_side_by_side(key, xs):
    layer = randomised(Bidirectional.init(key, INPUT, HIDDEN, LSTM), jax.random.key(1))
    lengths = jnp.array(LENGTHS)
    state, ys = jax.jit(lambda layer: layer(xs, lengths))(layer)
    forward, left = run(layer.forward, xs, lengths)
    backward, right = run(layer.backward, xs, lengths, reverse=True)
    np.testing.assert_allclose(ys, jnp.concatenate([left, right], -1), atol=1e-6)
    np.testing.assert_allclose(flat(state.forward), flat(forward), atol=1e-6)
    np.testing.assert_allclose(flat(state.backward), flat(backward), atol=1e-6)


def test_dropped_without_masks_is_the_cell_and_with_masks_hides_what_they_hide(key, xs):
    cell = randomised(GRU.init(key, INPUT, HIDDEN), jax.random.key(1))
    _, ys = run(cell, xs)
    np.testing.assert_allclose(run(Dropped(cell=cell), xs)[1], ys, atol=1e-6)
    mask = jnp.ones((ROWS, INPUT)).at[:, 1].set(0)
    hidden = jnp.ones((ROWS, HIDDEN)).at[1].set(0)
    dropped = Dropped(cell=cell, input_mask=mask, hidden_mask=hidden)
    _, zs = run(dropped, xs)
    np.testing.assert_allclose(run(dropped, xs.at[:, :, 1].set(9.0))[1], zs, atol=1e-6)
    np.testing.assert_allclose(run(cell, xs.at[:, :, 1].set(0.0))[1][:, 0], zs[:, 0], atol=1e-6)
    # A row whose state is always dropped remembers nothing: each step is a first step.
    alone = cell.step(jnp.zeros((TIME, HIDDEN)), (xs * mask)[:, 1])[1]
    np.testing.assert_allclose(zs[:, 1], alone, atol=1e-6)


def test_the_masks_of_a_tuple_state(key, xs):
    cell = randomised(LSTM.init(key, INPUT, HIDDEN), jax.random.key(1))
    state = jax.tree.map(lambda leaf: leaf + 2.0, cell.initial_state(ROWS))
    masks = type(state)(*dropout_mask(key, 0.5, (2, ROWS, HIDDEN)))
    after, _ = Dropped(cell=cell, hidden_mask=masks).step(state, xs[0])
    wanted, _ = cell.step(jax.tree.map(jnp.multiply, state, masks), xs[0])
    np.testing.assert_array_equal(flat(after), flat(wanted))


def test_drop_between_layers_only_and_only_with_a_key(key):
    stack = CELLS["residual"](key)
    shape = (BATCH, INPUT)
    for same in (drop_between(stack, None, 0.5, shape), drop_between(stack, key, 0.0, shape)):
        assert same is stack
    assert drop_between(stack.cells[0], key, 0.5, shape) is stack.cells[0]
    dropped = drop_between(stack, key, 0.5, shape)
    assert dropped.cells[0] is stack.cells[0] and dropped.residual
    one, two = (layer.input_mask for layer in dropped.cells[1:])
    assert one.shape == two.shape == (BATCH, HIDDEN) and not (one == two).all()
    for mask in (one, two):
        assert set(np.unique(mask)) == {0.0, 2.0}


def test_output_width_needs_no_computing(key):
    assert output_width(CELLS["Stack"](key), INPUT) == HIDDEN
    with pytest.raises(ShapeError):
        output_width(Stack.init(key, INPUT, HIDDEN), INPUT + 1)


def test_what_recurrent_weights_do_not_see_is_one_mask_for_all_gates(key):
    for name in ("GRU", "ChoGRU", "NormLSTM", "Stack"):
        cell = randomised(CELLS[name](key), key)
        seen = drop_recurrent(cell, jax.random.key(5), 0.5)
        assert jax.tree.structure(seen) == jax.tree.structure(cell)
        for leaf, value in named_leaves(seen).items():
            before = named_leaves(cell)[leaf]
            if leaf.split("/")[-1] in ("u", "u_n"):
                mask = np.asarray(value / before)
                np.testing.assert_allclose(mask, np.repeat(mask[:, :1], mask.shape[1], 1), rtol=1e-6)
                assert set(np.round(mask[:, 0], 4)) <= {0.0, 2.0}
            else:
                np.testing.assert_array_equal(value, before)
        if name == "ChoGRU":  # gates and candidate do not see the same units
            np.testing.assert_array_equal((seen.u == 0).all(1), (seen.u_n == 0).all(1))
        assert drop_recurrent(cell, None, 0.5) is drop_recurrent(cell, key, 0.0) is cell


def test_cells_are_of_one_dtype_where_jax_has_64_bits(key):
    jax.config.update("jax_enable_x64", True)
    try:
        for cls in (GRU, LSTM):
            cell = cls.init(jax.random.key(0), 3, 5)
            assert {leaf.dtype for leaf in jax.tree.leaves(cell)} == {np.dtype("float64")}
            jax.lax.scan(cell.step, cell.initial_state(2), jnp.ones((4, 2, 3)))
    finally:
        jax.config.update("jax_enable_x64", False)


def test_the_attention_of_a_cell_sees_all_units():
    tree = {"u": jnp.ones((4, 4)), "attention": {"u": jnp.ones((4, 4))}}
    seen = drop_recurrent(tree, jax.random.key(1), 0.5)
    assert bool((seen["attention"]["u"] == 1).all()) and bool((seen["u"] != 1).any())


def test_recurrent_weights_of_any_rank_lose_units():
    tree = {"u": jnp.ones(6), "deep": {"u": jnp.ones((6, 2, 3))}}
    seen = drop_recurrent(tree, jax.random.key(1), 0.5)
    assert set(seen["u"].tolist()) == {0.0, 2.0}
    assert (seen["deep"]["u"] == seen["deep"]["u"][:, :1, :1]).all() and seen["deep"]["u"].shape == (6, 2, 3)


def test_variational_dropout_is_the_same_at_every_time(key):
    found = np.asarray(dropout(key, 0.5, jnp.ones((7, 3, 40)), variational=True))
    assert (found == found[:1]).all() and set(np.unique(found)) == {0.0, 2.0}
    assert (np.asarray(dropout(key, 0.5, jnp.ones((7, 3, 40)))) != found).any()


def test_a_step_that_returns_no_output_is_told():
    @module
    class Alone(Cell):
        u: Array

        def initial_state(self, batch):
            return jnp.zeros((batch, 2))

        def step(self, state, x):
            return state @ self.u

    for batch in (2, 3):
        with pytest.raises(ModuleError, match=r"Alone\.step returned .*; wanted \(state, output\)"):
            unroll(Alone(u=jnp.eye(2)), jnp.ones((4, batch, 2)), jnp.full(batch, 4))


def test_a_state_that_is_another_one_after_a_step_is_told(xs):
    @module
    class Forgets(LSTM):
        def step(self, state, x):
            after, y = super().step(state, x)
            return tuple(after), y

    with pytest.raises(ModuleError, match=r"Forgets\.step returned the state .*LSTMState"):
        unroll(Forgets.init(jax.random.key(0), xs.shape[-1], 3), xs, jnp.full(xs.shape[1], 2))
