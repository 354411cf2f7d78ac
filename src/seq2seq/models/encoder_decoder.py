"""`EncoderDecoder`: the papers' models and ours, from one configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module, named_leaves
from seq2seq.core.scan import scan
from seq2seq.core.seams import BatchLike, Cell, Key, Loss, Prediction
from seq2seq.errors import ConfigError
from seq2seq.models.config import SAMPLED_COPIES, EncoderDecoderConfig
from seq2seq.models.decoder import Decoder, DecoderMemory, DecoderState
from seq2seq.models.encoder import Encoder
from seq2seq.models.model import Model
from seq2seq.nn.initializers import is_recurrent, redrawn
from seq2seq.nn.layers import drop_tokens, dropout, split
from seq2seq.nn.loss import cross_entropy
from seq2seq.nn.recurrent import Stack, draw_cells, drop_between, drop_recurrent
from seq2seq.nn.sampled_softmax import draw_words, sampled_cross_entropy


@module
class EncoderDecoder(Model):
    """An encoder, a decoder, and whatever attention joins them (Cho 2014; Sutskever 2014; Bahdanau 2015; Luong 2015).

    Shapes: source (source, batch) ids; lengths, token (batch,); logits (batch, vocabulary); attention (batch, source),
    in source order however the encoder reads.

    Example:
        >>> model = EncoderDecoder.init(jax.random.key(0), 10, 12, EncoderDecoderConfig(hidden=6, embedding=4))
        >>> memory, state = model.start(jnp.ones((5, 2), int), jnp.array([5, 3]))
        >>> state, prediction = model.step(memory, state, jnp.array([2, 2]))
        >>> prediction.logits.shape, prediction.attention.shape
        ((2, 12), (2, 5))
    """

    encoder: Encoder
    decoder: Decoder
    dropout: float
    label_smoothing: float
    sampled_softmax: int = 0
    variational: bool = False
    recurrent_dropout: float = 0.0
    token_dropout: float = 0.0
    of_training = (
        *("dropout", "variational", "recurrent_dropout", "token_dropout"),
        *("label_smoothing", "sampled_softmax"),
    )

    def __post_init__(self) -> None:
        if self.sampled_softmax and self.decoder.pointer is not None:
            raise ConfigError(SAMPLED_COPIES)
        if self.recurrent_dropout:
            _check_recurrent(self.decoder.cell)

    @classmethod
    def init(
        cls,
        key: Key,
        source_vocabulary: int,
        target_vocabulary: int,
        config: EncoderDecoderConfig = EncoderDecoderConfig(),  # noqa: B008 (frozen)
        target_of_source: tuple[int, ...] = (),
    ) -> Self:
        """A fresh model for these vocabularies.

        `target_of_source` is wanted where `config.copy` is: for each id of the source the id of the same token in the
        target, or -1 where it has none; `range(vocabulary)` if both sides share one.
        """
        encoder_key, decoder_key = jax.random.split(key)
        model = cls(
            encoder=Encoder.init(encoder_key, source_vocabulary, config),
            decoder=Decoder.init(decoder_key, target_vocabulary, config, target_of_source),
            dropout=config.dropout,
            label_smoothing=config.label_smoothing,
            sampled_softmax=config.sampled_softmax,
            variational=config.variational,
            recurrent_dropout=config.recurrent_dropout,
            token_dropout=config.token_dropout,
        )
        if not (config.uniform or config.normal):
            return model
        encoder, decoder = (
            replace(m, embedding=replace(m.embedding, scale=1.0)) for m in (model.encoder, model.decoder)
        )
        drawn = replace(model, encoder=encoder, decoder=decoder)
        return redrawn(drawn, jax.random.fold_in(key, 2), config.uniform, config.normal)

    def loss(self, batch: BatchLike, key: Key | None = None) -> Loss:
        """Token cross-entropy in nats; with a key there is dropout and label smoothing, without one there is none.

        With a key and `sampled_softmax`, the normaliser is estimated from so many drawn words.
        """
        keys, recurrent = split(key, 4), split(None if key is None else jax.random.fold_in(key, 4), 2)
        own = None if key is None else jax.random.fold_in(key, 6)
        encoder, decoder = draw_cells((self.encoder, self.decoder), own, batch.size)
        rate, variational = self.dropout, self.variational
        source, lengths = jnp.asarray(batch.source), jnp.asarray(batch.source_lengths)
        encoder = drop_recurrent(encoder, recurrent[0], self.recurrent_dropout)
        encoded = encoder(source, lengths, keys[0], rate, variational, self.token_dropout)
        memory, state = decoder.start(encoded, source, lengths)
        embedded = dropout(keys[1], rate, self._embedded(jnp.asarray(batch.target_in), key), variational)
        cell = drop_recurrent(decoder.cell, recurrent[1], self.recurrent_dropout)
        cell = drop_between(cell, keys[2], rate, (batch.size, decoder.input_size))

        def step(state: DecoderState, x: tuple[Array, Array]) -> tuple[DecoderState, tuple[Array, Any]]:
            state, (vector, weights) = decoder.advance(cell, memory, state, x[0])
            return state, (vector, decoder.weights_on(x[1], memory, weights))

        _, (vectors, found) = scan(step, state, (embedded, jnp.asarray(batch.target_out)))
        smoothing = 0.0 if key is None else self.label_smoothing
        vectors = dropout(keys[3], rate, vectors, variational)
        if key is not None and self.sampled_softmax:
            vocabulary = decoder.embedding.table.shape[0]
            drawn = draw_words(jax.random.fold_in(key, self.sampled_softmax), vocabulary, self.sampled_softmax)
            return sampled_cross_entropy(decoder.columns, vectors, batch.target_out, batch.target_mask, *drawn)
        copied = decoder.copied(vectors, found)
        return cross_entropy(
            decoder.logits, vectors, batch.target_out, batch.target_mask, smoothing=smoothing, copied=copied
        )

    def _embedded(self, target: Array, key: Key | None) -> Array:
        """What the decoder reads, (target, batch) ids, without the tokens that a sentence is to do without."""
        key = None if key is None else jax.random.fold_in(key, 5)
        return drop_tokens(key, self.token_dropout, target, self.decoder.embedding(target))

    def start(self, source: Array, lengths: Array) -> tuple[DecoderMemory, DecoderState]:
        """Read the sources."""
        return self.decoder.start(self.encoder(source, lengths), source, lengths)

    def step(self, memory: DecoderMemory, state: DecoderState, token: Array) -> tuple[DecoderState, Prediction]:
        """Read one target token of each sentence and predict the next."""
        decoder = self.decoder
        state, (vector, weights) = decoder.advance(decoder.cell, memory, state, decoder.embedding(token))
        return state, Prediction(decoder.mixed(memory, vector, weights), weights)

    def encode(self, source: Array, lengths: Array) -> Array:
        """The summary of each source: (batch, hidden)."""
        return self.encoder(source, lengths).summary

    def restricted(self, count: int) -> Self:
        """The model with an output layer for the ids below `count` only; the logits of those stay as they are.

        It is for decoding: where the output layer was the target embedding, it is no longer. What a pointer copies is
        mixed with the probabilities among these ids.

        Example:
            >>> model = EncoderDecoder.init(jax.random.key(0), 10, 12, EncoderDecoderConfig(hidden=6, embedding=4))
            >>> memory, state = model.start(jnp.ones((5, 2), int), jnp.array([5, 3]))
            >>> model.restricted(7).step(memory, state, jnp.array([2, 11]))[1].logits.shape
            (2, 7)
        """
        return replace(self, decoder=self.decoder.restricted(count))


def _check_recurrent(cell: Cell) -> None:
    """Refuse a dropout that would find nothing to drop."""
    if not any(map(is_recurrent, named_leaves(cell))):
        name = type(cell.cells[0] if isinstance(cell, Stack) else cell).__name__
        raise ConfigError(
            f"model.recurrent_dropout: {name} has no weights called u or u_n, by which it is known what "
            "multiplies the state; call them so, or leave it out."
        )
