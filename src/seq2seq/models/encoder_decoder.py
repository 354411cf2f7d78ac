"""`EncoderDecoder`: the papers' models and ours, from one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.scan import scan
from seq2seq.core.seams import BatchLike, Cell, Key, Loss, Prediction
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.models.decoder import Bridge, Decoder, DecoderMemory, DecoderState, Feed, Readout, output_leaf
from seq2seq.models.encoder import Encoded, Encoder
from seq2seq.models.model import Model
from seq2seq.nn.attention import Additive, Attention, Dot, General
from seq2seq.nn.cells import LSTM
from seq2seq.nn.layers import FF, Embedding, Maxout, dropout, split
from seq2seq.nn.loss import cross_entropy
from seq2seq.nn.recurrent import Stack, drop_between

_ATTENTIONS: dict[str, type[Attention]] = {"additive": Additive, "dot": Dot, "general": General}
_SUMMARIES, _READOUTS = ("start", "everywhere"), ("linear", "tanh", "maxout")


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """What an `EncoderDecoder` is made of."""

    cell: type[Cell] = LSTM
    """The recurrent cell of encoder and decoder: lstm, gru, cho-gru, elman, or my_file.py:MyCell."""
    hidden: int = 512
    """Units of the decoder, and of the encoder (half of them in each direction if it is bidirectional)."""
    embedding: int = 128
    """Width of the vectors of source and target tokens."""
    layers: int = 1
    """Recurrent layers in the encoder and in the decoder."""
    residual: bool = False
    """Add what enters a layer to what leaves it, from the second layer on."""
    bidirectional: bool = True
    """Read the source in both directions."""
    reverse_source: bool = False
    """Read the source from its end (Sutskever et al. 2014), if it is read in one direction."""
    attention: Literal["none", "additive", "dot", "general"] = "general"
    """How the decoder looks at the source: additive (Bahdanau et al. 2015), dot or general (Luong et al. 2015)."""
    input_feeding: bool = True
    """Tell the cell what attention found: the context (additive) or the last readout vector (dot, general)."""
    summary: Literal["start", "everywhere"] = "start"
    """Without attention: the summary is the initial state only, or enters every step and the readout (Cho 2014)."""
    readout: Literal["linear", "tanh", "maxout"] = "tanh"
    """What stands before the output layer; maxout (Cho 2014) also reads the last token."""
    tied: bool = False
    """Let the target embedding be the output layer as well; the readout is then as wide as the embedding."""
    dropout: float = 0.3
    """Probability of dropping a unit of the embeddings, annotations, readout, and between layers."""
    label_smoothing: float = 0.1
    """Probability that the training target spreads over the whole vocabulary."""

    def __post_init__(self) -> None:
        for name in ("hidden", "embedding", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be at least 0 and below 1.")
        for name, known in (("attention", (*_ATTENTIONS, "none")), ("summary", _SUMMARIES), ("readout", _READOUTS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"model.{name} is {getattr(self, name)!r}; {did_you_mean(getattr(self, name), known)}"
                )
        if self.attention != "none" and self.summary == "everywhere":
            raise ConfigError("model.summary everywhere needs model.attention none: attention takes its place.")
        if self.bidirectional and self.hidden % 2:
            raise ConfigError(f"model.hidden is {self.hidden}; a bidirectional encoder needs an even number.")
        if self.bidirectional and self.reverse_source:
            raise ConfigError("model.reverse_source needs model.bidirectional off: both directions are read already.")
        if self.tied and self.readout == "linear":
            raise ConfigError("model.tied needs a tanh or maxout readout, which is as wide as the embedding.")

    @property
    def feed(self) -> Feed:
        """What enters the decoder's cell beside the last token."""
        if self.attention == "none":
            return "summary" if self.summary == "everywhere" else "nothing"
        if not self.input_feeding:
            return "nothing"
        return "context" if self.attention == "additive" else "attentional"


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

    @classmethod
    def init(
        cls,
        key: Key,
        source_vocabulary: int,
        target_vocabulary: int,
        config: EncoderDecoderConfig = EncoderDecoderConfig(),
    ) -> Self:
        """A fresh model for these vocabularies."""
        encoder_key, decoder_key = jax.random.split(key)
        encoder = Encoder.init(
            encoder_key,
            source_vocabulary,
            config.embedding,
            (config.hidden,) * config.layers,
            config.cell,
            both=config.bidirectional,
            reverse=config.reverse_source,
            residual=config.residual,
        )
        return cls(
            encoder=encoder,
            decoder=_decoder(decoder_key, target_vocabulary, config),
            dropout=config.dropout,
            label_smoothing=config.label_smoothing,
        )

    def loss(self, batch: BatchLike, key: Key | None = None) -> Loss:
        """Token cross-entropy in nats; with a key there is dropout and label smoothing, without one there is none."""
        keys = split(key, 4)
        decoder = self.decoder
        lengths = jnp.asarray(batch.source_lengths)
        encoded = self.encoder(jnp.asarray(batch.source), lengths, keys[0], self.dropout)
        memory, state = decoder.start(encoded, lengths)
        embedded = dropout(keys[1], self.dropout, decoder.embedding(jnp.asarray(batch.target_in)))
        cell = drop_between(decoder.cell, keys[2], self.dropout, (batch.size, decoder.input_size))

        def step(state: DecoderState, x: Array) -> tuple[DecoderState, Array]:
            state, (vector, _) = decoder.advance(cell, memory, state, x)
            return state, vector

        _, vectors = scan(step, state, embedded)
        smoothing = 0.0 if key is None else self.label_smoothing
        vectors = dropout(keys[3], self.dropout, vectors)
        return cross_entropy(decoder.logits, vectors, batch.target_out, batch.target_mask, smoothing=smoothing)

    def start(self, source: Array, lengths: Array) -> tuple[DecoderMemory, DecoderState]:
        """Read the sources."""
        return self.decoder.start(self.encoder(source, lengths), lengths)

    def step(self, memory: DecoderMemory, state: DecoderState, token: Array) -> tuple[DecoderState, Prediction]:
        """Read one target token of each sentence and predict the next."""
        decoder = self.decoder
        state, (vector, weights) = decoder.advance(decoder.cell, memory, state, decoder.embedding(token))
        return state, Prediction(decoder.logits(vector), weights)

    def encode(self, source: Array, lengths: Array) -> Array:
        """The summary of each source: (batch, hidden)."""
        encoded: Encoded = self.encoder(source, lengths)
        return encoded.summary


