"""Search over any model with `start` and `step`: greedy, beam, sampling, scoring."""

from __future__ import annotations

from seq2seq.search.beam import BeamOptions, beam
from seq2seq.search.greedy import greedy
from seq2seq.search.hypotheses import Hypotheses
from seq2seq.search.prepared import PreparedModel
from seq2seq.search.sampling import SampleOptions, line_keys, sample
from seq2seq.search.scoring import score

__all__ = [
    "BeamOptions",
    "Hypotheses",
    "PreparedModel",
    "SampleOptions",
    "beam",
    "greedy",
    "line_keys",
    "sample",
    "score",
]
