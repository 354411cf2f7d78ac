"""How weights begin."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.seams import Key


def glorot(key: Key, inputs: int, outputs: int, blocks: int = 1) -> Array:
    """U(-a, a) with a = sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010, equation 16).

    The result is (inputs, blocks * outputs): each block of columns, such as a gate, is scaled as a matrix of its own.

    Example:
        >>> glorot(jax.random.key(0), 5, 3, blocks=4).shape
        (5, 12)
    """
    limit = math.sqrt(6 / (inputs + outputs))
    return jax.random.uniform(key, (inputs, blocks * outputs), minval=-limit, maxval=limit)


def orthogonal(key: Key, size: int, blocks: int = 1) -> Array:
    """(size, blocks * size): each block a random orthogonal matrix (Saxe et al. 2014), which keeps norms through time.

    Example:
        >>> q = orthogonal(jax.random.key(0), 4)
        >>> bool(jnp.allclose(q @ q.T, jnp.eye(4), atol=1e-5))
        True
    """
    make = jax.nn.initializers.orthogonal()
    return jnp.concatenate([make(k, (size, size), jnp.float32) for k in jax.random.split(key, blocks)], axis=1)