def _decoder(key: Key, vocabulary: int, config: EncoderDecoderConfig) -> Decoder:
    """The decoder that `config` asks for, behind an encoder that is `config.hidden` wide."""
    keys = jax.random.split(key, 6)
    attention = None if config.attention == "none" else _ATTENTIONS[config.attention]
    readout_token = config.readout == "maxout"
    sees_source = attention is not None or config.feed == "summary"
    features = config.hidden * (2 if sees_source else 1) + config.embedding * readout_token
    vector = features if config.readout == "linear" else config.hidden
    if config.readout == "maxout":
        vector = config.hidden // 2  # as in the papers: 1000 units, 500 maxout units of 2
    if config.tied:
        vector = config.embedding
    fed = {"nothing": 0, "summary": config.hidden, "context": config.hidden, "attentional": vector}[config.feed]
    cell = _cell(keys[0], config.embedding + fed, config)
    return Decoder(
        embedding=Embedding.init(keys[1], vocabulary, config.embedding),
        cell=cell,
        bridge=Bridge.init(keys[2], config.hidden, cell),
        attention=None if attention is None else attention.init(keys[3], config.hidden, config.hidden),
        readout=Readout(
            inner=_inner(keys[4], features, vector, config),
            output=None if config.tied else FF.init(keys[5], vector, vocabulary),
        ),
        feed=config.feed,
        readout_token=readout_token,
        input_size=config.embedding + fed,
        output_leaf=output_leaf(cell, config.embedding + fed),
    )


def _cell(key: Key, input_size: int, config: EncoderDecoderConfig) -> Cell:
    if config.layers == 1:
        return config.cell.init(key, input_size, config.hidden)
    return Stack.init(key, input_size, config.hidden, config.cell, config.layers, config.residual)


def _inner(key: Key, features: int, vector: int, config: EncoderDecoderConfig) -> FF | Maxout | None:
    match config.readout:
        case "tanh":
            return FF.init(key, features, vector)
        case "maxout":
            return Maxout.init(key, features, vector)
        case "linear":
            return None
