"""seq2seq: the encoder-decoder RNN on JAX.

Write a cell or a model as a class with a `step`; `scan` it, train it, search it, keep it in one `.npz`.
Everything public is in this list; `seq2seq.load` brings back what `seq2seq train` wrote.
"""

from __future__ import annotations

from seq2seq.app.decoding import Decoding
from seq2seq.app.hypothesis import Hypothesis
from seq2seq.app.rerank import Reranker
from seq2seq.app.text_model import TextModel
from seq2seq.core.archive import Archive
from seq2seq.core.module import count, module, named_leaves, pretty
from seq2seq.core.precision import bfloat16_products
from seq2seq.core.scan import scan
from seq2seq.core.seams import (
    BEGIN,
    END,
    PAD,
    UNKNOWN,
    BatchLike,
    Cell,
    Drawn,
    Encodable,
    Key,
    Loss,
    Memory,
    Prediction,
    Restrictable,
    Searchable,
    State,
    Trainable,
)
from seq2seq.data import Batch, Batches, Dataset, Pair, PairFiles, Tokenizer, hold_out, read_pairs
from seq2seq.errors import Seq2SeqError
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.hard_monotonic import HardMonotonic, HardMonotonicConfig
from seq2seq.models.model import Model
from seq2seq.nn.attention import Additive, Attention, Dot, General, attend, prepare
from seq2seq.nn.cells import GRU, LSTM, ChoGRU, Elman
from seq2seq.nn.layers import FF, Embedding, LayerNorm, Maxout, dropout
from seq2seq.nn.loss import Copied, cross_entropy
from seq2seq.nn.normalised import NormGRU, NormLSTM
from seq2seq.nn.pointer import Pointer
from seq2seq.nn.recurrent import Bidirectional, Dropped, Stack, unroll
from seq2seq.search import (
    UTILITIES,
    BannedPhrases,
    BeamOptions,
    Ensemble,
    Hypotheses,
    LengthNorm,
    MinimumLength,
    NoRepeat,
    Prefix,
    PreparedModel,
    Renumbered,
    RequiredPhrases,
    Rule,
    SampleOptions,
    SearchOptions,
    beam,
    greedy,
    mbr,
    sample,
    score,
)
from seq2seq.training import OptimizerConfig, TrainingConfig

load = TextModel.load

__all__ = [
    "BEGIN",
    "END",
    "FF",
    "GRU",
    "LSTM",
    "PAD",
    "UNKNOWN",
    "UTILITIES",
    "Additive",
    "Archive",
    "Attention",
    "BannedPhrases",
    "Batch",
    "BatchLike",
    "Batches",
    "BeamOptions",
    "Bidirectional",
    "Cell",
    "ChoGRU",
    "Copied",
    "Dataset",
    "Decoding",
    "Dot",
    "Drawn",
    "Dropped",
    "Elman",
    "Embedding",
    "Encodable",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "Ensemble",
    "General",
    "HardMonotonic",
    "HardMonotonicConfig",
    "Hypotheses",
    "Hypothesis",
    "Key",
    "LayerNorm",
    "LengthNorm",
    "Loss",
    "Maxout",
    "Memory",
    "MinimumLength",
    "Model",
    "NoRepeat",
    "NormGRU",
    "NormLSTM",
    "OptimizerConfig",
    "Pair",
    "PairFiles",
    "Pointer",
    "Prediction",
    "Prefix",
    "PreparedModel",
    "Renumbered",
    "RequiredPhrases",
    "Reranker",
    "Restrictable",
    "Rule",
    "SampleOptions",
    "SearchOptions",
    "Searchable",
    "Seq2SeqError",
    "Stack",
    "State",
    "TextModel",
    "Tokenizer",
    "Trainable",
    "TrainingConfig",
    "attend",
    "beam",
    "bfloat16_products",
    "count",
    "cross_entropy",
    "dropout",
    "greedy",
    "hold_out",
    "load",
    "mbr",
    "module",
    "named_leaves",
    "prepare",
    "pretty",
    "read_pairs",
    "sample",
    "scan",
    "score",
    "unroll",
]
