"""What `scan` keeps: at most 1.1 times the temporary memory of `lax.scan`, as XLA compiles it for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import Array, lax
from jax import numpy as jnp
from scan_problems import Scan, Tree, gru

from seq2seq.core.scan import scan


def temporary_bytes(f: Any, *arguments: Any) -> int:
    return jax.jit(f).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def assert_memory_is_that_of_lax_scan(loss: Callable[[Scan, Tree], Array], p: Tree) -> None:
    for transformed in (lambda f: f, jax.grad):
        ours, theirs = (temporary_bytes(transformed(lambda p, s=s: loss(s, p)), p) for s in (scan, lax.scan))
        assert 0 < ours <= 1.1 * theirs


def gru_weights(size: int, hidden: int) -> Tree:
    return {"w3": jnp.ones((size, 3 * hidden)), "b3": jnp.ones(3 * hidden), "u3": jnp.ones((hidden, 3 * hidden))}


def test_memory_of_a_cell() -> None:
    p = gru_weights(64, 128) | {"x": jnp.ones((20, 8, 64)), "h": jnp.ones((8, 128))}
    assert_memory_is_that_of_lax_scan(lambda s, p: jnp.square(s(gru(p), p["h"], p["x"])[1]).sum(), p)


def test_memory_of_a_step_with_its_own_readout_and_loss() -> None:
    ids = jnp.zeros((16, 8), int)
    p = gru_weights(32, 32) | {"x": jnp.ones((16, 8, 32)), "h": jnp.ones((8, 32)), "v": jnp.ones((32, 2000))}

    def loss(s: Scan, p: Tree) -> Array:
        def step(h: Array, x: Any):
            h, y = gru(p)(h, x[0])
            return h, -jnp.take_along_axis(jax.nn.log_softmax(y @ p["v"]), x[1][:, None], -1).sum()

        return s(step, p["h"], (p["x"], ids))[1].sum()

    assert_memory_is_that_of_lax_scan(loss, p)
    hoisted = jax.make_jaxpr(jax.grad(lambda p: loss(scan, p)))(p).jaxpr
    assert not any(v.aval.shape == (16, 8, 2000) for e in hoisted.eqns for v in e.outvars)  # no stack of logits
