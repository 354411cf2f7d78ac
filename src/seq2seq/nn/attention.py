"""Attention: where in the source to look. `prepare` once a sentence, `attend` once a target token; nothing is stored.

A query is (batch, query); the annotations that the encoder made are (source, batch, annotation). Weights sum to 1 over
the tokens of the source; a source without tokens has weights 0 and context 0, in gradients too.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import Key
from seq2seq.nn.initializers import glorot


class Prepared(NamedTuple):
    """What never changes while decoding, batch first.

    Attributes:
        keys: (batch, source, key) what queries are held against.
        values: (batch, source, annotation) what is averaged.
        mask: (batch, source) true on tokens.
    """

    keys: Array
    values: Array
    mask: Array


@runtime_checkable
class Attention(Protocol):
    """Scores of a query against each annotation."""

    @classmethod
    def init(cls, key: Key, query_size: int, annotation_size: int, /) -> Self:
        """A fresh attention for these widths."""
        ...

    def keys(self, values: Array, /) -> Array:
        """(batch, source, annotation) -> (batch, source, key): the part of the score that no query changes."""
        ...

    def scores(self, query: Array, keys: Array, /) -> Array:
        """(batch, query), (batch, source, key) -> (batch, source)."""
        ...


@module
class Additive(Attention):
    """score = tanh(q @ w + a @ u + b) @ v (Bahdanau et al. 2015, section A.1.2).

    Shapes: w (query, hidden), u (annotation, hidden), b and v (hidden,).

    Example:
        >>> attention = Additive.init(jax.random.key(0), 3, 5)
        >>> prepared = prepare(attention, jnp.ones((7, 2, 5)), jnp.array([7, 4]))
        >>> context, weights = attend(attention, jnp.ones((2, 3)), prepared)
        >>> context.shape, float(weights[1, 4:].sum())
        ((2, 5), 0.0)
    """

    w: Array
    u: Array
    b: Array
    v: Array

    @classmethod
    def init(cls, key: Key, query_size: int, annotation_size: int) -> Self:
        """As many hidden units as the query is wide."""
        kw, ku, kv = jax.random.split(key, 3)
        return cls(
            w=glorot(kw, query_size, query_size),
            u=glorot(ku, annotation_size, query_size),
            b=jnp.zeros(query_size),
            v=glorot(kv, query_size, 1)[:, 0],
        )

    def keys(self, values: Array) -> Array:
        """a @ u + b."""
        return values @ self.u + self.b

    def scores(self, query: Array, keys: Array) -> Array:
        """tanh(q @ w + keys) @ v."""
        return jnp.tanh((query @ self.w)[:, None] + keys) @ self.v


@module
class Dot(Attention):
    """score = q . a (Luong et al. 2015, equation 8, "dot"); needs query and annotation of one width.

    Example:
        >>> Dot.init(jax.random.key(0), 3, 3).scores(jnp.ones((2, 3)), jnp.ones((2, 7, 3))).shape
        (2, 7)
    """

    @classmethod
    def init(cls, key: Key, query_size: int, annotation_size: int) -> Self:
        """No weights."""
        return cls()

    def keys(self, values: Array) -> Array:
        """The annotations themselves."""
        return values

    def scores(self, query: Array, keys: Array) -> Array:
        """The inner product of the query with each annotation."""
        return jnp.einsum("bk,bsk->bs", query, keys)


@module
class General(Attention):
    """score = q . (a @ w) (Luong et al. 2015, equation 8, "general").

    Shapes: w (annotation, query).

    Example:
        >>> attention = General.init(jax.random.key(0), 3, 5)
        >>> attention.scores(jnp.ones((2, 3)), attention.keys(jnp.ones((2, 7, 5)))).shape
        (2, 7)
    """

    w: Array

    @classmethod
    def init(cls, key: Key, query_size: int, annotation_size: int) -> Self:
        """Glorot weights."""
        return cls(w=glorot(key, annotation_size, query_size))

    def keys(self, values: Array) -> Array:
        """a @ w."""
        return values @ self.w

    def scores(self, query: Array, keys: Array) -> Array:
        """The inner product of the query with each key."""
        return jnp.einsum("bk,bsk->bs", query, keys)


def prepare(attention: Attention, annotations: Array, lengths: Array) -> Prepared:
    """What `attend` needs of the annotations, (source, batch, annotation), of sources of these lengths, (batch,)."""
    values = annotations.swapaxes(0, 1)
    mask = jnp.arange(values.shape[1]) < lengths[:, None]
    return Prepared(attention.keys(values), values, mask)


def attend(attention: Attention, query: Array, prepared: Prepared) -> tuple[Array, Array]:
    """The context, (batch, annotation), and the weights it averages by, (batch, source).

    weights = softmax(scores over the tokens of the source); context = sum_s weights_s * values_s
    """
    weights = masked_softmax(attention.scores(query, prepared.keys), prepared.mask)
    return jnp.einsum("bs,bsa->ba", weights, prepared.values), weights


def masked_softmax(scores: Array, mask: Array) -> Array:
    """exp(scores) / sum exp(scores) over the last axis where `mask`; all 0 where the whole mask is false.

    Example:
        >>> masked_softmax(jnp.zeros((2, 2)), jnp.array([[True, True], [False, False]])).tolist()
        [[0.5, 0.5], [0.0, 0.0]]
    """
    scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    exponentials = jnp.where(mask, jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True))), 0.0)
    total = exponentials.sum(-1, keepdims=True)
    # 1 and not something tiny: a derivative of the quotient divides by its square, which must not be 0.
    return exponentials / jnp.where(total > 0, total, 1.0)
