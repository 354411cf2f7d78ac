"""Recurrent cells with layer normalisation (Ba, Kiros and Hinton 2016): states that keep their size through time.

With mean m and variance v of x over the last axis, LN(x; s) = s * (x - m) / sqrt(v + epsilon); shifts are the biases.
"""

from __future__ import annotations

from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import Key
from seq2seq.nn.cells import GRU, LSTM, LSTMState, check_width


@module
class NormLSTM(LSTM):
    """The LSTM with layer normalisation (Ba et al. 2016, equations 20 to 22).

    i, f, g, o = LN(x @ w; s_x) + LN(h @ u; s_h) + b    (all four gates are one vector to LN)
    c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h' = sigmoid(o) * tanh(LN(c'; s_c) + b_c)

    Shapes: w (input, 4 hidden), u (hidden, 4 hidden), b, s_x and s_h (4 hidden,), in the order i, f, g, o; s_c and b_c
    (hidden,). The state is (h, c), the output h'. The forget bias begins at 1.

    Raises:
        ShapeError: x is not of the width that the cell was made for.

    Example:
        >>> cell = NormLSTM.init(jax.random.key(0), 3, 5)
        >>> (h, c), y = cell.step(cell.initial_state(2), jnp.ones((2, 3)))
        >>> h.shape, c.shape
        ((2, 5), (2, 5))
    """

    s_x: Array
    s_h: Array
    s_c: Array
    b_c: Array
    epsilon: float = 1e-5

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        """As `LSTM`; scales 1."""
        plain, gates = LSTM.init(key, input_size, hidden_size), jnp.ones(4 * hidden_size)
        one, none = jnp.ones(hidden_size), jnp.zeros(hidden_size)
        return cls(w=plain.w, u=plain.u, b=plain.b, s_x=gates, s_h=gates, s_c=one, b_c=none)

    def step(self, state: LSTMState, x: Array) -> tuple[LSTMState, Array]:
        """(h, c), (batch, input) -> (h', c'), h'."""
        check_width("NormLSTM.step", x, self.w)
        gates = _norm(x @ self.w, self.s_x, self.epsilon) + _norm(state.h @ self.u, self.s_h, self.epsilon) + self.b
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(_norm(c, self.s_c, self.epsilon) + self.b_c)
        return LSTMState(h, c), h


@module
class NormGRU(GRU):
    """The GRU with layer normalisation, the reset gate after the product (Ba et al. 2016, supplement, "GRU").

    r, z = sigmoid(LN(x @ w_rz; s_x) + LN(h @ u_rz; s_h) + b_rz)    (both gates are one vector to LN)
    n    = tanh(LN(x @ w_n; s_x) + b_n + r * (LN(h @ u_n; s_h) + c))
    h'   = (1 - z) * n + z * h

    Shapes: w (input, 3 hidden), u (hidden, 3 hidden), b, s_x and s_h (3 hidden,) in the order r, z, n; c (hidden,).

    Raises:
        ShapeError: x is not of the width that the cell was made for.

    Example:
        >>> cell = NormGRU.init(jax.random.key(0), 3, 5)
        >>> h, y = cell.step(cell.initial_state(2), jnp.ones((2, 3)))
        >>> h.shape
        (2, 5)
    """

    s_x: Array
    s_h: Array
    epsilon: float = 1e-5

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        """As `GRU`; scales 1."""
        plain, one = GRU.init(key, input_size, hidden_size), jnp.ones(3 * hidden_size)
        return cls(w=plain.w, u=plain.u, b=plain.b, c=plain.c, s_x=one, s_h=one)

    def step(self, state: Array, x: Array) -> tuple[Array, Array]:
        """(batch, hidden), (batch, input) -> (batch, hidden) twice."""
        check_width("NormGRU.step", x, self.w)
        width = self.u.shape[0]
        x_rz, x_n = self._normed(x @ self.w, self.s_x, 2 * width)
        h_rz, h_n = self._normed(state @ self.u, self.s_h, 2 * width)
        r, z = jnp.split(jax.nn.sigmoid(x_rz + h_rz + self.b[: 2 * width]), 2, axis=-1)
        n = jnp.tanh(x_n + self.b[2 * width :] + r * (h_n + self.c))
        h = (1 - z) * n + z * state
        return h, h

    def _normed(self, product: Array, scale: Array, gates: int) -> tuple[Array, Array]:
        """Gates and candidate, each normalised by itself."""
        return (
            _norm(product[..., :gates], scale[:gates], self.epsilon),
            _norm(product[..., gates:], scale[gates:], self.epsilon),
        )


def _norm(x: Array, scale: Array, epsilon: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return scale * centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
