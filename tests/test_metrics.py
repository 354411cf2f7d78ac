"""Metrics: against definitions written out the slow way, and against what must hold for any text."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import corpus_bleu, corpus_chrf

from seq2seq import metrics
from seq2seq.errors import DataError

lines = st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(" ".join)
items = st.lists(st.tuples(lines, st.lists(lines, min_size=1, max_size=3)), min_size=1, max_size=8)


def distance(one, two):
    """Levenshtein's recursion, as defined."""
    table = {(i, 0): i for i in range(len(one) + 1)} | {(0, j): j for j in range(len(two) + 1)}
    for i in range(1, len(one) + 1):
        for j in range(1, len(two) + 1):
            swap = table[i - 1, j - 1] + (one[i - 1] != two[j - 1])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, swap)
    return table[len(one), len(two)]


@given(items)
def test_error_rates_are_their_definitions(rows):
    hypotheses, references = [row[0] for row in rows], [row[1] for row in rows]
    found = metrics.evaluate(hypotheses, references)
    assert list(found) == ["exact_match_percent", "wer_percent", "token_error_rate_percent", "bleu", "chrf"]
    wrong = sum(one not in several for one, several in rows)
    assert found["wer_percent"] == pytest.approx(100 * wrong / len(rows))
    assert found["exact_match_percent"] + found["wer_percent"] == pytest.approx(100)
    errors = total = 0
    for one, several in rows:
        scored = [(distance(one.split(), other.split()), -len(other.split())) for other in several]
        errors, total = errors + min(scored)[0], total - min(scored)[1]
    assert found["token_error_rate_percent"] == pytest.approx(100 * errors / total)
    assert metrics.confusions(hypotheses, references).total() == errors
    assert all(math.isfinite(value) and value >= 0 for value in found.values())


@given(items)
def test_one_reference_each_is_plain_sacrebleu(rows):
    hypotheses, first = [row[0] for row in rows], [row[1][0] for row in rows]
    one_each = [[reference] for reference in first]
    theirs = corpus_bleu(hypotheses, [first], tokenize="none", force=True).score
    assert metrics.bleu(hypotheses, one_each) == min(theirs, 100.0)  # theirs is 100.00000000000004 where all is right
    assert metrics.chrf(hypotheses, one_each) == corpus_chrf(hypotheses, [first]).score


@given(items)
def test_perfect_output_is_perfect(rows):
    found = metrics.evaluate([row[1][-1] for row in rows], [row[1] for row in rows])
    assert (found["wer_percent"], found["token_error_rate_percent"]) == (0.0, 0.0)
    assert found["chrf"] == pytest.approx(100.0)


@given(items)
def test_saying_a_reference_twice_changes_nothing(rows):
    hypotheses, references = [row[0] for row in rows], [row[1] for row in rows]
    twice = [[*several, several[0]] for several in references]
    assert metrics.evaluate(hypotheses, references) == pytest.approx(metrics.evaluate(hypotheses, twice))


def test_a_source_with_very_many_targets_takes_no_room_beside_others():
    outputs = [f"a b c d {n}" for n in range(300)]
    references = [[output] for output in outputs]
    references[0] = [f"a b c d {n}" for n in range(300)]
    tracemalloc.start()
    assert metrics.bleu(outputs, references) == pytest.approx(100)
    assert metrics.chrf(outputs, references) == pytest.approx(100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e7  # with each item's last reference as often as the most: 90,000 of them, hundreds of megabytes


def test_any_reference_counts_for_bleu():
    assert metrics.bleu(["a b c d", "e f g h"], [["x", "a b c d"], ["e f g h"]]) == pytest.approx(100.0)


def test_tokens_are_what_split_cuts():
    assert metrics.token_error_rate_percent(["abcd"], [["abce"]], split=list) == 25.0
    assert metrics.token_error_rate_percent(["abcd"], [["abce"]]) == 100.0


def test_raw_text_is_cut_for_13a():
    hypotheses, references = ["Hello there, my friend."], [["Hello there , my friend ."]]
    assert metrics.bleu(hypotheses, references, "13a") == pytest.approx(100.0)
    assert metrics.bleu(hypotheses, references, "none") < 50.0


def test_an_empty_hypothesis_is_all_wrong():
    found = metrics.evaluate([""], [["a b"]])
    assert found["token_error_rate_percent"] == 100.0 and found["bleu"] == 0.0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), max_size=12))
def test_group_keeps_every_pair_once(pairs):
    sources, references = metrics.group(pairs)
    assert sources == list(dict.fromkeys(source for source, _ in pairs))
    assert {(s, t) for s, targets in zip(sources, references, strict=True) for t in targets} == set(pairs)
    assert sum(map(len, references)) == len(set(pairs))


def test_directions():
    assert set(metrics.METRICS) >= {
        *metrics.evaluate(["a"], [["a"]]),
        "loss_nats_per_token",
        "perplexity",
        "shuffled_loss_nats_per_token",
        "listening_nats_per_token",
    }
    down = {"loss_nats_per_token", "perplexity", "wer_percent", "token_error_rate_percent"}
    assert {name for name, one in metrics.METRICS.items() if one.better == "lower"} == down


def test_nothing_to_measure():
    for hypotheses, references in (([], []), (["a"], []), (["a"], [[]])):
        with pytest.raises(DataError):
            metrics.evaluate(hypotheses, references)


def test_only_spaces_part_tokens():
    found = metrics.evaluate(["a b"], [["a\u00a0b"]])
    assert (found["wer_percent"], found["token_error_rate_percent"]) == (100, 200)
