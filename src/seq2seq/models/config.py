"""What an `EncoderDecoder` is made of: the configuration behind the `--model` options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from seq2seq.core.seams import Cell
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.nn.attention import Additive, Attention, Dot, General
from seq2seq.nn.cells import LSTM

Feed: TypeAlias = Literal["nothing", "summary", "context", "attentional"]
"""What enters the cell beside the embedding of the last token:

- nothing: the source enters by the initial state alone (Sutskever et al. 2014), or by attention after the cell;
- summary: the encoder's summary, at every step and in the readout (Cho et al. 2014);
- context: what attention finds with the last output as query (Bahdanau et al. 2015);
- attentional: the last readout vector, so that past choices are known (Luong et al. 2015, "input feeding").
"""
ATTENTIONS: dict[str, type[Attention]] = {"additive": Additive, "dot": Dot, "general": General}
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
    copy: bool = False
    """Let the decoder copy tokens of the source, a pointer-generator (Gu et al. 2016; See et al. 2017)."""
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
    sampled_softmax: int = 0
    """Train against so many words drawn by frequency instead of the whole vocabulary (Jean et al. 2015); 0 is off."""

    def __post_init__(self) -> None:
        for name in ("hidden", "embedding", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be at least 0 and below 1.")
        for name, known in (("attention", (*ATTENTIONS, "none")), ("summary", _SUMMARIES), ("readout", _READOUTS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"model.{name} is {getattr(self, name)!r}; {did_you_mean(getattr(self, name), known)}"
                )
        if self.attention != "none" and self.summary == "everywhere":
            raise ConfigError("model.summary everywhere needs model.attention none: attention takes its place.")
        if self.copy and self.attention == "none":
            raise ConfigError("model.copy needs model.attention: it copies from where attention looks.")
        if self.copy and self.sampled_softmax:
            raise ConfigError("model.sampled_softmax needs model.copy off: its estimate leaves no room for copying.")
        if self.bidirectional and self.hidden % 2:
            raise ConfigError(f"model.hidden is {self.hidden}; a bidirectional encoder needs an even number.")
        if self.bidirectional and self.reverse_source:
            raise ConfigError("model.reverse_source needs model.bidirectional off: both directions are read already.")
        if self.sampled_softmax < 0:
            raise ConfigError(f"model.sampled_softmax is {self.sampled_softmax}; wanted 0 (off) or more.")
        if self.sampled_softmax and self.label_smoothing:
            raise ConfigError("model.sampled_softmax needs model.label_smoothing 0: it does not see the other words.")
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
