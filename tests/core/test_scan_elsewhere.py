"""scan where other parts of JAX are at work too: steps with derivatives of their own, and shard_map."""

from __future__ import annotations

from typing import Any

import jax
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
