"""Search over any model with `start` and `step`: greedy, beam, sampling, scoring."""

from __future__ import annotations

from seq2seq.search.beam import beam
from seq2seq.search.greedy import greedy
from seq2seq.search.hypotheses import Hypotheses
from seq2seq.search.in_precision import InPrecision
from seq2seq.search.options import BeamOptions, LengthNorm
from seq2seq.search.phrases import BannedPhrases, RequiredPhrases
from seq2seq.search.rules import MinimumLength, NoRepeat, Prefix, Rule
from seq2seq.search.sampling import SampleOptions, line_keys, sample
from seq2seq.search.scoring import score

__all__ = [
    "BannedPhrases",
    "BeamOptions",
    "Hypotheses",
    "InPrecision",
    "LengthNorm",
    "MinimumLength",
    "NoRepeat",
    "Prefix",
    "RequiredPhrases",
    "Rule",
    "SampleOptions",
    "beam",
    "greedy",
    "line_keys",
    "sample",
    "score",
]
