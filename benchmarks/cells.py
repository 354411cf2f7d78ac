"""Cells as a user writes them who wants them short: one concatenation, one product. None of our advice is followed."""

from __future__ import annotations

from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq import Cell, module


@module
class ConcatenatedLSTM(Cell):
    """The LSTM with one weight: [x, h] @ w + b, cut into four gates. w (input + hidden, 4 hidden)."""

    w: Array
    b: Array

    @classmethod
    def init(cls, key: Array, input_size: int, hidden_size: int) -> Self:
        """Glorot weights."""
        shape = (input_size + hidden_size, 4 * hidden_size)
        return cls(w=jax.nn.initializers.glorot_uniform()(key, shape), b=jnp.zeros(shape[1]))

    def initial_state(self, batch: int) -> tuple[Array, Array]:
        """Zeros."""
        zeros = jnp.zeros((batch, self.b.shape[0] // 4), self.b.dtype)
        return zeros, zeros

    def step(self, state: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], Array]:
        """(h, c), x -> (h, c), h."""
        h, c = state
        i, f, g, o = jnp.split(jnp.concatenate([x, h], -1) @ self.w + self.b, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


@module
class ConcatenatedGRU(Cell):
    """The GRU of the textbooks: [x, h] @ w for the gates, [x, r * h] @ v for the candidate; as many operations."""

    w: Array
    v: Array
    b: Array

    @classmethod
    def init(cls, key: Array, input_size: int, hidden_size: int) -> Self:
        """Glorot weights."""
        make, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(key)
        return cls(
            w=make(keys[0], (input_size + hidden_size, 2 * hidden_size)),
            v=make(keys[1], (input_size + hidden_size, hidden_size)),
            b=jnp.zeros(3 * hidden_size),
        )

    def initial_state(self, batch: int) -> Array:
        """Zeros."""
        return jnp.zeros((batch, self.v.shape[1]), self.b.dtype)

    def step(self, state: Array, x: Array) -> tuple[Array, Array]:
        """h, x -> h, h."""
        hidden = state.shape[-1]
        gates = jax.nn.sigmoid(jnp.concatenate([x, state], -1) @ self.w + self.b[: 2 * hidden])
        r, z = jnp.split(gates, 2, axis=-1)
        n = jnp.tanh(jnp.concatenate([x, r * state], -1) @ self.v + self.b[2 * hidden :])
        h = (1 - z) * n + z * state
        return h, h
