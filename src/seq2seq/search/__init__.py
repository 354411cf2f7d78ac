"""Search over any model with `start` and `step`: greedy, beam, sampling, scoring."""

from __future__ import annotations

from seq2seq.search.beam import BeamOptions, beam
from seq2seq.search.greedy import greedy
from seq2seq.search.hypotheses import Hypotheses
from seq2seq.search.in_precision import InPrecision
from seq2seq.search.sampling import SampleOptions, line_keys, sample
from seq2seq.search.scoring import score, score_candidates

__all__ = [
    "BeamOptions",
    "Hypotheses",
    "InPrecision",
    "SampleOptions",
    "beam",
    "greedy",
    "line_keys",
    "sample",
    "score",
    "score_candidates",
]
