"""`HardMonotonic`: each output comes from one place of the source, and the places never go back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array, lax

from seq2seq.core.module import module
from seq2seq.core.scan import scan
from seq2seq.core.seams import BatchLike, Cell, Key, Loss, Prediction, State
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.models.decoder import Bridge, decoder_cell
from seq2seq.models.encoder import Encoded, Encoder
from seq2seq.models.model import Model
from seq2seq.nn.attention import General, Prepared, prepare
from seq2seq.nn.cells import LSTM
from seq2seq.nn.layers import FF, Embedding, dropout, split
from seq2seq.nn.loss import masked, token_cross_entropy, wide
from seq2seq.nn.recurrent import draw_cells, drop_between

_NEVER = -1e9  # the log-probability of what cannot be, finite so that no gradient is NaN


@dataclass(frozen=True)
class HardMonotonicConfig:
    """What a `HardMonotonic` is made of."""

    cell: type[Cell] = LSTM
    """The recurrent cell of encoder and decoder."""
    hidden: int = 256
    """Units of the decoder, and of the encoder, which reads in both directions with half of them each."""
    embedding: int = 128
    """Width of the vectors of source and target tokens."""
    layers: int = 1
    """Recurrent layers in the encoder and in the decoder."""
    dropout: float = 0.3
    """Probability of dropping a unit of embeddings, annotations, what stands before the output, and between layers."""
    label_smoothing: float = 0.1
    """Probability that the training target spreads over the whole vocabulary (Szegedy et al. 2016)."""

    def __post_init__(self) -> None:
        _ = self.encoder  # which refuses what cannot be

    @property
    def encoder(self) -> EncoderDecoderConfig:
        """The encoder, and the options that both models have."""
        common = {name: getattr(self, name) for name in HardMonotonicConfig.__dataclass_fields__}
        return EncoderDecoderConfig(**common)


class Places(NamedTuple):
    """What never changes while decoding, batch first: how transitions see the source, and how outputs do."""

    transition: Prepared
    output: Array


class Alignment(NamedTuple):
    """The state of the cell, and log p(place, next token | target so far), (batch, source, vocabulary)."""

    cell: State
    joint: Array


@module
class HardMonotonic(Model):
    """Exact hard monotonic attention (Wu and Cotterell 2019), for small vocabularies such as letters and sounds.

    Output i comes from one place a_i of the source, which is summed over, with a_i >= a_(i-1) and a_0 the first place:

        p(a_i = j | a_(i-1) = k) = exp(e_ij) / sum over j' >= k of exp(e_ij'),   j >= k;   e_ij = s_i . (h_j @ w)
        p(y_i | a_i = j) = softmax(output(tanh(s_i @ v + h_j @ u + b)))
        p(y_i | y_<i) = sum over j of p(a_i = j | y_<i) p(y_i | a_i = j)

    with annotations h_j and a decoder state s_i that reads y_<i alone, so that all alignments of a prefix share it. The
    places' distribution is carried from token to token by the forward algorithm, in O(source) for each. What search
    sees as attention is p(a_i = j | y_<i).

    Shapes: source (source, batch) ids; lengths, token (batch,); logits (batch, vocabulary); attention (batch, source).
    A step holds (batch, source, vocabulary) numbers, and the loss (target, batch, source, vocabulary or hidden): this
    is not for words.

    Example:
        >>> model = HardMonotonic.init(jax.random.key(0), 10, 12, HardMonotonicConfig(hidden=6, embedding=4))
        >>> memory, state = model.start(jnp.ones((5, 2), int), jnp.array([5, 3]))
        >>> state, prediction = model.step(memory, state, jnp.array([2, 2]))
        >>> prediction.logits.shape, bool(jnp.allclose(jnp.exp(prediction.logits).sum(-1), 1, atol=1e-5))
        ((2, 12), True)
    """

    encoder: Encoder
    embedding: Embedding
    cell: Cell
    bridge: Bridge
    transition: General
    state_layer: FF
    place_layer: FF
    output: FF
    dropout: float
    label_smoothing: float
    of_training = ("dropout", "label_smoothing")

    @classmethod
    def init(
        cls,
        key: Key,
        source_vocabulary: int,
        target_vocabulary: int,
        config: HardMonotonicConfig = HardMonotonicConfig(),
    ) -> Self:
        """A fresh model for these vocabularies."""
        keys, hidden = jax.random.split(key, 8), config.hidden
        cell = decoder_cell(keys[0], config.embedding, config.encoder)
        return cls(
            encoder=Encoder.init(keys[1], source_vocabulary, config.encoder),
            embedding=Embedding.init(keys[2], target_vocabulary, config.embedding),
            cell=cell,
            bridge=Bridge.init(keys[3], hidden, cell),
            transition=General.init(keys[4], hidden, hidden),
            state_layer=FF.init(keys[5], hidden, hidden),
            place_layer=FF.init(keys[6], hidden, hidden),
            output=FF.init(keys[7], hidden, target_vocabulary),
            dropout=config.dropout,
            label_smoothing=config.label_smoothing,
        )

    def loss(self, batch: BatchLike, key: Key | None = None) -> Loss:
        """-log p(target | source) in nats, summed over tokens; with a key there is dropout and label smoothing.

        The cell runs first, for all tokens; then all outputs are one product; then the forward algorithm takes its
        few steps. Smoothing by e is beside it, so that it is of the places where p says that they are:

            (1 - e) (-log p(y_i)) + e sum over j of p(a_i = j) mean over words v of -log p(v | a_i = j)
        """
        keys, lengths = split(key, 4), jnp.asarray(batch.source_lengths)
        own = None if key is None else jax.random.fold_in(key, 4)
        encoder, cell = draw_cells((self.encoder, self.cell), own, batch.size)
        places, state = self._read(encoder(jnp.asarray(batch.source), lengths, keys[0], self.dropout), lengths)
        embedded = dropout(keys[1], self.dropout, self.embedding(jnp.asarray(batch.target_in)))
        shape = (batch.size, embedded.shape[-1])
        cell = drop_between(cell, keys[2], self.dropout, shape)
        _, outputs = scan(cell.step, state.cell, embedded)
        vectors = dropout(keys[3], self.dropout, jax.vmap(self._vectors, (None, 0))(places, outputs))
        targets = jnp.broadcast_to(jnp.asarray(batch.target_out)[..., None], vectors.shape[:-1])
        logits, smoothing = self.output(vectors), 0.0 if key is None else self.label_smoothing
        logits = logits.astype(wide(logits.dtype))
        emitted = -token_cross_entropy(logits, targets)  # (target, batch, source)
        spread = token_cross_entropy(logits, targets, 1.0) if smoothing else jnp.zeros_like(emitted)

        def step(before: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            scores, outputs, spread = inputs
            where = moved(before, scores)
            joint = where + outputs
            total = jax.nn.logsumexp(joint, -1, keepdims=True)
            smoothed = smoothing * (jnp.exp(where) * spread).sum(-1)
            return joint - total, (1 - smoothing) * total[:, 0] - smoothed

        scores = jax.vmap(self._scores, (None, 0))(places, outputs)
        _, gains = scan(step, first_place(emitted[0]), (scores, emitted, spread))
        mask = jnp.asarray(batch.target_mask)
        return Loss(-masked(gains, mask).sum(), mask.sum())

    def start(self, source: Array, lengths: Array) -> tuple[Places, Alignment]:
        """Read the sources."""
        return self._read(self.encoder(source, lengths), lengths)

    def step(self, memory: Places, state: Alignment, token: Array) -> tuple[Alignment, Prediction]:
        """Read one target token of each sentence, learn from it where it came from, and predict the next."""
        joint = jnp.take_along_axis(state.joint, token[:, None, None], -1)[..., 0]
        where = joint - jax.nn.logsumexp(joint, -1, keepdims=True)
        after, output = self.cell.step(state.cell, self.embedding(token))
        places = moved(where, self._scores(memory, output))
        emitted = jax.nn.log_softmax(self.output(self._vectors(memory, output)))
        joint = places[..., None] + emitted
        return Alignment(after, joint), Prediction(jax.nn.logsumexp(joint, 1), jnp.exp(places))

    def encode(self, source: Array, lengths: Array) -> Array:
        """The summary of each source: (batch, hidden)."""
        return self.encoder(source, lengths).summary

    def _read(self, encoded: Encoded, lengths: Array) -> tuple[Places, Alignment]:
        """The memory and the state before the first token: nothing is known but that it begins at the first place."""
        transition = prepare(self.transition, encoded.annotations, lengths)
        memory = Places(transition, self.place_layer(transition.values))
        nowhere = first_place(transition.mask.astype(transition.keys.dtype))
        joint = jnp.broadcast_to(nowhere[..., None], (*nowhere.shape, self.output.w.shape[1]))
        return memory, Alignment(self.bridge(self.cell, encoded.summary), joint)

    def _scores(self, memory: Places, output: Array) -> Array:
        """e_ij, (batch, source); the first place of an empty source is one too, so that there is a way."""
        mask = memory.transition.mask.at[:, 0].set(True)
        return jnp.where(mask, self.transition.scores(output, memory.transition.keys), _NEVER)

    def _vectors(self, memory: Places, output: Array) -> Array:
        """What the output layer reads at each place, (batch, source, hidden)."""
        return jnp.tanh(self.state_layer(output)[:, None] + memory.output)


def moved(before: Array, scores: Array) -> Array:
    """log p(a_i = j) from log p(a_(i-1) = k) and e_ij, (batch, source) each, where a place is never before the last.

    log sum over k <= j of p(a_(i-1) = k) exp(e_ij) / Z_k,   Z_k = sum over j' >= k of exp(e_ij')

    Example:
        >>> jnp.exp(moved(jnp.log(jnp.array([[0.5, 0.5]])), jnp.zeros((1, 2)))).round(2).tolist()
        [[0.25, 0.75]]
    """
    normaliser = lax.cumlogsumexp(scores, axis=1, reverse=True)
    return scores + lax.cumlogsumexp(before - normaliser, axis=1)


def first_place(like: Array) -> Array:
    """log p(a_0), (batch, source): certainly the first place."""
    return jnp.full_like(like, _NEVER).at[:, 0].set(0.0)
