"""The encoder: source ids to annotations, one for each token, and a summary of the whole."""

from __future__ import annotations

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import Cell, Key, State
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.nn.layers import FF, Embedding, drop_tokens, dropout, split
from seq2seq.nn.recurrent import Bidirectional, unroll


class Encoded(NamedTuple):
    """What the encoder says of its sources.

    Attributes:
        annotations: (source, batch, hidden), in source order, 0 on padding.
        summary: (batch, hidden): the last output of each direction; 0 for a source without tokens.
        states: the last state of each layer.
    """

    annotations: Array
    summary: Array
    states: tuple[State, ...] = ()


@module
class Encoder:
    """Embedding and layers of recurrent cells, each layer in one direction or in both.

    Shapes: source (source, batch) ids and lengths (batch,) -> annotations (source, batch, hidden) and summary
    (batch, hidden). Both directions of a layer are hidden / 2 wide.

    Example:
        >>> encoder = Encoder.init(jax.random.key(0), 10, EncoderDecoderConfig(hidden=6, layers=2))
        >>> encoded = encoder(jnp.ones((7, 2), int), jnp.array([7, 4]))
        >>> encoded.annotations.shape, encoded.summary.shape
        ((7, 2, 6), (2, 6))
    """

    embedding: Embedding
    layers: tuple[Bidirectional | Cell, ...]
    reverse: bool = False
    residual: bool = False
    summarise: FF | None = None

    @classmethod
    def init(cls, key: Key, vocabulary: int, config: EncoderDecoderConfig) -> Self:
        """The encoder that `config` asks for, `config.annotation` wide whether it reads in one direction or in both.

        Where its summary is what every step sees, c = tanh(V h) of the last output h (Cho et al. 2014, section A.1.1).
        """
        key, ke = jax.random.split(key)
        wide = config.annotation
        widths = [config.embedding] + [wide] * (config.depth - 1)
        everywhere = config.feed == "summary"
        return cls(
            embedding=Embedding.init(ke, vocabulary, config.embedding),
            layers=tuple(
                Bidirectional.init(k, width, wide // 2, config.cell)
                if config.bidirectional
                else config.cell.init(k, width, wide)
                for k, width in zip(jax.random.split(key, config.depth), widths, strict=True)
            ),
            reverse=config.reverse_source,
            residual=config.residual,
            summarise=FF.init(jax.random.fold_in(key, config.depth), wide, wide) if everywhere else None,
        )

    def __call__(
        self,
        source: Array,
        lengths: Array,
        key: Key | None = None,
        rate: float = 0.0,
        variational: bool = False,
        token_rate: float = 0.0,
    ) -> Encoded:
        """Read the sources, with dropout at `rate` of units of what enters each layer and of the annotations.

        `token_rate` is that at which a source lacks a token (`drop_tokens`).
        """
        keys = split(key, len(self.layers) + 1)
        of_tokens = None if key is None else jax.random.fold_in(key, len(keys))
        xs = drop_tokens(of_tokens, token_rate, source, self.embedding(source))
        states = []
        for depth, (layer, k) in enumerate(zip(self.layers, keys[1:], strict=True)):
            state, ys = self._layer(layer, dropout(k, rate, xs, variational), lengths)
            xs = xs + ys if self.residual and depth else ys
            states.append(state)
        summary = self._ends(xs, lengths)
        if self.summarise is not None:
            summary = jnp.tanh(self.summarise(summary))
        return Encoded(dropout(keys[0], rate, xs, variational), summary, tuple(states))

    def _layer(self, layer: Bidirectional | Cell, xs: Array, lengths: Array) -> tuple[State, Array]:
        """The last state of one layer, and its outputs."""
        if isinstance(layer, Bidirectional):
            return layer(xs, lengths)
        return unroll(layer, xs, lengths, reverse=self.reverse)

    def _ends(self, ys: Array, lengths: Array) -> Array:
        """The output of each direction where it has read everything, (batch, hidden)."""
        if isinstance(self.layers[-1], Bidirectional):
            half = ys.shape[-1] // 2
            return jnp.concatenate([_last(ys[..., :half], lengths), ys[0, :, half:]], -1)
        return ys[0] if self.reverse else _last(ys, lengths)


def _last(ys: Array, lengths: Array) -> Array:
    """The output at each row's last token, (batch, hidden)."""
    return jnp.take_along_axis(ys, (lengths - 1).clip(0)[None, :, None], 0)[0]
