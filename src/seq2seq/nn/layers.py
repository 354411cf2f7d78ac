"""Layers without time: each works on the last axis and leaves the leading axes free."""

from __future__ import annotations

import math
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import NDArray

from seq2seq.core.module import module
from seq2seq.core.seams import Key
from seq2seq.nn.cells import check_width
from seq2seq.nn.initializers import glorot


@module
class FF:
    """A feed-forward layer: y = x @ w + b, with x (..., input) and y (..., output).

    Raises:
        ShapeError: x is not of the width that the layer was made for.

    Example:
        >>> FF.init(jax.random.key(0), 3, 5)(jnp.ones((7, 2, 3))).shape
        (7, 2, 5)
    """

    w: Array
    b: Array

    @classmethod
    def init(cls, key: Key, input_size: int, output_size: int) -> Self:
        """Glorot weights, zero bias."""
        return cls(w=glorot(key, input_size, output_size), b=jnp.zeros(output_size))

    def __call__(self, x: Array) -> Array:
        """(..., input) -> (..., output)."""
        check_width("FF", x, self.w)
        return x @ self.w + self.b


@module
class Embedding:
    """A vector for each id: y = scale * table[ids], with ids of any shape and y (..., width).

    `init` makes rows with a norm of about 1, as an output layer wants them, and scale = sqrt(width) / 2 (Vaswani et al.
    2017, section 3.4, without the half), so that what a cell reads has elements of about 1/2 and counts from the first
    update on.

    Example:
        >>> Embedding.init(jax.random.key(0), 10, 4)(jnp.array([[1, 2, 3]])).shape
        (1, 3, 4)
    """

    table: Array
    scale: float = 1.0

    @classmethod
    def init(cls, key: Key, vocabulary: int, width: int) -> Self:
        """N(0, 1 / width), and sqrt(width) / 2 to scale it by."""
        return cls(table=jax.random.normal(key, (vocabulary, width)) * width**-0.5, scale=width**0.5 / 2)

    def __call__(self, ids: Array | NDArray[Any]) -> Array:
        """(...) ids -> (..., width)."""
        return self.scale * self.table[ids]

    def logits(self, x: Array) -> Array:
        """The table as an output layer, x @ table.T: (..., width) -> (..., vocabulary) (Press and Wolf 2017)."""
        return x @ self.table.T


@module
class Maxout:
    """The largest of several pieces: y_i = max_j (x @ w + b)_ij (Goodfellow et al. 2013).

    Shapes: w (input, units * pieces); x (..., input); y (..., units).

    Example:
        >>> Maxout.init(jax.random.key(0), 3, 5)(jnp.ones((2, 3))).shape
        (2, 5)
    """

    w: Array
    b: Array
    pieces: int = 2

    @classmethod
    def init(cls, key: Key, input_size: int, units: int, pieces: int = 2) -> Self:
        """Glorot weights, zero bias."""
        return cls(w=glorot(key, input_size, units, blocks=pieces), b=jnp.zeros(units * pieces), pieces=pieces)

    def __call__(self, x: Array) -> Array:
        """(..., input) -> (..., units)."""
        check_width("Maxout", x, self.w)
        y = x @ self.w + self.b
        return y.reshape(*y.shape[:-1], -1, self.pieces).max(-1)


@module
class LayerNorm:
    """y = scale * (x - mean) / sqrt(variance + epsilon) + shift, over the last axis (Ba et al. 2016).

    Example:
        >>> y = LayerNorm.init(4)(jnp.array([[1.0, 2.0, 3.0, 4.0]]))
        >>> bool(jnp.allclose(y.mean(), 0, atol=1e-6))
        True
    """

    scale: Array
    shift: Array
    epsilon: float = 1e-5

    @classmethod
    def init(cls, width: int) -> Self:
        """Scale 1, shift 0."""
        return cls(scale=jnp.ones(width), shift=jnp.zeros(width))

    def __call__(self, x: Array) -> Array:
        """(..., width) -> (..., width)."""
        check_width("LayerNorm", x, self.scale)
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return self.scale * centred * jax.lax.rsqrt(variance + self.epsilon) + self.shift


def dropout(key: Key | None, rate: float, x: Array, variational: bool = False) -> Array:
    """Zero each element with probability `rate` and scale the rest by 1 / (1 - rate) (Srivastava et al. 2014).

    `key=None` is evaluation: x comes back as it is. With `variational` x is (time, ...), and what is zeroed is the same
    at every time (Gal and Ghahramani 2016).

    Example:
        >>> bool((dropout(None, 0.5, jnp.ones(3)) == 1).all())
        True
    """
    if key is None or rate == 0:
        return x
    return x * dropout_mask(key, rate, (1, *x.shape[1:]) if variational else x.shape).astype(x.dtype)


def dropout_mask(key: Key, rate: float, shape: tuple[int, ...]) -> Array:
    """Zeros with probability `rate`, else 1 / (1 - rate): what dropout multiplies by, 1 in the mean.

    The rate is rounded to a multiple of 1 / 65,536: random bits cost more than the rest of a mask, and half a word of
    them an element is enough.

    Example:
        >>> sorted(set(dropout_mask(jax.random.key(0), 0.5, (99,)).tolist()))
        [0.0, 2.0]
    """
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size].reshape(shape)
    zeros = round(rate * 65536)
    return jnp.where(halves.astype(jnp.uint32) < zeros, 0.0, 65536 / max(1, 65536 - zeros)).astype(jnp.float32)


def drop_tokens(key: Key | None, rate: float, ids: Array, embedded: Array) -> Array:
    """Dropout of whole tokens: (time, batch) ids and what they are embedded as, (time, batch, width).

    Each sequence lacks some tokens of the vocabulary, wherever they stand in it (Gal and Ghahramani 2016, section 4.2;
    "embedding dropout" in Merity et al. 2018): their vectors are zeroed, the others scaled by 1 / (1 - rate). What is
    drawn depends on the row and the id alone, so that no mask of the whole vocabulary is made.

    Example:
        >>> ids = jnp.array([[4], [5], [4], [5]])
        >>> left = drop_tokens(jax.random.key(0), 0.5, ids, jnp.ones((4, 1, 3)))[:, 0, 0]
        >>> bool(left[0] == left[2]), bool(left[1] == left[3])
        (True, True)
    """
    if key is None or rate == 0:
        return embedded
    rows = jnp.broadcast_to(jax.random.split(key, ids.shape[1]), ids.shape)
    keys = jax.vmap(jax.vmap(jax.random.fold_in))(rows, ids)
    kept = jax.vmap(jax.vmap(lambda k: jax.random.bernoulli(k, 1 - rate)))(keys)
    return embedded * jnp.where(kept, 1 / (1 - rate), 0.0)[..., None].astype(embedded.dtype)


def split(key: Key | None, count: int) -> list[Key | None]:
    """`jax.random.split`, and as many times None for the None that stands for evaluation.

    Example:
        >>> split(None, 2)
        [None, None]
    """
    return [None] * count if key is None else list(jax.random.split(key, count))
