"""The listening report against its definitions, by plain loops, and at the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import words

import seq2seq
from seq2seq import Tokenizer, metrics
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.listening import Listening, _information, blocks, first, shuffled

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
    """Of rows whose first number is the highest."""
    return 100 * float(np.mean([int(np.argmax(row)) == 0 for row in rows]))


def test_the_scores_of_many_pairs_are_those_of_each(model):
    targets, sources = ["", "abc", "f" * 12, "de"], [*SOURCES[:4], "", "abcdef"]
    pairs = [(sources[n % 6], targets[n % 4]) for n in np.random.default_rng(0).permutation(40)]
    one_by_one = [sum(s) for _, s in model.token_scores(pairs)]
    np.testing.assert_allclose(model.pair_scores(pairs), one_by_one, atol=1e-4)


def test_the_items_of_a_block_can_be_told_apart():
    texts, documents = [f"{n % 220}" for n in range(440)], ["a"] * 380 + ["b"] * 59 + ["c"]
    of = [f"{(n + 3) % 260}" for n in range(440)]  # the target of one is the source of another, as with next lines
    found = blocks(texts, of, documents, 440, seed=5)
    assert sorted(map(len, found)) == [10] * 5 + [100] * 2  # "c" has no other, and "a" no third hundred without clashes
    items = np.concatenate(found)
    assert len(set(items.tolist())) == len(items)
    for block in found:
        assert {documents[n] for n in block} == {"a" if len(block) == 100 else "b"}
        assert len({texts[n] for n in block}) == len(block)
        assert not {texts[n] for n in block} & {of[n] for n in block}
    some = blocks(texts, of, documents, 120, seed=5)
    assert sorted(map(len, some)) == [10, 10, 100]
    assert {tuple(block) for block in some} < {tuple(block) for block in found}
    assert {len(block) for block in blocks(texts, of, documents, 99, seed=5)} == {10}
    assert not np.array_equal(blocks(texts, of, documents, 440, seed=6)[0], found[0])
    assert blocks(texts, of, [str(n) for n in range(440)], 440, seed=5) == []


class Counted(str):
    """A text that counts how often it is looked for."""

    asked = 0

    def __hash__(self) -> int:
        Counted.asked += 1
        return super().__hash__()

    __eq__ = str.__eq__


def test_many_equal_texts_are_not_all_compared_with_each_other():
    texts = [Counted("same")] * 2000 + [Counted(n) for n in range(99)]
    Counted.asked = 0
    found = blocks(texts, [f"x{n}" for n in range(len(texts))], [""] * len(texts), 1000, seed=0)
    assert [len({texts[n] for n in block}) for block in found] == [100]
    assert Counted.asked < 300 * len(texts)  # each with 256 blocks; with all it would be a thousand


def test_what_counts_is_on_the_diagonal():
    table = np.random.default_rng(0).normal(size=(100, 100)) + 2 * np.eye(100)
    of_10 = [max(row[(n + k) % 100] for k in range(10)) == row[n] for n, row in enumerate(table)]
    of_100 = [row.max() == row[n] for n, row in enumerate(table)]
    found = first("x", [table])
    assert found["x_at_1_of_10_percent"] == pytest.approx(100 * np.mean(of_10)) and np.mean(of_10) > 0
    assert found["x_at_1_of_100_percent"] == pytest.approx(100 * np.mean(of_100)) and np.mean(of_100) > 0


def test_equals_share_the_first_place():
    shared = first("x", [np.zeros((100, 100))])
    assert shared == {"x_at_1_of_10_percent": pytest.approx(10), "x_at_1_of_100_percent": pytest.approx(1)}
    assert first("x", [np.zeros((9, 9))]) == {}


def others(block, documents) -> list[str]:
    """20 sources that are no text of the block, of its document where there are so many."""
    texts = {text for n in block for text in PAIRS[n]}
    order = [n for n in np.random.default_rng([0, block[0]]).permutation(len(PAIRS)) if SOURCES[n] not in texts]
    near = [n for n in order if documents[n] == documents[block[0]]]
    far = [n for n in order if documents[n] != documents[block[0]]]
    return [SOURCES[n] for n in near + far][:20]


@pytest.mark.parametrize(("items", "count"), [(8 + 100, 100), (25, 10)])
def test_the_report_is_its_definition(model, items, count):
    outputs = {source: source[:2] + "fababab" + "ab"[n % 2] for n, source in enumerate(SOURCES)}
    outputs = {source: output for source, output in outputs.items() if source != SOURCES[7]}  # fewer items than pairs
    documents = ["one"] * 115 + ["two"] * 15
    found = Listening(items=items, documents=documents, split=list)(model, PAIRS, outputs)
    targets = [target for _, target in PAIRS]
    recall, pointwise = {10: [], 100: []}, {10: [], 100: []}
    picked = blocks(targets, SOURCES, documents, items, seed=0)
    for block in picked:
        prior = {n: np.mean(model.score([(other, targets[n]) for other in others(block, documents)])) for n in block}
        for place, item in enumerate(block):
            turned = [*block[place:], *block[:place]]  # itself first, then those behind it
            scores = np.array(model.score([(SOURCES[item], targets[n]) for n in turned]))
            recall[10].append(scores[:10]), recall[len(block)].append(scores)
            more = scores - np.array([prior[n] for n in turned])
            pointwise[10].append(more[:10]), pointwise[len(block)].append(more)
    own = {10: [], 100: []}
    sources = list(outputs)
    for block in blocks(sources, list(outputs.values()), [d for n, d in enumerate(documents) if n != 7], items, seed=0):
        for place, item in enumerate(block):
            turned = [*block[place:], *block[:place]]
            scores = model.score([(sources[n], outputs[sources[item]]) for n in turned])
            own[10].append(scores[:10]), own[len(block)].append(scores)
    for size in {10, count}:
        assert found[f"recall_at_1_of_{size}_percent"] == pytest.approx(percent(recall[size]))
        assert found[f"pmi_recall_at_1_of_{size}_percent"] == pytest.approx(percent(pointwise[size]))
        assert found[f"own_source_at_1_of_{size}_percent"] == pytest.approx(percent(own[size]))
    assert set(found) == {name for name in NAMES if count == 100 or "_of_100" not in name}
    true, other = sum(model.score(PAIRS)), sum(model.score(shuffled(PAIRS)))
    worth = (true - other) / sum(len(target) + 1 for target in targets)
    assert found["listening_low_nats_per_token"] < worth < found["listening_high_nats_per_token"]
    assert found["listening_items"] == sum(map(len, picked))


def test_without_other_sources_there_is_no_mutual_information(model):
    found = Listening(items=10, split=list)(model, PAIRS[:10], {})
    assert "recall_at_1_of_10_percent" in found and "pmi_recall_at_1_of_10_percent" not in found


def test_shuffled_sources_are_other_texts():
    pairs = [("yes" if n % 3 else f"no {n}", str(n)) for n in range(30)]
    assert sum(one == other for (one, _), (other, _) in zip(pairs, shuffled(pairs), strict=True)) == 10  # 20 of 30
    few = [("yes" if n % 3 == 0 else f"no {n}", str(n)) for n in range(30)]
    moved = shuffled(few)
    assert all(one != other for (one, _), (other, _) in zip(few, moved, strict=True))
    assert sorted(source for source, _ in moved) == sorted(source for source, _ in few)


def test_targets_that_cannot_be_are_no_news():
    assert _information(np.array([[-np.inf, 1.0], [-np.inf, 2.0], [-np.inf, 0.0]])).tolist() == [[0, 1], [0, 2]]

    class Sure:
        target_tokenizer = Tokenizer.train("character", ["ab"])

        def pair_scores(self, pairs, _):
            return np.array([-np.inf if target == "a" else -1.0 - (source == target) for source, target in pairs])

    worth = Listening()._worth(Sure(), [("a", "a"), ("b", "b"), ("c", "b")])
    assert all(map(np.isfinite, worth.values())) and len(worth) == 2
    assert Listening()._worth(Sure(), [("a", "a"), ("b", "a")])["listening_low_nats_per_token"] == 0


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


def test_blocks_of_ten_cost_less():
    assert Listening(50).pairs_to_score(200) == 2 * 200 + (2 * 10 + 20) * 50
    assert Listening(1000).pairs_to_score(200) == 2 * 200 + (2 * 100 + 20) * 200


def test_the_command_tells_it(run, fails, trained, tmp_path):
    lines = [{"source": s, "target": t, "document": "one" if n < 120 else "two"} for n, (s, t) in enumerate(PAIRS)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = ("evaluate", trained, "pairs.jsonl", "--json", "--beam", 1, "--listening", "--listening-items", 110)
    found = json.loads(run(*asked).out)
    assert set(found) >= NAMES and found["listening_items"] == 100
    low, high = found["listening_low_nats_per_token"], found["listening_high_nats_per_token"]
    assert low < found["listening_nats_per_token"] < high
    assert json.loads(run(*asked).out) == found
    shown = run(*(word for word in asked if word != "--json")).out
    assert "true target first of 100, %" in shown and len(shown.splitlines()) == len(found)
    near = json.loads(run(*asked, "--distractors-from", "document").out)
    assert near["listening_items"] == 110 and near["recall_at_1_of_10_percent"] >= 0
    assert "--listening-items is 9" in fails("evaluate", trained, "pairs.jsonl", "--listening-items", 9)
    assert "are for --listening: add it" in fails("evaluate", trained, "pairs.jsonl", "--listening-items", 20)
    assert "--nbest is for generate" in fails("evaluate", trained, "pairs.jsonl", "--nbest", 3)
    for line in lines:
        line["document"] = line["source"]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    alone = json.loads(run(*asked, "--distractors-from", "document").out)
    assert alone["listening_items"] == 0 and not any("_at_1_of_" in name for name in alone)
    (tmp_path / "pairs.tsv").write_text("".join(f"{one['source']}\t{one['target']}\n" for one in lines))
    asked = ("evaluate", trained, "pairs.tsv", "--listening", "--distractors-from", "document")
    assert "no pair says which document it is from" in fails(*asked)


def test_scores_are_computed_as_the_arithmetic_says(model):
    pairs = [(source, target) for source in SOURCES[:3] for target in SOURCES[:20]]
    plain, rough = (model.pair_scores(pairs, Arithmetic(precision=name)) for name in ("float32", "bfloat16"))
    assert not np.array_equal(plain, rough)
    np.testing.assert_allclose(plain, rough, rtol=0.02)
