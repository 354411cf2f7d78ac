"""A recurrent cell of your own, trained by the command line. The cell itself is ten lines.

    seq2seq train pairs.tsv --out run --model.cell examples/my_cell.py:MinimalGRU
    echo "some input" | seq2seq generate run --types examples/my_cell.py:MinimalGRU

`scan` reads what `step` does: in training x @ self.w, which depends on no state, is one product of all time steps
before the loop, and the gradient of self.u one product after it. You need not write the cell any other way.
"""

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq import Cell, module


@module
class MinimalGRU(Cell):
    """A gated unit with one gate (Zhou et al. 2016): f forgets, and also resets."""

    w: Array  # (input, 2 hidden)
    u: Array  # (hidden, hidden) for the gate
    u_n: Array  # (hidden, hidden) for the candidate
    b: Array  # (2 hidden,)

    @classmethod
    def init(cls, key, input_size: int, hidden_size: int):
        k, make = jax.random.split(key, 3), jax.nn.initializers.orthogonal()
        square = (hidden_size, hidden_size)
        return cls(
            w=make(k[0], (input_size, 2 * hidden_size)),
            u=make(k[1], square),
            u_n=make(k[2], square),
            b=jnp.zeros(2 * hidden_size),
        )

    def initial_state(self, batch: int):
        return jnp.zeros((batch, self.u.shape[0]))

    def step(self, h, x):
        x_f, x_n = jnp.split(x @ self.w + self.b, 2, axis=-1)
        f = jax.nn.sigmoid(x_f + h @ self.u)
        h = (1 - f) * h + f * jnp.tanh(x_n + (f * h) @ self.u_n)
        return h, h
