"""Attention of your own, trained by the command line, with the built-in model around it.

    seq2seq train pairs.tsv --out run --model.attention examples/my_attention.py:Cosine
    seq2seq plot run --attention "some input" --types examples/my_attention.py:Cosine

`keys` is computed once for each sentence, `scores` once for each token that is written; the softmax over the tokens of
the source, padding left out, is not yours to write.
"""

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq import Attention, module


@module
class Cosine(Attention):
    """score = scale * cos(q, a @ w), with a scale that is learnt (as Luo et al. 2018 take the cosine of layers)."""

    w: Array  # (annotation, query)
    scale: Array  # ()

    @classmethod
    def init(cls, key, query_size: int, annotation_size: int):
        make = jax.nn.initializers.orthogonal()
        return cls(w=make(key, (annotation_size, query_size)), scale=jnp.asarray(10.0, jnp.float32))

    def keys(self, values):  # (batch, source, annotation)
        return _of_length_one(values @ self.w)

    def scores(self, query, keys):  # (batch, query), (batch, source, query) -> (batch, source)
        return self.scale * jnp.einsum("bq,bsq->bs", _of_length_one(query), keys)


def _of_length_one(x):
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis=-1, keepdims=True) + 1e-6)
