"""scan where other parts of JAX are at work too: steps with derivatives of their own, and shard_map."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.export
import numpy as np
import pytest
from jax import Array, lax
from jax import numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from scan_problems import P, Problem, Tree, gru

from seq2seq.core.scan import scan


@jax.custom_vjp
def held(x: Array) -> Array:
    """x, whose gradient is held between -0.1 and 0.1."""
    return x


held.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -0.1, 0.1),))


@pytest.mark.parametrize("where", ["state", "input", "readout"])
def test_a_step_may_have_a_derivative_of_its_own(where: str) -> None:
    def of(p: Tree, held: Any = held) -> Any:
        def step(h: Array, x: Array):
            h, y = gru(p)(held(h) if where == "state" else h, held(x @ p["w"]) @ p["w"].T if where == "input" else x)
            return h, held(y @ p["v"]) if where == "readout" else y @ p["v"]

        return step

    ours, theirs = (jax.jit(jax.value_and_grad(lambda p, s=s: Problem(of).loss(s, p)))(P) for s in (scan, lax.scan))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), ours, theirs)
    free = jax.jit(jax.grad(lambda p: Problem(lambda p: of(p, lambda x: x)).loss(scan, p)))(P)
    assert any(not np.allclose(x, y, atol=1e-3) for x, y in zip(free.values(), ours[1].values(), strict=True))


def assert_alike(loss: Any, *arguments: Any, rtol: float = 1e-5) -> None:
    """Values and gradients are those of lax.scan."""
    ours, theirs = (jax.jit(jax.value_and_grad(lambda *a, s=s: loss(s, *a)))(*arguments) for s in (scan, lax.scan))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), ours, theirs)


@pytest.mark.parametrize("weight", ["u", "b", "v", "m", "n"])
def test_a_derivative_of_ones_own_of_a_weight_sees_each_step(weight: str) -> None:
    def loss(s: Any, p: Tree, held: Any = held) -> Array:
        def step(h: Array, x: Array):
            q = p | {weight: held(jnp.broadcast_to(p[weight], (40, 4)) if weight in ("m", "n") else p[weight])}
            h = jnp.tanh((x * q["m"][0]) @ q["w"] + h @ q["u"] + q["b"])
            return h, ((h * q["n"][0]) @ q["v"]).sum()

        return s(step, jnp.zeros((2, 4)), jnp.ones((5, 2, 4)))[1].sum()

    p = {"u": 0.5 * jnp.eye(4), "w": jnp.eye(4), "b": jnp.ones(4), "v": jnp.ones((4, 3))}
    p |= {"m": jnp.ones((1, 4)), "n": jnp.ones((1, 4))}
    assert_alike(loss, p)
    free = jax.grad(lambda p: loss(scan, p, lambda x: x))(p)
    assert not np.allclose(free[weight], jax.grad(lambda p: loss(scan, p))(p)[weight], atol=1e-3)


def test_a_checkpoint_in_the_step_keeps_what_it_says() -> None:
    def loss(s: Any, u: Array) -> Array:
        @jax.checkpoint
        def deep(h: Array) -> Array:
            for _ in range(20):
                h = jnp.tanh(h @ u)
            return h

        def step(h: Array, x: Array):
            return deep(jnp.tanh(x + h @ u)), None

        return s(step, jnp.zeros((16, 32)), jnp.ones((64, 16, 32)))[0].sum()

    assert_alike(loss, jnp.eye(32))
    compiled = (jax.jit(jax.grad(lambda u, s=s: loss(s, u))).lower(jnp.eye(32)).compile() for s in (scan, lax.scan))
    memory: list[Any] = [one.memory_analysis() for one in compiled]
    assert memory[0].temp_size_in_bytes <= 1.5 * memory[1].temp_size_in_bytes


def test_complex_states_have_a_gradient() -> None:
    def loss(s: Any, w: Array) -> Array:
        u = jax.lax.complex(w, 0.3 * w.T)

        def step(h: Array, x: Array):
            h = x + h @ u
            h = h * (jax.nn.relu(jnp.abs(h) - 0.1) / jnp.abs(h)).astype(h.dtype)  # modReLU (Arjovsky et al. 2016)
            return h, h

        return jnp.abs(s(step, jnp.ones((2, 3), jnp.complex64), jnp.ones((5, 2, 3), jnp.complex64))[1]).sum()

    assert_alike(loss, 0.3 * jnp.eye(3))

    def of_input(s: Any, x: Array) -> Array:
        def step(h: Array, x: Array):
            h = jnp.tanh(jnp.abs(x) + h @ jnp.eye(3))
            return h, h

        return s(step, jnp.ones((2, 3)), jax.lax.complex(x, 2 * x))[1].sum()

    assert_alike(of_input, jnp.ones((5, 2, 3)))


def test_what_lies_side_by_side_has_the_same_value_in_16_bits() -> None:
    def loss(s: Any, w: Array) -> Array:
        def step(h: Array, x: Array):
            return jnp.tanh(jnp.concatenate([x, h], -1) @ w), None

        return s(step, jnp.full((1, 1), 250, jnp.float16), jnp.full((1, 1, 1), 250, jnp.float16))[0].sum()

    w = jnp.array([[300], [-300]], jnp.float16)  # either product alone is more than 65,504
    twice = lambda s, w: loss(lambda f, h, x: s(f, h, jnp.repeat(x, 2, 0)), w)  # noqa: E731
    assert np.isfinite(jax.value_and_grad(lambda w: twice(scan, w))(w)[0])
    assert_alike(twice, w)


def test_sizes_may_be_symbols() -> None:
    def loss(p: Tree, x: Array) -> Array:
        return scan(gru(p), jnp.zeros((x.shape[1], len(p["u"]))), x)[0].sum()

    sizes = jax.export.symbolic_shape("time, batch")
    x = jax.ShapeDtypeStruct((*sizes, P["x"].shape[-1]), jnp.float32)
    exported = jax.export.export(jax.jit(jax.grad(loss)))(P, x)
    assert jax.tree.structure(exported.call(P, P["x"])) == jax.tree.structure(P)


def test_on_an_explicit_mesh_and_without_jit_it_is_lax_scan() -> None:
    mesh = jax.make_mesh((1,), ("device",), axis_types=(AxisType.Explicit,))
    laid = P | {"x": jax.device_put(P["x"], jax.NamedSharding(mesh, PartitionSpec(None, "device")))}
    ours, theirs = (
        jax.jit(lambda p, s=s: jax.jvp(lambda p: Problem(gru).loss(s, p), (p,), (p,)))(laid) for s in (scan, lax.scan)
    )
    np.testing.assert_array_equal(ours, theirs)
    with jax.disable_jit():
        found = scan(lambda h, x: (h + 1, x) if h < 1 else (h, -x), jnp.zeros(()), jnp.ones(3))[1]
    np.testing.assert_array_equal(found, [1, -1, -1])


def test_a_carry_that_takes_arrays_alone_is_never_made_of_anything_else() -> None:
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Strict:
        h: Array

        def __post_init__(self) -> None:
            self.h = jnp.asarray(self.h)

    last, _ = scan(lambda c, x: (Strict(c.h + x), None), Strict(jnp.zeros(2)), jnp.ones((3, 2)))
    np.testing.assert_array_equal(last.h, [3, 3])


def test_on_parts_of_an_array_in_shard_map_it_is_lax_scan() -> None:
    mesh, rows = jax.make_mesh((1,), ("device",), axis_types=(AxisType.Auto,)), PartitionSpec("device")

    def loss(s: Any, p: Tree) -> Array:
        specs = (rows, PartitionSpec(None, "device"))
        return jax.shard_map(lambda h, x: s(gru(p), h, x)[0], mesh=mesh, in_specs=specs, out_specs=rows)(
            p["h"], p["x"]
        ).sum()

    ours, theirs = (str(jax.make_jaxpr(jax.grad(lambda p, s=s: loss(s, p)))(P)) for s in (scan, lax.scan))
    assert ours == theirs
    whole = [str(jax.make_jaxpr(jax.grad(lambda p, s=s: Problem(gru).loss(s, p)))(P)) for s in (scan, lax.scan)]
    assert whole[0] != whole[1]  # or the above would say nothing
