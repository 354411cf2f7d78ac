"""Recurrent cells. Each is its equation: `step` is exactly the body of `jax.lax.scan`.

In all of them x is (batch, input), h is (batch, hidden), `*` is by element and `@` is the matrix product. Gates lie
side by side in one matrix, so that a step makes one product with the input and one with the state.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import Cell, Key
from seq2seq.errors import ShapeError
from seq2seq.nn.initializers import glorot, orthogonal


@module
class Elman(Cell):
    """The simple recurrent network (Elman 1990).

    h' = tanh(x @ w + b + h @ u)

    Shapes: w (input, hidden), u (hidden, hidden), b (hidden,). The output is h'.

    Raises:
        ShapeError: x is not of the width that the cell was made for.

    Example:
        >>> cell = Elman.init(jax.random.key(0), 3, 5)
        >>> h, ys = jax.lax.scan(cell.step, cell.initial_state(2), jnp.ones((7, 2, 3)))
        >>> ys.shape
        (7, 2, 5)
    """

    w: Array
    u: Array
    b: Array

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        """Glorot input weights, orthogonal recurrent weights."""
        kw, ku = jax.random.split(key)
        return cls(w=glorot(kw, input_size, hidden_size), u=orthogonal(ku, hidden_size), b=jnp.zeros(hidden_size))

    def initial_state(self, batch: int) -> Array:
        """Zeros, (batch, hidden)."""
        return zeros(batch, self.u)

    def step(self, state: Array, x: Array) -> tuple[Array, Array]:
        """(batch, hidden), (batch, input) -> (batch, hidden) twice."""
        check_width("Elman.step", x, self.w)
        h = jnp.tanh(x @ self.w + self.b + state @ self.u)
        return h, h


@module
class GRU(Cell):
    """The gated recurrent unit with the reset gate after the product, as in cuDNN; one product with h a step.

    r  = sigmoid(x @ w_r + h @ u_r + b_r)
    z  = sigmoid(x @ w_z + h @ u_z + b_z)
    n  = tanh(x @ w_n + b_n + r * (h @ u_n + c))
    h' = (1 - z) * n + z * h

    (Chung et al. 2014 with the reset applied as in cuDNN, "linear before reset".)
    Shapes: w (input, 3 hidden) and b (3 hidden,) in the order r, z, n; u (hidden, 3 hidden); c (hidden,).

    Raises:
        ShapeError: x is not of the width that the cell was made for.

    Example:
        >>> cell = GRU.init(jax.random.key(0), 3, 5)
        >>> h, y = cell.step(cell.initial_state(2), jnp.ones((2, 3)))
        >>> h.shape
        (2, 5)
    """

    w: Array
    u: Array
    b: Array
    c: Array

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        """Glorot input weights, orthogonal recurrent weights, zero biases."""
        kw, ku = jax.random.split(key)
        return cls(
            w=glorot(kw, input_size, hidden_size, blocks=3),
            u=orthogonal(ku, hidden_size, blocks=3),
            b=jnp.zeros(3 * hidden_size),
            c=jnp.zeros(hidden_size),
        )

    def initial_state(self, batch: int) -> Array:
        """Zeros, (batch, hidden)."""
        return zeros(batch, self.u)

    def step(self, state: Array, x: Array) -> tuple[Array, Array]:
        """(batch, hidden), (batch, input) -> (batch, hidden) twice."""
        check_width("GRU.step", x, self.w)
        x_r, x_z, x_n = jnp.split(x @ self.w + self.b, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(state @ self.u, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * (h_n + self.c))
        h = (1 - z) * n + z * state
        return h, h


@module
class ChoGRU(Cell):
    """The gated unit of Cho et al. 2014, with the reset gate before the product; two dependent products a step.

    r  = sigmoid(x @ w_r + h @ u_r + b_r)               (equation 5)
    z  = sigmoid(x @ w_z + h @ u_z + b_z)               (equation 6)
    n  = tanh(x @ w_n + (r * h) @ u_n + b_n)            (equation 8)
    h' = z * h + (1 - z) * n                            (equation 7)

    Shapes: w (input, 3 hidden) and b (3 hidden,) in the order r, z, n; u (hidden, 2 hidden) in the order r, z;
    u_n (hidden, hidden).

    Raises:
        ShapeError: x is not of the width that the cell was made for.

    Example:
        >>> cell = ChoGRU.init(jax.random.key(0), 3, 5)
        >>> h, y = cell.step(cell.initial_state(2), jnp.ones((2, 3)))
        >>> h.shape
        (2, 5)
    """

    w: Array
    u: Array
    u_n: Array
    b: Array

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        """Glorot input weights, orthogonal recurrent weights, zero biases."""
        kw, ku, kn = jax.random.split(key, 3)
        return cls(
            w=glorot(kw, input_size, hidden_size, blocks=3),
            u=orthogonal(ku, hidden_size, blocks=2),
            u_n=orthogonal(kn, hidden_size),
            b=jnp.zeros(3 * hidden_size),
        )

    def initial_state(self, batch: int) -> Array:
        """Zeros, (batch, hidden)."""
        return zeros(batch, self.u)

    def step(self, state: Array, x: Array) -> tuple[Array, Array]:
        """(batch, hidden), (batch, input) -> (batch, hidden) twice."""
        check_width("ChoGRU.step", x, self.w)
        x_r, x_z, x_n = jnp.split(x @ self.w + self.b, 3, axis=-1)
        h_r, h_z = jnp.split(state @ self.u, 2, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + (r * state) @ self.u_n)
        h = z * state + (1 - z) * n
        return h, h


class LSTMState(NamedTuple):
    """The state of an `LSTM`: output h and cell c, each (batch, hidden)."""

    h: Array
    c: Array


@module
class LSTM(Cell):
    """The long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    i  = sigmoid(x @ w_i + b_i + h @ u_i)
    f  = sigmoid(x @ w_f + b_f + h @ u_f)
    g  = tanh(x @ w_g + b_g + h @ u_g)
    o  = sigmoid(x @ w_o + b_o + h @ u_o)
    c' = f * c + i * g
    h' = o * tanh(c')

    The forget bias b_f begins at 1 (Jozefowicz et al. 2015). The state is (h, c), the output h'.
    Shapes: w (input, 4 hidden), u (hidden, 4 hidden), b (4 hidden,), in the order i, f, g, o.

    Raises:
        ShapeError: x is not of the width that the cell was made for.

    Example:
        >>> cell = LSTM.init(jax.random.key(0), 3, 5)
        >>> (h, c), y = cell.step(cell.initial_state(2), jnp.ones((2, 3)))
        >>> h.shape, c.shape
        ((2, 5), (2, 5))
    """

    w: Array
    u: Array
    b: Array

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        """Glorot input weights, orthogonal recurrent weights, forget bias 1."""
        kw, ku = jax.random.split(key)
        return cls(
            w=glorot(kw, input_size, hidden_size, blocks=4),
            u=orthogonal(ku, hidden_size, blocks=4),
            b=jnp.zeros(4 * hidden_size).at[hidden_size : 2 * hidden_size].set(1.0),
        )

    def initial_state(self, batch: int) -> LSTMState:
        """Zeros, (batch, hidden) each."""
        return LSTMState(zeros(batch, self.u), zeros(batch, self.u))

    def step(self, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        """(h, c), (batch, input) -> (h', c'), h'."""
        check_width("LSTM.step", x, self.w)
        i, f, g, o = jnp.split(x @ self.w + self.b + state.h @ self.u, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return LSTMState(h, c), h


def zeros(batch: int, u: Array) -> Array:
    """(batch, hidden) zeros for recurrent weights u (hidden, ...)."""
    return jnp.zeros((batch, u.shape[0]), u.dtype)


def check_width(where: str, x: Array, w: Array) -> None:
    """Raise `ShapeError` unless x, (..., input), fits the input weights w, (input, ...)."""
    if x.shape[-1] != w.shape[0]:
        raise ShapeError(
            f"{where}: x has width {x.shape[-1]}, this was made for input {w.shape[0]} (w is {w.shape}); "
            "make it with the width of what feeds it."
        )
