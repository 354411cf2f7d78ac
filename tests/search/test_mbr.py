"""Minimum Bayes risk against its definition by a plain double loop, and utilities against sacrebleu's own."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from sacrebleu import sentence_bleu, sentence_chrf

from seq2seq.errors import SearchError
from seq2seq.search import UTILITIES, mbr

REFERENCE = {
    "chrf": lambda h, r: sentence_chrf(h, [r]).score / 100,
    "bleu": lambda h, r: sentence_bleu(h, [r], tokenize="none", use_effective_order=True).score / 100,
    "edit": lambda h, r: 1 - Levenshtein.distance(h, r) / max(len(h), len(r), 1),
    "exact": lambda h, r: float(h == r),
}
texts = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab", "c"]), max_size=8).map(" ".join)
several = st.lists(texts, min_size=1, max_size=6)


@pytest.mark.parametrize("name", REFERENCE)
@given(hypotheses=several, references=several)
def test_utilities_are_those_of_each_pair_alone(name, hypotheses, references):
    found = UTILITIES[name](hypotheses, references)
    wanted = [[REFERENCE[name](h, r) for r in references] for h in hypotheses]
    assert found.shape == (len(hypotheses), len(references))
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_every_utility_has_a_reference():
    assert set(UTILITIES) == set(REFERENCE)


@pytest.mark.parametrize("name", REFERENCE)
@given(hypotheses=several, data=st.data())
def test_choice_is_its_definition(name, hypotheses, data):
    logs = data.draw(st.lists(st.floats(-30, 0), min_size=len(hypotheses), max_size=len(hypotheses)))
    total = sum(math.exp(log) for log in logs)
    expected = []
    for h in hypotheses:
        risk = 0.0
        for r, log in zip(hypotheses, logs, strict=True):
            risk += math.exp(log) / total * (1 - REFERENCE[name](h, r))
        expected.append(1 - risk)
    ranked = mbr(hypotheses, np.array(logs) - 1000.0, UTILITIES[name])  # a constant changes nothing
    assert expected[ranked[0].index] >= max(expected) - 1e-8
    for index, utility in ranked:
        assert utility == pytest.approx(expected[index], abs=1e-8)
        assert hypotheses.index(hypotheses[index]) == index
    assert {hypotheses[index] for index, _ in ranked} == set(hypotheses)
    for one, other in pairwise(ranked):
        assert one.utility > other.utility or (one.utility == other.utility and one.index < other.index)


def test_ties_go_to_the_first():
    def blind(hypotheses, references):
        return np.full((len(hypotheses), len(references)), 0.1)

    assert [one.index for one in mbr(["c", "a", "b", "a"], [-1, -2, -3, -4], blind)] == [0, 1, 2]
    # Each is as like the others as the next: rounding must not choose.
    rotated = ["abcde", "bcdea", "cdeab", "deabc", "eabcd"]
    assert [one.index for one in mbr(rotated, [0] * 5, UTILITIES["exact"])] == [0, 1, 2, 3, 4]


def test_exact_over_an_nbest_list_is_the_likeliest():
    assert mbr(["a", "b", "c"], [-3.0, -1.0, -2.0], UTILITIES["exact"])[0].index == 1


def test_texts_that_are_the_same_count_together():
    assert mbr(["a", "b", "a"], [-1.1, -1.0, -1.1], UTILITIES["exact"])[0].index == 0


@pytest.mark.parametrize(("hypotheses", "logs"), [([], []), (["a"], [0.0, 0.0]), (["a"], [-math.inf])])
def test_what_cannot_be_chosen_from(hypotheses, logs):
    with pytest.raises(SearchError, match="one finite number for each"):
        mbr(hypotheses, logs, UTILITIES["exact"])


def test_many_long_texts_take_room_for_what_they_share_alone():
    draw = np.random.default_rng(0)
    texts = [
        "".join(map(chr, 0x4E00 + draw.integers(20_000, size=60))) for _ in range(300)
    ]  # which share hardly a pair
    tracemalloc.start()
    table = UTILITIES["chrf"](texts, texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.allclose(np.diag(table), 1) and table.shape == (300, 300)
    assert peak < 6e7  # counts of all n-grams: 300 x 18,000 of each order, 43 MB, and three copies
