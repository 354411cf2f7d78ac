"""Search over any model with `start` and `step`: greedy, beam, sampling, scoring, ensembles; and choice by utility."""

from __future__ import annotations

from seq2seq.search.beam import beam
from seq2seq.search.continuations import Continuations, continuations
from seq2seq.search.ensemble import Ensemble
from seq2seq.search.greedy import greedy
from seq2seq.search.hypotheses import Hypotheses
from seq2seq.search.mbr import Ranked, mbr
from seq2seq.search.options import BeamOptions, LengthNorm, SearchOptions
from seq2seq.search.phrases import BannedPhrases, RequiredPhrases
from seq2seq.search.prepared import PreparedModel
from seq2seq.search.renumbered import Renumbered
from seq2seq.search.rules import MinimumLength, NoRepeat, Prefix, Rule
from seq2seq.search.sampling import SampleOptions, line_keys, sample
from seq2seq.search.scoring import Forced, Started, force, force_started, score, start
from seq2seq.search.stepwise import Step, stepwise
from seq2seq.search.utility import UTILITIES, Utility

__all__ = [
    "UTILITIES",
    "BannedPhrases",
    "BeamOptions",
    "Continuations",
    "Ensemble",
    "Forced",
    "Hypotheses",
    "LengthNorm",
    "MinimumLength",
    "NoRepeat",
    "Prefix",
    "PreparedModel",
    "Ranked",
    "Renumbered",
    "RequiredPhrases",
    "Rule",
    "SampleOptions",
    "SearchOptions",
    "Started",
    "Step",
    "Utility",
    "beam",
    "continuations",
    "force",
    "force_started",
    "greedy",
    "line_keys",
    "mbr",
    "sample",
    "score",
    "start",
    "stepwise",
]
