"""Text to batches, in NumPy: no JAX is imported here."""

from __future__ import annotations

from seq2seq.data.batches import Batch, Batches, SourceBatch, collate, inference_batches
from seq2seq.data.buckets import Shape
from seq2seq.data.choice import Choice, choose_form, choose_kind
from seq2seq.data.corpus import Corpus, PairFiles, corpus_format, iterate_pairs, iterate_rows, read_pairs
from seq2seq.data.dataset import Dataset, distinct
from seq2seq.data.dropping import Dropping
from seq2seq.data.formats import Pair, source_of_line
from seq2seq.data.grouped import grouped_batches
from seq2seq.data.holdout import Holdout, hold_out
from seq2seq.data.inflection import inflection_source, parse_inflection_source
from seq2seq.data.lines import BadLineError, Ledger, read_lines, stream_lines
from seq2seq.data.merging import PieceDropout
from seq2seq.data.tokenizer import BEGIN, END, KINDS, PAD, UNKNOWN, Form, Kind, Tokenizer

__all__ = [
    "BEGIN",
    "END",
    "KINDS",
    "PAD",
    "UNKNOWN",
    "BadLineError",
    "Batch",
    "Batches",
    "Choice",
    "Corpus",
    "Dataset",
    "Dropping",
    "Form",
    "Holdout",
    "Kind",
    "Ledger",
    "Pair",
    "PairFiles",
    "PieceDropout",
    "Shape",
    "SourceBatch",
    "Tokenizer",
    "choose_form",
    "choose_kind",
    "collate",
    "corpus_format",
    "distinct",
    "grouped_batches",
    "hold_out",
    "inference_batches",
    "inflection_source",
    "iterate_pairs",
    "iterate_rows",
    "parse_inflection_source",
    "read_lines",
    "read_pairs",
    "source_of_line",
    "stream_lines",
]
