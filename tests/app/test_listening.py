"""The listening report against its definitions, by plain loops, and at the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import words

import seq2seq
from seq2seq import metrics
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.listening import Listening, draw, first, shuffled

SOURCES = words(130, seed=3)
PAIRS = [(word, word[::-1] + "a" * (n % 4)) for n, word in enumerate(SOURCES)]
NAMES = {
    "listening_low_nats_per_token",
    "listening_high_nats_per_token",
    "listening_items",
    *(f"{kind}_at_1_of_{n}_percent" for kind in ("recall", "pmi_recall", "own_source") for n in (10, 100)),
    "distinct_1",
    "distinct_2",
    "unique_outputs_percent",
}


@pytest.fixture(scope="module")
def model(trained):
    return seq2seq.load(trained)


def percent(rows) -> float:
    return 100 * float(np.mean([int(np.argmax(row)) == 0 for row in rows]))


def test_the_scores_of_many_pairs_are_those_of_each(model):
    targets, sources = ["", "abc", "f" * 12, "de"], [*SOURCES[:4], "", "abcdef"]
    pairs = [(sources[n % 6], targets[n % 4]) for n in np.random.default_rng(0).permutation(40)]
    one_by_one = [sum(s) for _, s in model.token_scores(pairs)]
    np.testing.assert_allclose(model.pair_scores(pairs), one_by_one, atol=1e-4)


def test_candidates_are_a_function_of_the_item_alone():
    texts, documents = [f"{n % 120}" for n in range(240)], ["a"] * 180 + ["b"] * 59 + ["c"]
    of = [f"{n % 7 + 100}" for n in range(240)]
    picks = draw(texts, of, documents, 240, seed=5)
    assert set(picks) == set(range(239))  # "c" has no other
    for item, several in picks.items():
        assert several[0] == item and len({texts[n] for n in several}) == len(several)
        assert {documents[n] for n in several} == {documents[item]}
        assert of[item] not in [texts[n] for n in several[1:]]
        assert len(several) == (100 if item < 180 else 10)
    few = draw(texts, of, documents, 3, seed=5)
    assert set(few) <= set(picks) and all(np.array_equal(few[item], picks[item]) for item in few)
    assert not np.array_equal(draw(texts, of, documents, 1, seed=6)[0], picks[0])


def test_equals_share_the_first_place():
    assert first("x", [np.zeros(100)]) == {"x_at_1_of_10_percent": 10.0, "x_at_1_of_100_percent": 1.0}
    assert first("x", [np.zeros(9)]) == {}


def test_the_report_is_its_definition(model):
    outputs = {source: source[:2] + "ab"[n % 2] for n, source in enumerate(SOURCES)}
    outputs = {source: output for source, output in outputs.items() if source != SOURCES[7]}  # fewer items than pairs
    found = Listening(items=8, split=list)(model, PAIRS, outputs)
    assert set(found) == NAMES
    targets = [target for _, target in PAIRS]
    recall = {10: [], 100: []}
    pointwise = {10: [], 100: []}
    for item, several in draw(targets, SOURCES, [""] * 130, 8, seed=0).items():
        scores = np.array([model.score([(SOURCES[item], targets[n])])[0] for n in several])
        prior = np.array([sum(s) for _, s in model.token_scores([("", targets[n]) for n in several])])
        for count in (10, 100):
            recall[count].append(scores[:count])
            pointwise[count].append((scores - prior)[:count])
    own = {10: [], 100: []}
    sources = list(outputs)
    for item, several in draw(sources, list(outputs.values()), [""] * 129, 8, seed=0).items():
        scores = model.score([(sources[n], outputs[sources[item]]) for n in several])
        for count in (10, 100):
            own[count].append(scores[:count])
    for count in (10, 100):
        assert found[f"recall_at_1_of_{count}_percent"] == pytest.approx(percent(recall[count]))
        assert found[f"pmi_recall_at_1_of_{count}_percent"] == pytest.approx(percent(pointwise[count]))
        assert found[f"own_source_at_1_of_{count}_percent"] == pytest.approx(percent(own[count]))
    true, other = sum(model.score(PAIRS)), sum(model.score(shuffled(PAIRS)))
    worth = (true - other) / sum(len(target) + 1 for target in targets)
    assert found["listening_low_nats_per_token"] < worth < found["listening_high_nats_per_token"]
    assert found["listening_items"] == 8


def test_shuffled_sources_are_those_of_other_pairs():
    moved = shuffled(PAIRS)
    assert [target for _, target in moved] == [target for _, target in PAIRS]
    assert sorted(source for source, _ in moved) == sorted(SOURCES)
    assert all(here != there for (here, _), (there, _) in zip(PAIRS, moved, strict=True))


def test_distinct_by_plain_loops():
    outputs = [list("abab"), [], ["c"], list("ba")]
    pairs = [tuple(tokens[i : i + 2]) for tokens in outputs for i in range(len(tokens) - 1)]
    assert metrics.distinct(outputs, 1) == 3 / 7
    assert metrics.distinct(outputs, 2) == len(set(pairs)) / 7 == 2 / 7
    assert metrics.distinct([], 1) == metrics.distinct([[]], 2) == 0


def test_the_interval_covers_the_truth_95_times_of_100():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        counts = rng.integers(1, 20, size=150)
        sums = counts * 0.5 + rng.normal(size=150) * np.sqrt(counts)
        low, high = metrics.interval(sums.tolist(), counts.tolist(), rounds=300)
        covered += low < 0.5 < high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_command_tells_it(run, fails, trained, tmp_path):
    lines = [{"source": s, "target": t, "document": "one" if n < 120 else "two"} for n, (s, t) in enumerate(PAIRS)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = ("evaluate", trained, "pairs.jsonl", "--json", "--beam", 1, "--listening", "--listening-items", 13)
    found = json.loads(run(*asked).out)
    assert set(found) >= NAMES and found["listening_items"] == 13
    low, high = found["listening_low_nats_per_token"], found["listening_high_nats_per_token"]
    assert low < found["listening_nats_per_token"] < high
    assert json.loads(run(*asked).out) == found
    shown = run(*(word for word in asked if word != "--json")).out
    assert "true target first of 100, %" in shown and len(shown.splitlines()) == len(found)
    near = json.loads(run(*asked, "--distractors-from", "document").out)
    assert near["listening_items"] == 13 and near["recall_at_1_of_10_percent"] >= 0
    assert "--listening-items is 0" in fails("evaluate", trained, "pairs.jsonl", "--listening-items", 0)
    for line in lines:
        line["document"] = line["source"]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    alone = json.loads(run(*asked, "--distractors-from", "document").out)
    assert alone["listening_items"] == 0 and not any("_at_1_of_" in name for name in alone)


def test_scores_are_computed_as_the_arithmetic_says(model):
    pairs = [(source, target) for source in SOURCES[:3] for target in SOURCES[:20]]
    plain, rough = model.pair_scores(pairs), model.pair_scores(pairs, Arithmetic(precision="bfloat16"))
    assert not np.array_equal(plain, rough)
    np.testing.assert_allclose(plain, rough, rtol=0.02)
