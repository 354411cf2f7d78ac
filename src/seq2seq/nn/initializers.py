"""How weights begin."""

from __future__ import annotations

import math
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import KeyPath

from seq2seq.core.module import leaf_name
from seq2seq.core.seams import Key

T = TypeVar("T")
_RECURRENT = ("u", "u_n")
"""The names of the weights that cells multiply their state by."""


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
    return jnp.concatenate([make(k, (size, size)) for k in jax.random.split(key, blocks)], axis=1)


def is_recurrent(name: str) -> bool:
    """Whether a leaf of this name multiplies a cell's state: its `u` or `u_n`, not the `u` of an attention.

    Example:
        >>> is_recurrent("decoder/cell/u"), is_recurrent("cell/attention/u"), is_recurrent("cell/w")
        (True, False, False)
    """
    *above, last = name.split("/")
    return last in _RECURRENT and "attention" not in above


def redrawn(model: T, key: Key, uniform: float = 0.0, normal: float = 0.0) -> T:
    """The model with other parameters, drawn as the papers drew theirs.

    uniform: every parameter from U(-uniform, uniform) (Sutskever et al. 2014, section 3.4; Luong et al. 2015, 4.1),
    but the scales of layer normalisation, which their models lack (`scale`, and `s_x` and its like of a cell), stay 1.
    normal: matrices from N(0, normal^2), those of an attention from N(0, (normal / 10)^2) and its v zero, while
    recurrent ones (`u` and `u_n` of a cell) and biases stay (Cho et al. 2014, 4.1; Bahdanau et al. 2015, B.1).

    Example:
        >>> model = redrawn({"w": jnp.zeros((9, 9)), "b": jnp.zeros(9)}, jax.random.key(0), normal=0.01)
        >>> bool(model["w"].std() > 0.005), float(model["b"].sum())
        (True, 0.0)
    """
    leaves, _ = jax.tree.flatten(model)
    keys = iter(jax.random.split(key, max(1, len(leaves))))

    def drawn(path: KeyPath, leaf: Array) -> Array:
        k, whole = next(keys), leaf_name(path)
        name = whole.split("/")
        if uniform and (name[-1] == "scale" or name[-1].startswith("s_")):
            return leaf
        if uniform:
            return jax.random.uniform(k, leaf.shape, leaf.dtype, -uniform, uniform)
        attention = "attention" in name
        if attention and name[-1] == "v":
            return jnp.zeros_like(leaf)
        if leaf.ndim < 2 or is_recurrent(whole):
            return leaf
        return jax.random.normal(k, leaf.shape, leaf.dtype) * (normal / 10 if attention else normal)

    return jax.tree_util.tree_map_with_path(drawn, model)
