"""What an `EncoderDecoder` is made of: the configuration behind the `--model` options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from seq2seq.core.seams import Cell
from seq2seq.errors import ConfigError, check_literals
from seq2seq.nn.attention import Additive, Attention, Dot, General
from seq2seq.nn.cells import LSTM

Feed: TypeAlias = Literal["nothing", "summary", "context", "attentional"]
"""What enters the cell beside the embedding of the last token:

- nothing: the source enters by the initial state alone (Sutskever et al. 2014), or by attention after the cell;
- summary: the encoder's summary, at every step and in the readout (Cho et al. 2014);
- context: what attention finds with the last output as query (Bahdanau et al. 2015);
- attentional: the last readout vector, so that past choices are known (Luong et al. 2015, "input feeding").
"""
_ATTENTIONS: dict[str, type[Attention]] = {"additive": Additive, "concat": Additive, "dot": Dot, "general": General}
SAMPLED_COPIES = "model.sampled_softmax needs model.copy off: its estimate leaves no room for copying."


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """What an `EncoderDecoder` is made of."""

    cell: type[Cell] = LSTM
    """The recurrent cell of encoder and decoder: lstm, gru, cho-gru, elman, norm-lstm and norm-gru (layer-normalised:
    Ba et al. 2016), or my_file.py:MyCell."""
    hidden: int = 512
    """Units of the decoder, and of the encoder where `encoder_hidden` does not say otherwise."""
    encoder_hidden: int | None = None
    """Units of the encoder, half of them in each direction if it is bidirectional. None: as many as the decoder has."""
    embedding: int = 128
    """Width of the vectors of source and target tokens."""
    layers: int = 1
    """Recurrent layers of the decoder, and of the encoder where `encoder_layers` does not say otherwise."""
    encoder_layers: int | None = None
    """Recurrent layers of the encoder (Kasai et al. 2021: many there, few in the decoder). None: as many as the decoder
    has."""
    residual: bool = False
    """Add what enters a layer to what leaves it, from the second layer on."""
    bidirectional: bool = True
    """Read the source in both directions."""
    reverse_source: bool = False
    """Read the source from its end (Sutskever et al. 2014), if it is read in one direction."""
    attention: Literal["none", "additive", "concat", "dot", "general"] | type[Attention] = "additive"
    """How the decoder looks at the source: additive, before the cell (Bahdanau et al. 2015); dot, general, or concat,
    whose scores are additive too, after it (Luong et al. 2015); or my_file.py:MyAttention, before it."""
    input_feeding: bool = True
    """Tell the cell what attention found: the context, or of concat, dot and general the last readout vector."""
    copy: bool = False
    """Let the decoder copy tokens of the source, a pointer-generator (Gu et al. 2016; See et al. 2017). Whole words
    that are unknown are one token, and copied as one; pieces (bpe, unigram) tell them apart."""
    summary: Literal["start", "everywhere"] = "start"
    """Without attention: the summary is the initial state only, or enters every step and the readout (Cho 2014)."""
    bridge: Literal["summary", "backward", "states"] = "summary"
    """How the decoder begins: through a layer from the last outputs of the encoder (summary, Cho et al. 2014) or of its
    backward direction (Bahdanau et al. 2015), or in the states that the encoder's layers end in (Sutskever et al.
    2014; Luong et al. 2015)."""
    readout: Literal["linear", "tanh", "maxout"] = "tanh"
    """What stands before the output layer; maxout (Cho 2014) also reads the last token."""
    output_rank: int = 0
    """Rank of the output matrix, then a product of two (Cho et al. 2014, section 4.1: 100). 0: whatever it has."""
    tied: bool = False
    """Let the target embedding be the output layer as well (Press and Wolf 2017); the readout is then as wide as the
    embedding."""
    dropout: float = 0.3
    """Probability of dropping a unit of the embeddings, annotations, readout, and between layers."""
    variational: bool = False
    """Drop the same units at every time step (Gal and Ghahramani 2016) instead of others at each. Between layers of
    the decoder they are the same in any case."""
    recurrent_dropout: float = 0.0
    """Probability of hiding a unit of a cell's state from its recurrent weights (those called u and u_n), the same
    through time and batch (Gal and Ghahramani 2016)."""
    token_dropout: float = 0.0
    """Probability that a sentence lacks a token of the vocabulary, wherever that stands in it, source and target each
    (Gal and Ghahramani 2016; "embedding dropout" in Merity et al. 2018)."""
    label_smoothing: float = 0.1
    """Probability that the training target spreads over the whole vocabulary (Szegedy et al. 2016)."""
    uniform: float = 0.0
    """Draw every parameter from U(-a, a) with this a at first (Sutskever et al. 2014: 0.08; Luong et al. 2015: 0.1).
    0: as each layer does by itself."""
    normal: float = 0.0
    """Draw weights from N(0, s^2) with this s at first, all but the recurrent ones, which are orthogonal, and those of
    attention, which have a tenth of s, and its v 0 (Cho et al. 2014; Bahdanau et al. 2015: 0.01). 0: as each layer does
    by itself."""
    sampled_softmax: int = 0
    """Train against so many words instead of the whole vocabulary (after Jean et al. 2015), drawn by frequency, by
    which words, symbols and letters are numbered; of pieces (bpe, unigram) mostly bytes would be drawn. 0 is off."""

    def __post_init__(self) -> None:
        self._check_values()
        self._check_encoder()
        self._check_decoder()

    def _check_values(self) -> None:
        """Each option by itself."""
        for name in ("hidden", "encoder_hidden", "embedding", "layers", "encoder_layers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("dropout", "recurrent_dropout", "token_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be at least 0 and below 1.")
        for name in ("uniform", "normal"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; wanted 0 (off) or more.")
        for name in ("sampled_softmax", "output_rank"):
            if getattr(self, name) < 0:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; wanted 0 (off) or more.")
        check_literals(self, "model.")
        if self.uniform and self.normal:
            raise ConfigError("model.uniform and model.normal are two ways to draw the same parameters; give one.")

    def _check_decoder(self) -> None:
        """What the decoder does beside the rest."""
        if self.attention != "none" and self.summary == "everywhere":
            raise ConfigError("model.summary everywhere needs model.attention none: attention takes its place.")
        if self.copy and self.attention == "none":
            raise ConfigError("model.copy needs model.attention: it copies from where attention looks.")
        if self.copy and self.sampled_softmax:
            raise ConfigError(SAMPLED_COPIES)
        if self.sampled_softmax and self.label_smoothing:
            raise ConfigError("model.sampled_softmax needs model.label_smoothing 0: it does not see the other words.")
        if self.readout == "maxout" and self.hidden < 2 and not self.tied:
            raise ConfigError("model.readout maxout needs model.hidden of 2 or more: half as many units of 2.")
        if self.tied and self.readout == "linear":
            raise ConfigError("model.tied needs a tanh or maxout readout, which is as wide as the embedding.")
        if self.tied and self.output_rank:
            raise ConfigError(
                "model.tied needs model.output_rank 0: the embedding is the output matrix, and its width."
            )

    def _check_encoder(self) -> None:
        """How the encoder reads, and what the decoder can take of it."""
        if self.bidirectional and self.annotation % 2:
            name = "hidden" if self.encoder_hidden is None else "encoder_hidden"
            raise ConfigError(f"model.{name} is {self.annotation}; a bidirectional encoder needs an even number.")
        dot = self.attention_class is Dot
        if self.annotation != self.hidden and (dot or self.bridge == "states"):
            what = "attention dot" if dot else "bridge states"
            raise ConfigError(
                f"model.{what} needs encoder and decoder of one width; model.encoder_hidden is {self.annotation}, "
                f"model.hidden {self.hidden}."
            )
        if self.depth != self.layers and self.bridge == "states":
            raise ConfigError(
                "model.bridge states needs encoder and decoder of as many layers; model.encoder_layers is "
                f"{self.depth}, model.layers {self.layers}."
            )
        if self.bridge == "states" and self.bidirectional:
            raise ConfigError("model.bridge states needs model.bidirectional off: a decoder goes one way.")
        if self.bridge == "backward" and not self.bidirectional:
            raise ConfigError("model.bridge backward needs model.bidirectional: there is no backward direction.")
        if self.bridge == "backward" and self.summary == "everywhere":
            raise ConfigError("model.summary everywhere needs model.bridge summary, which is what it is.")
        if self.bidirectional and self.reverse_source:
            raise ConfigError("model.reverse_source needs model.bidirectional off: both directions are read already.")

    @property
    def annotation(self) -> int:
        """The width of the encoder's outputs."""
        return self.hidden if self.encoder_hidden is None else self.encoder_hidden

    @property
    def depth(self) -> int:
        """The layers of the encoder."""
        return self.layers if self.encoder_layers is None else self.encoder_layers

    @property
    def feed(self) -> Feed:
        """What enters the decoder's cell beside the last token."""
        if self.attention == "none":
            return "summary" if self.summary == "everywhere" else "nothing"
        if not self.input_feeding:
            return "nothing"
        return "attentional" if self.attention in ("concat", "dot", "general") else "context"

    @property
    def attention_class(self) -> type[Attention] | None:
        """What looks at the source; None where nothing does."""
        if isinstance(self.attention, str):
            return None if self.attention == "none" else _ATTENTIONS[self.attention]
        return self.attention
