"""scan == lax.scan == a Python loop, under every transformation; and what it is for: one product per weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax import Array, lax
from jax import numpy as jnp
from scan_problems import (
    BATCH,
    HIDDEN,
    INPUT,
    KEY,
    MASK,
    PROBLEMS,
    STEPS,
    P,
    Problem,
    Scan,
    Tree,
    elman,
    gru,
    python_loop,
    two,
)

from seq2seq.core.scan import scan

problems = pytest.mark.parametrize("name", PROBLEMS)


def assert_equal(ours: Tree, theirs: Tree, rtol: float = 1e-5) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol, atol=rtol * max(1.0, float(np.abs(b).max(initial=0))))


def tolerance(name: str) -> float:
    return 3e-2 if name == "bfloat16" else 1e-5


@problems
def test_values_are_those_of_a_python_loop(name: str) -> None:
    problem = PROBLEMS[name]
    loop = jax.jit(lambda p: problem.run(python_loop, p))(P)
    assert_equal(problem.run(scan, P), loop, tolerance(name))


@problems
def test_gradients_are_those_of_lax_scan(name: str) -> None:
    problem = PROBLEMS[name]
    losses = [jax.value_and_grad(lambda p, s=s: problem.loss_and_outputs(s, p), has_aux=True) for s in (scan, lax.scan)]
    ours, theirs = (jax.jit(loss)(P) for loss in losses)
    assert_equal(ours, theirs, tolerance(name))  # the outputs too, which under a gradient are those of the parts
    assert any(np.any(g) for g in jax.tree.leaves(ours[1]))


def compare(transformed: Callable[[Callable[[Tree], Array]], Callable[[Tree], Tree]], name: str) -> None:
    problem = PROBLEMS[name]
    both = [transformed(lambda p, s=s: problem.loss(s, p)) for s in (scan, lax.scan)]
    ours, theirs = jax.jit(lambda p: [f(p) for f in both])(P)
    assert_equal(ours, theirs, 3e-5)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(ours))


@pytest.mark.parametrize("name", ["gru", "readout", "counting", "closures"])
def test_vmap_of_the_gradient(name: str) -> None:
    def transformed(loss: Any) -> Any:
        return lambda p: jax.vmap(lambda s: jax.grad(lambda p: loss(p | {"u": p["u"] * s, "x": p["x"] * s}))(p))(
            jnp.array([0.5, 1.0])
        )

    compare(transformed, name)


@pytest.mark.parametrize("name", ["lstm", "dropout"])
def test_gradient_of_vmap(name: str) -> None:
    def transformed(loss: Any) -> Any:
        return jax.grad(lambda p: jax.vmap(lambda w: loss(p | {"h": w}))(jnp.stack([p["h"], -p["h"]])).sum())

    compare(transformed, name)


@pytest.mark.parametrize("name", ["gru", "readout"])
def test_remat(name: str) -> None:
    compare(lambda loss: jax.grad(jax.checkpoint(loss)), name)


@pytest.mark.parametrize("name", ["elman", "cho_gru"])
def test_gradient_of_gradient(name: str) -> None:
    def transformed(loss: Any) -> Any:
        return jax.grad(lambda p: sum((g**2).sum() for g in jax.tree.leaves(jax.grad(loss)(p))))

    compare(transformed, name)


@pytest.mark.parametrize("name", ["lstm", "readout"])
def test_forward_mode(name: str) -> None:
    compare(lambda loss: lambda p: jax.jvp(loss, (p,), (jax.tree.map(jnp.cos, p),)), name)


def test_jacobian_and_hessian() -> None:
    def transformed(loss: Any) -> Any:
        of = lambda p, b: loss(p | {"b": b})  # noqa: E731
        return lambda p: (jax.jacfwd(of, 1)(p, p["b"]), jax.hessian(of, 1)(p, p["b"]))

    compare(transformed, "elman")


@pytest.mark.parametrize("names", [("u3",), ("h", "b3"), ("w3", "x")])
def test_gradient_of_some_weights_only(names: tuple[str, ...]) -> None:
    def transformed(loss: Any) -> Any:
        return lambda p: jax.grad(lambda some: loss(p | some))({n: p[n] for n in names})

    compare(transformed, "gru")


def test_inside_a_while_loop() -> None:
    def loss(inner: Scan, p: Tree) -> Array:
        def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
            gradient = jax.grad(lambda h: jnp.square(inner(gru(p), h, p["x"])[1]).sum())(state[1])
            return state[0] + 1, state[1] - 0.1 * gradient

        return jnp.sin(lax.while_loop(lambda state: state[0] < 3, again, (jnp.array(0), p["h"]))[1]).sum()

    ours, theirs = jax.jit(lambda p: [loss(s, p) for s in (scan, lax.scan)])(P)
    assert_equal(ours, theirs)


def test_inside_lax_scan() -> None:
    def loss(inner: Scan, p: Tree) -> Array:
        h, ys = lax.scan(lambda h, x: inner(gru(p), h, x), p["h"], jnp.stack([p["x"], p["x"] ** 2]))
        return (h**2).sum() + jnp.sin(ys).sum()

    ours, theirs = jax.jit(lambda p: [jax.grad(lambda p, s=s: loss(s, p))(p) for s in (scan, lax.scan)])(P)
    assert_equal(ours, theirs)


def test_eager_gradient() -> None:
    problem = PROBLEMS["no_input"]
    assert_equal(jax.grad(lambda p: problem.loss(scan, p))(P), jax.grad(lambda p: problem.loss(lax.scan, p))(P))


def test_zero_length_and_one_step() -> None:
    for length in (0, 1):
        p = P | {"x": P["x"][:length]}
        ours, theirs = (jax.value_and_grad(lambda p, s=s: PROBLEMS["gru"].loss(s, p))(p) for s in (scan, lax.scan))
        assert_equal(ours, theirs)


def test_plain_numbers_in_the_carry_are_promoted() -> None:
    def step(c: Any, x: Array):
        return c + (x @ P["w"]).sum(), c

    assert_equal(scan(step, 0, P["x"]), lax.scan(step, 0, P["x"]))


def test_arrays_of_numpy_are_taken_as_lax_scan_takes_them() -> None:
    xs = np.ones((3, 2))
    (_, ours), (_, theirs) = (s(lambda c, x: (c + 1, x), 0, xs) for s in (scan, lax.scan))
    assert isinstance(ours, Array) and (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)


@pytest.mark.parametrize(("batch", "width"), [(0, 4), (2, 0)])
def test_what_is_empty_has_a_gradient(batch: int, width: int) -> None:
    def loss(p: list[Array], s: Any) -> Array:
        def step(h: Array, x: Array):
            h = jnp.tanh(x @ p[0] + h @ p[1])
            return h, h

        return s(step, jnp.zeros((batch, 3)), jnp.ones((5, batch, width)))[1].sum()

    weights = [jnp.ones((width, 3)), jnp.eye(3)]
    assert_equal(jax.grad(loss)(weights, scan), jax.grad(loss)(weights, lax.scan))


def test_a_lookup_past_the_end_moves_nothing() -> None:
    table = jnp.arange(12.0).reshape(4, 3) / 10

    def last(table: Array, s: Any) -> Array:
        def step(carry: tuple[Array, Array], _: None):
            ids, h = carry
            row = table.at[ids].get(mode="fill", fill_value=5.0)
            return ((ids + 3) % 9, jnp.tanh(h * 0.5 + 0.1 * row)), h

        return s(step, (jnp.array([1, 2]), jnp.zeros((2, 3))), None, length=4)[0][1]

    ours, theirs = (jax.jvp(lambda t, s=s: last(t, s), (table,), (jnp.ones_like(table),)) for s in (scan, lax.scan))
    assert_equal(ours, theirs)


def test_arrays_along_a_mesh_have_a_gradient() -> None:
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        along = jax.NamedSharding(mesh, jax.P(None, "batch"))
        x, h = jax.device_put(P["x"], along), jax.device_put(P["h"], jax.NamedSharding(mesh, jax.P("batch")))

        def loss(p: list[Array], s: Any) -> Array:
            def step(h: Array, x: Array):
                h = jnp.tanh(x @ p[0] + h @ p[1])
                return h, h

            return s(step, h, x)[1].sum()

        weights = [P["w"][:, : h.shape[1]], P["u"][:, : h.shape[1]]]
        assert_equal(*(jax.jit(jax.grad(lambda p, s=s: loss(p, s)))(weights) for s in (scan, lax.scan)))


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (lambda h, x: (h[:1], x), {}),
        (lambda h, x: (h.astype(int), x), {}),
        (lambda h, x: h, {}),
        (lambda h, x: ((h, h), x), {}),
        (lambda h, x: (h @ P["u"], x), {"length": STEPS + 1}),
        (lambda h, x: (h, x), {"xs": 3.0}),
    ],
)
def test_errors_are_those_of_lax_scan(step: Any, options: dict[str, Any]) -> None:
    options = {"xs": P["x"]} | options
    with pytest.raises((TypeError, ValueError)) as theirs:
        lax.scan(step, P["h"], **options)
    with pytest.raises(theirs.type) as ours:
        scan(step, P["h"], **options)
    assert str(ours.value) == str(theirs.value)


def test_hoist_false_is_lax_scan() -> None:
    def jaxpr(s: Scan) -> str:
        return str(jax.make_jaxpr(jax.grad(lambda u: s(elman(P | {"u": u}), P["h"], P["x"])[0].sum()))(P["u"]))

    assert jaxpr(lambda *a: scan(*a, hoist=False)) == jaxpr(lax.scan) != jaxpr(scan)


def scans(jaxpr: Any) -> Iterator[Any]:
    for e in jaxpr.eqns:
        if e.primitive.name == "scan":
            yield e
        for inner in jax.extend.core.jaxprs_in_params(e.params):
            yield from scans(getattr(inner, "jaxpr", inner))


def carried_shapes(jaxpr: Any) -> set[tuple[int, ...]]:
    """The shapes in the carry of every scan: outputs that have no time axis in front."""
    return {
        a.aval.shape
        for e in scans(jaxpr)
        for a, b in zip(e.outvars, e.params["jaxpr"].jaxpr.outvars, strict=True)
        if a.aval.shape == b.aval.shape
    }


def products_inside(jaxpr: Any) -> list[tuple[tuple[int, ...], ...]]:
    found = []
    for e in scans(jaxpr):
        body = e.params["jaxpr"].jaxpr
        inner = [body, *(getattr(j, "jaxpr", j) for e in body.eqns for j in jax.extend.core.jaxprs_in_params(e.params))]
        found += [
            tuple(v.aval.shape for v in e.invars) for b in inner for e in b.eqns if "dot_general" in str(e.primitive)
        ]
    return found


@pytest.mark.parametrize("name", ["elman", "gru", "cho_gru", "lstm", "shared", "reverse", "no_input", "closures"])
def test_no_weight_is_accumulated_in_a_loop(name: str) -> None:
    problem = PROBLEMS[name]
    ours, theirs = (jax.make_jaxpr(jax.grad(lambda p, s=s: problem.loss(s, p)))(P).jaxpr for s in (scan, lax.scan))
    weights = {P[n].shape for n in ("w", "w3", "w4", "u", "u3", "u4", "table")}
    weights |= {s[::-1] for s in weights}
    assert carried_shapes(ours).isdisjoint(weights)
    assert not carried_shapes(theirs).isdisjoint(weights)  # this is what lax.scan does


@pytest.mark.parametrize("name", ["elman", "gru", "cho_gru", "lstm", "side_by_side"])
def test_products_of_the_input_are_outside_the_loop(name: str) -> None:
    problem = PROBLEMS[name]
    ours = products_inside(jax.make_jaxpr(jax.grad(lambda p: problem.loss(scan, p)))(P).jaxpr)
    theirs = products_inside(jax.make_jaxpr(jax.grad(lambda p: problem.loss(lax.scan, p)))(P).jaxpr)
    assert not any((BATCH, INPUT) in shapes for shapes in ours)
    assert any({(BATCH, INPUT), (BATCH, INPUT + 1 + HIDDEN)} & set(shapes) for shapes in theirs)
    assert (
        len(ours) == {"elman": 2, "gru": 2, "cho_gru": 4, "lstm": 2, "side_by_side": 4}[name]
    )  # forward, and back to the state


def test_nothing_of_the_width_of_attention_is_kept_for_all_steps() -> None:
    steps, source, batch, hidden = 7, 30, 2, 8
    keys = jnp.ones((batch, source, hidden))
    p = {"u": jnp.eye(hidden), "v": jnp.ones(hidden), "keys": keys, "h": jnp.ones((batch, hidden))}

    def loss(s: Scan, p: Tree) -> Array:
        def step(h: Array, _: None):
            weights = jax.nn.softmax(jnp.tanh((h @ p["u"])[:, None] + p["keys"]) @ p["v"])
            h = jnp.tanh(jnp.einsum("bs,bsh->bh", weights, p["keys"]) @ p["u"])
            return h, h

        return s(step, p["h"], None, steps)[1].sum()

    wide = (steps, batch, source, hidden)
    ours, theirs = (jax.make_jaxpr(jax.grad(lambda p, s=s: loss(s, p)))(p).jaxpr for s in (scan, lax.scan))
    assert wide in {v.aval.shape for e in theirs.eqns for v in e.outvars}
    assert wide not in {v.aval.shape for e in ours.eqns for v in e.outvars}
    assert_equal(*(jax.grad(lambda p, s=s: loss(s, p))(p) for s in (scan, lax.scan)))


Unary = Callable[[Tree, Array], Array]
Binary = Callable[[Array, Array], Array]
UNARY: tuple[Unary, ...] = (
    lambda p, a: a @ p["u"],
    lambda p, a: a @ p["u"].T,
    lambda p, a: (p["u"][:, ::-1] @ a.T).T,
    lambda p, a: (a @ p["u3"])[:, 3 : 3 + HIDDEN],
    lambda p, a: sum(jnp.split(a @ p["u3"] + p["b3"], 3, -1)),  # type: ignore[return-value]
    lambda p, a: a @ jnp.sin(p["u"]) + a[:, :2] @ p["u"][:2],
    lambda p, a: (a @ p["u3"]).reshape(BATCH, HIDDEN, 3).max(-1),
    lambda p, a: p["table"][jnp.argmax(a, -1)],
    lambda p, a: a + p["b"],
    lambda p, a: jnp.tanh(a),
    lambda p, a: jax.nn.relu(a),
    lambda p, a: jax.nn.softmax(a),
    lambda p, a: jnp.concatenate([a[:, 2:], a[:, :2]], -1),
    lambda p, a: a.sum(0, keepdims=True) * jnp.ones((BATCH, 1)),
    lambda p, a: jnp.where(MASK, a, p["b"]),
    lambda p, a: lax.stop_gradient(a) @ p["u"],
    lambda p, a: lax.cond(a.sum() > 0, lambda b: b @ p["u"], lambda b: b * 0.5, a),
    lambda p, a: jnp.where(jax.random.bernoulli(KEY, 0.5, a.shape), a, 0),
    lambda p, a: p["b"] * jnp.ones((BATCH, 1)) @ p["u"],
)
BINARY: tuple[Binary, ...] = (jnp.add, jnp.multiply, jnp.subtract, lambda a, b: (a @ b.T) @ b)


def random_step(program: list[tuple[int, int, int]], ends: tuple[int, int, int, int]) -> Any:
    """A step whose every value is (batch, hidden): each line applies one operation to earlier values."""

    def of(p: Tree) -> Any:
        def step(carry: tuple[Array, Array], x: Array):
            values = [carry[0], x, carry[1]]
            for operation, i, j in program:
                a, b = values[i % len(values)], values[j % len(values)]
                k = operation % (len(UNARY) + len(BINARY))
                values.append(UNARY[k](p, a) if k < len(UNARY) else 0.3 * BINARY[k - len(UNARY)](a, b))
            c, d, y, z = (values[-1 - (e % len(values))] for e in ends)
            return (jnp.tanh(c), jnp.tanh(d)), (y, jnp.tanh(z))

        return step

    return of


@pytest.mark.parametrize("seed", range(6))
def test_random_programs(seed: int) -> None:
    draw = np.random.default_rng(seed)
    order = np.random.default_rng(seed // 2).permutation(len(UNARY) + len(BINARY))
    operations = np.array_split(order, 2)[seed % 2].tolist()  # those of two programs are all there are
    # Half of them go on with the value before, so that few come to nothing.
    places = [(n + 2 if draw.random() < 0.5 else int(draw.integers(99)), int(draw.integers(99))) for n in range(12)]
    program = [(operation, *place) for operation, place in zip(operations, places, strict=False)]
    ends, reverse = (0, *draw.integers(99, size=3).tolist()), bool(draw.integers(2))
    p = P | {"x": jnp.tile(P["x"], (1, 1, 3))[:, :, :HIDDEN]}
    problem = Problem(random_step(program, ends), two, options=(("reverse", reverse),))
    losses = [jax.value_and_grad(lambda p, s=s: problem.loss(s, p)) for s in (scan, lax.scan)]
    ours, theirs = jax.jit(lambda p: [loss(p) for loss in losses])(p)
    assert_equal(ours, theirs, 1e-4)
