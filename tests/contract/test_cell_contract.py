"""What every cell keeps, whatever its equation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.cells import BATCH, CELLS, HIDDEN, INPUT, TIME, randomised
from jax import lax
from jax.test_util import check_grads
from nn import reference

from seq2seq.core import archive
from seq2seq.core.archive import Archive
from seq2seq.core.scan import scan
from seq2seq.core.seams import Cell
from seq2seq.core.skeleton import describe, rebuild
from seq2seq.errors import ShapeError


@pytest.fixture(params=CELLS)
def make(request):
    return CELLS[request.param]


@pytest.fixture
def cell(make, key):
    return randomised(make(key), jax.random.key(1))


@pytest.fixture
def xs():
    return jax.random.normal(jax.random.key(2), (TIME, BATCH, INPUT))


def assert_close(found, wanted, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), found, wanted)


def test_scan_takes_the_bound_method_and_gives_what_the_paper_says(cell, xs):
    assert isinstance(cell, Cell)
    eager = lax.scan(cell.step, cell.initial_state(BATCH), xs)
    jitted = jax.jit(lambda cell, xs: lax.scan(cell.step, cell.initial_state(xs.shape[1]), xs))(cell, xs)
    ours = jax.jit(lambda cell, xs: scan(cell.step, cell.initial_state(xs.shape[1]), xs))(cell, xs)
    assert jax.tree.structure(eager) == jax.tree.structure(jitted) == jax.tree.structure(ours)
    assert_close(jitted, eager)
    assert_close(ours, eager)

    state, ys, step = cell.initial_state(BATCH), [], jax.jit(cell.step)
    for x in xs:
        state, y = step(state, x)
        ys.append(y)
    assert_close((state, jnp.stack(ys)), eager)

    paper = [reference.run(cell, np.asarray(xs)[:, row], row) for row in range(BATCH)]
    np.testing.assert_allclose(eager[1], np.stack([ys for _, ys in paper], 1), rtol=0, atol=1e-5)
    last = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state)]) for state, _ in paper]
    ours = np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(eager[0])], -1)
    np.testing.assert_allclose(ours, np.stack(last), rtol=0, atol=1e-5)


def test_gradients(cell, xs):
    weights = jax.random.normal(jax.random.key(3), (TIME, BATCH, HIDDEN))

    @jax.jit
    def loss(cell, xs):
        return (weights * scan(cell.step, cell.initial_state(BATCH), xs)[1]).sum()

    @jax.jit
    def plain(cell, xs):
        return (weights * lax.scan(cell.step, cell.initial_state(BATCH), xs)[1]).sum()

    check_grads(loss, (cell, xs), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)
    assert_close(jax.jit(jax.grad(loss, (0, 1)))(cell, xs), jax.jit(jax.grad(plain, (0, 1)))(cell, xs))


def test_state_is_batch_first_and_shapes_are_known_without_weights(make, key, xs):
    cell = make(key)
    state, y = jax.eval_shape(lambda key: (c := make(key)).step(c.initial_state(BATCH), xs[0]), key)
    before = jax.eval_shape(lambda: cell.initial_state(BATCH))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), before
    )
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {BATCH}
    assert y.shape == (BATCH, HIDDEN)


def test_vmap_of_init_makes_an_ensemble(make, cell):
    # Shapes only: compiling the decomposition inside `orthogonal` for every cell is dear; test_layers has values.
    many = jax.eval_shape(jax.vmap(make), jax.random.split(jax.random.key(4), 3))
    assert jax.tree.structure(many) == jax.tree.structure(cell)
    assert [leaf.shape for leaf in jax.tree.leaves(many)] == [(3, *leaf.shape) for leaf in jax.tree.leaves(cell)]


def test_bfloat16_stays_bfloat16(cell, xs):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), cell)
    state, ys = lax.scan(half.step, half.initial_state(BATCH), xs.astype(jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves((state, ys))} == {jnp.dtype(jnp.bfloat16)}
    wanted = lax.scan(cell.step, cell.initial_state(BATCH), xs)[1]
    np.testing.assert_allclose(ys.astype(jnp.float32), wanted, atol=0.1)


def test_npz_gives_back_every_bit(cell, tmp_path):
    archive.write(tmp_path / "cell.npz", Archive.of(cell, header={"cell": describe(cell)}))
    found = archive.read(tmp_path / "cell.npz")
    assert jax.tree.structure(found.into(cell)) == jax.tree.structure(cell)
    back = rebuild(found.header["cell"], found.arrays)
    assert jax.tree.structure(back) == jax.tree.structure(cell)
    jax.tree.map(np.testing.assert_array_equal, back, cell)


def test_wrong_width_says_what_was_wanted(make, key):
    cell = make(key)
    if cell.__class__.__name__ == "Dropped":
        cell = cell.cell
    with pytest.raises(ShapeError, match=rf"x has width {INPUT + 2}, this was made for input {INPUT} \(w is"):
        cell.step(cell.initial_state(BATCH), jnp.ones((BATCH, INPUT + 2)))


def test_unflattening_never_asks_what_the_leaves_are(cell):
    structure = jax.tree.structure(cell)
    empty = structure.unflatten([None] * structure.num_leaves)
    assert type(empty) is type(cell) and jax.tree.leaves(empty) == []
    assert "float32" in repr(jax.eval_shape(lambda: cell))
