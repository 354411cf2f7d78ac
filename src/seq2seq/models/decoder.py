"""The decoder: a cell that reads the target, with what it sees of the source, and the readout that predicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.module import module
from seq2seq.core.seams import END, Cell, Key, State
from seq2seq.errors import ConfigError
from seq2seq.models.config import EncoderDecoderConfig, Feed
from seq2seq.models.encoder import Encoded
from seq2seq.nn.attention import Attention, Prepared, attend, prepare
from seq2seq.nn.initializers import glorot
from seq2seq.nn.layers import FF, Embedding, Maxout
from seq2seq.nn.loss import Copied
from seq2seq.nn.pointer import Pointer
from seq2seq.nn.recurrent import Stack, output_width


class DecoderMemory(NamedTuple):
    """What never changes while decoding; every leaf is batch first."""

    prepared: Prepared | None
    summary: Array | None
    places: Array | None = None


class DecoderState(NamedTuple):
    """The state of the cell, and what the last step left for this one: (batch, width), or None."""

    cell: State
    fed: Array | None


@module
class Bridge:
    """From the encoder's summary to the initial state of any cell: tanh(FF(summary)) for each floating leaf.

    (Cho et al. 2014, section A.1: h'_0 = tanh(V c).) Other leaves keep their value in `initial_state`. With `backward`
    it is the second half of the summary alone, the last output of the encoder's backward direction (Bahdanau et al.
    2015, section A.2.2: s_0 = tanh(W_s h_1)).

    Example:
        >>> from seq2seq.nn.cells import GRU
        >>> cell = GRU.init(jax.random.key(0), 3, 5)
        >>> Bridge.init(jax.random.key(1), 4, cell)(cell, jnp.ones((2, 4))).shape
        (2, 5)
    """

    layers: tuple[FF | None, ...]
    backward: bool = False

    @classmethod
    def init(cls, key: Key, summary_size: int, cell: Cell, backward: bool = False) -> Self:
        """One layer for each floating leaf of the cell's state."""
        summary_size = summary_size // 2 if backward else summary_size
        leaves = jax.tree.leaves(jax.eval_shape(lambda: cell.initial_state(1)))
        keys = jax.random.split(key, max(1, len(leaves)))
        return cls(
            layers=tuple(
                FF.init(k, summary_size, leaf.size) if jnp.issubdtype(leaf.dtype, jnp.floating) else None
                for k, leaf in zip(keys, leaves, strict=False)
            ),
            backward=backward,
        )

    def __call__(self, cell: Cell, summary: Array) -> State:
        """(batch, summary) -> the state."""
        if self.backward:
            summary = summary[:, summary.shape[1] // 2 :]
        leaves, structure = jax.tree.flatten(cell.initial_state(summary.shape[0]))
        return structure.unflatten(
            leaf if layer is None else jnp.tanh(layer(summary)).reshape(leaf.shape).astype(leaf.dtype)
            for layer, leaf in zip(self.layers, leaves, strict=True)
        )


@module
class Readout:
    """From what the decoder knows to logits: output(inner(features)).

    inner is tanh(FF) (Luong et al. 2015, equation 5), `Maxout` (Cho et al. 2014, section A.1; Bahdanau et al. 2015,
    section A.2.2, of s_i as in its equation 4, where the appendix prints s_{i-1}) or nothing. The output is an `FF`, or
    the target embedding itself where `output` is None. With `factor`, (inner, rank), the output matrix is the product
    of two (Cho et al. 2014, section 4.1).

    Example:
        >>> readout = Readout(inner=None, output=FF.init(jax.random.key(0), 3, 10))
        >>> readout.logits(readout.vector(jnp.ones((2, 3))), Embedding(table=jnp.ones((10, 3)))).shape
        (2, 10)
    """

    inner: FF | Maxout | None
    output: FF | None
    factor: Array | None = None

    def vector(self, features: Array) -> Array:
        """(..., features) -> (..., readout)."""
        vector = features if self.inner is None else self.inner(features)
        if isinstance(self.inner, FF):
            vector = jnp.tanh(vector)
        return vector

    def logits(self, vector: Array, embedding: Embedding) -> Array:
        """(..., readout) -> (..., vocabulary)."""
        if self.factor is not None:
            vector = vector @ self.factor
        return embedding.logits(vector) if self.output is None else self.output(vector)

    def columns(self, ids: Array, embedding: Embedding) -> FF:
        """The output layer at some ids: (..., readout) -> (..., ids)."""
        output = self.restricted(ids, embedding)
        return output if self.factor is None else replace(output, w=self.factor @ output.w)

    def restricted(self, ids: Array | slice, embedding: Embedding) -> FF:
        """The last layer at some ids: (..., readout, or rank) -> (..., ids)."""
        if self.output is None:
            w = embedding.table[ids].T
            return FF(w=w, b=jnp.zeros(w.shape[1], w.dtype))
        return FF(w=self.output.w[:, ids], b=self.output.b[ids])


@module
class Decoder:
    """A recurrent decoder over any cell and any attention, or none; see `Feed` for how the source enters.

    Shapes: token (batch,) ids; embedded (batch, embedding); logits (batch, vocabulary); weights (batch, source).
    """

    embedding: Embedding
    cell: Cell
    bridge: Bridge | None
    attention: Attention | None
    readout: Readout
    feed: Feed
    readout_token: bool
    input_size: int
    output_leaf: int | None
    pointer: Pointer | None = None

    @classmethod
    def init(
        cls, key: Key, vocabulary: int, config: EncoderDecoderConfig, target_of_source: tuple[int, ...] = ()
    ) -> Self:
        """The decoder that `config` asks for, behind an encoder that is `config.annotation` wide.

        `target_of_source` is what a pointer copies: for each id of the source that of the same token, or -1.

        Raises:
            ConfigError: it is to copy, and there is nothing to copy.
        """
        if config.copy and max(target_of_source, default=-1) <= END:
            raise ConfigError("model.copy: source and target have no token in common; give them tokens of one kind.")
        keys = jax.random.split(key, 6)
        attention = config.attention_class
        readout_token = config.readout == "maxout"
        sees_source = attention is not None or config.feed == "summary"
        wide = config.annotation
        features = config.hidden + wide * sees_source + config.embedding * readout_token
        vector = features if config.readout == "linear" else config.hidden
        if config.readout == "maxout":
            vector = config.hidden // 2  # as in the papers: 1000 units, 500 maxout units of 2
        if config.tied:
            vector = config.embedding
        inner = _inner(keys[4], features, vector, config)
        rank = config.output_rank
        factor = glorot(jax.random.fold_in(key, 7), vector, rank) if rank else None
        fed = {"nothing": 0, "summary": wide, "context": wide, "attentional": vector}[config.feed]
        cell = decoder_cell(keys[0], config.embedding + fed, config)
        return cls(
            embedding=Embedding.init(keys[1], vocabulary, config.embedding),
            cell=cell,
            bridge=None if config.bridge == "states" else Bridge.init(keys[2], wide, cell, config.bridge == "backward"),
            attention=None if attention is None else attention.init(keys[3], config.hidden, wide),
            readout=Readout(
                inner=inner, output=None if config.tied else FF.init(keys[5], rank or vector, vocabulary), factor=factor
            ),
            feed=config.feed,
            readout_token=readout_token,
            input_size=config.embedding + fed,
            output_leaf=output_leaf(cell, config.embedding + fed),
            pointer=Pointer.init(jax.random.fold_in(key, 6), vector, target_of_source) if config.copy else None,
        )

    def start(self, encoded: Encoded, source: Array, lengths: Array) -> tuple[DecoderMemory, DecoderState]:
        """The memory and the state before the first token, of sources (source, batch)."""
        state = self._first_state(encoded)
        prepared = None if self.attention is None else prepare(self.attention, encoded.annotations, lengths)
        places = None if self.pointer is None else self.pointer.places(source)
        memory = DecoderMemory(prepared, self._summary(encoded), places)
        return memory, DecoderState(state, self._first_fed(state, encoded))

    def advance(
        self, cell: Cell, memory: DecoderMemory, state: DecoderState, embedded: Array
    ) -> tuple[DecoderState, tuple[Array, Array | None]]:
        """Read an embedded token with `cell` (ours, or ours behind dropout): the readout vector and the weights."""
        seen: list[Array] = []
        weights = None
        fed = state.fed
        match self.feed:
            case "context":
                context, weights = self._attend(memory, fed)
                x = jnp.concatenate([embedded, context], -1)
                seen = [context]
            case "summary":
                x = jnp.concatenate([embedded, _given(memory.summary)], -1)
                seen = [_given(memory.summary)]
            case "attentional":
                x = jnp.concatenate([embedded, _given(fed)], -1)
            case "nothing":
                x = embedded
        after, output = cell.step(state.cell, x)
        if self.attention is not None and self.feed != "context":
            context, weights = self._attend(memory, output)
            seen = [context]
        vector = self.readout.vector(jnp.concatenate([output, *seen, *([embedded] if self.readout_token else [])], -1))
        fed = {"context": output, "attentional": vector}.get(self.feed)
        return DecoderState(after, fed), (vector, weights)

    def logits(self, vector: Array) -> Array:
        """(..., readout) -> (..., vocabulary)."""
        return self.readout.logits(vector, self.embedding)

    def mixed(self, memory: DecoderMemory, vector: Array, weights: Array | None) -> Array:
        """(batch, readout) -> (batch, vocabulary): the logits, with what the pointer copies."""
        logits = self.logits(vector)
        if self.pointer is None:
            return logits
        return self.pointer.mixed(logits, vector, _given(weights), _given(memory.places))

    def weights_on(self, token: Array, memory: DecoderMemory, weights: Array | None) -> tuple[Array, Array] | tuple[()]:
        """What the pointer has to know of a step in which `token`, (batch,), is to come; nothing without a pointer."""
        if self.pointer is None:
            return ()
        return self.pointer.weights_on(token, _given(weights), _given(memory.places))

    def copied(self, vectors: Array, found: tuple[Array, Array] | tuple[()]) -> Copied | None:
        """What the loss has to know of the pointer, from (target, batch, readout) and what `weights_on` found."""
        return None if self.pointer is None else self.pointer.copied(vectors, *found)

    def restricted(self, count: int) -> Self:
        """The decoder with logits of the ids below `count` only: (..., count)."""
        if count >= self.embedding.table.shape[0]:
            return self
        output = self.readout.restricted(slice(count), self.embedding)
        return replace(self, readout=replace(self.readout, output=output))

    def columns(self, ids: Array) -> FF:
        """The output layer at some ids."""
        return self.readout.columns(ids, self.embedding)

    def _attend(self, memory: DecoderMemory, query: Array | None) -> tuple[Array, Array]:
        return attend(_given(self.attention), _given(query), _given(memory.prepared))

    def _summary(self, encoded: Encoded) -> Array | None:
        return encoded.summary if self.feed == "summary" else None

    def _first_state(self, encoded: Encoded) -> State:
        if self.bridge is not None:
            return self.bridge(self.cell, encoded.summary)
        return encoded.states[0] if len(encoded.states) == 1 else encoded.states  # of each layer

    def _first_fed(self, state: State, encoded: Encoded) -> Array | None:
        if self.feed == "context" and self.output_leaf is not None:
            return jax.tree.leaves(state)[self.output_leaf]
        widths = {
            "context": output_width(self.cell, self.input_size),
            "attentional": self.input_size - self.embedding.table.shape[1],
        }
        if self.feed not in widths:
            return None
        return jnp.zeros((encoded.summary.shape[0], widths[self.feed]), encoded.summary.dtype)


def decoder_cell(key: Key, input_size: int, config: EncoderDecoderConfig) -> Cell:
    """The cell that `config` asks for, in layers if there are several."""
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


def output_leaf(cell: Cell, input_size: int) -> int | None:
    """Which leaf of the new state `cell.step` returns as its output, if one.

    In most cells the output is a part of the state (h in a GRU or LSTM, that of the last layer in a stack). Then the
    initial state has an output too, and attention can ask with it before the first step, as Bahdanau et al. 2015 do.
    """
    x = jax.ShapeDtypeStruct((1, input_size), jnp.float32)
    state = jax.eval_shape(lambda: cell.initial_state(1))
    outputs = jax.make_jaxpr(cell.step)(state, x).jaxpr.outvars
    return next((i for i, leaf in enumerate(outputs[:-1]) if leaf is outputs[-1]), None)


def _given(value: Any) -> Any:
    """`value`, which the decoder's static fields say is there."""
    if value is None:
        raise ValueError("the decoder's memory or state does not fit its configuration.")
    return value
