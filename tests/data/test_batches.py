"""Data sets and batches: each pair once an epoch, few shapes, resume is the tail, padding is only padding."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data import BEGIN, END, PAD, Batches, Dataset, Pair, Shape, Tokenizer, buckets, collate, inference_batches
from seq2seq.data.buckets import _Cuts, _share, make_buckets
from seq2seq.errors import ConfigError, DataError

LETTERS = Tokenizer.train("character", ["abcdefghij"])
sides = st.text("abcdefghij", max_size=12)
datasets = st.lists(st.tuples(sides, sides), min_size=1, max_size=80)
budgets = st.integers(1, 200)


def build(pairs) -> Dataset:
    return Dataset.build(pairs, LETTERS, LETTERS)


def texts(dataset: Dataset) -> list[tuple[list[int], list[int]]]:
    """The ids of source and target of each pair."""
    sides = (dataset.source, dataset.source_offsets), (dataset.target, dataset.target_offsets)
    sources, targets = ([ids.tolist() for ids in np.split(flat, offsets[1:-1])] for flat, offsets in sides)
    return list(zip(sources, targets, strict=True))


def rows_of(batch) -> list[tuple[str, str]]:
    """The pairs in a batch, read as a model would; and everything that must hold for each row."""
    found = []
    for row in range(batch.size):
        length, count = batch.source_lengths[row], int(batch.target_mask[:, row].sum())
        source, target = batch.source[:, row].tolist(), batch.target_out[:, row].tolist()
        if length == 0:
            assert count == 0 and set(source) == set(target) == set(batch.target_in[:, row].tolist()) == {PAD}
            continue
        assert source[length - 1] == END and not any(source[length:])
        assert target[count - 1] == END and not any(target[count:])
        begun = [BEGIN, *target[: count - 1]]
        assert batch.target_in[:, row].tolist() == begun + [PAD] * (len(target) - count)
        assert batch.target_mask[:, row].tolist() == [1.0] * count + [0.0] * (len(target) - count)
        found.append((LETTERS.decode(source), LETTERS.decode(target)))
    return found


@given(datasets, budgets, st.integers(0, 3), st.integers(0, 3), st.integers(1, 8))
def test_every_epoch_has_each_pair_once_in_few_shapes(pairs, tokens, seed, epoch, max_shapes):
    batches = Batches(build(pairs), tokens=tokens, seed=seed, max_shapes=max_shapes)
    made = list(batches.epoch(epoch))
    assert len(made) == batches.count
    assert sorted(row for batch in made for row in rows_of(batch)) == sorted(pairs)
    shapes = {(*batch.target_in.shape[:1], *batch.source.shape) for batch in made}
    assert shapes == {(shape.target, shape.source, shape.batch) for shape in batches.shapes}
    assert len(batches.shapes) <= max_shapes
    for shape in batches.shapes:
        assert shape.batch == 1 or shape.batch * (shape.source + shape.target) <= tokens
    cells = sum(batch.source.size + batch.target_in.size for batch in made)
    real = sum(batch.source_lengths.sum() + batch.target_mask.sum() for batch in made)
    assert batches.padding_waste == pytest.approx(1 - real / cells)


@given(datasets, budgets, st.integers(0, 2), st.data())
def test_resume_is_the_tail(pairs, tokens, epoch, data):
    dataset = build(pairs)
    whole = list(Batches(dataset, tokens=tokens, seed=7).epoch(epoch))
    start = data.draw(st.integers(0, len(whole)))
    rest = list(Batches(dataset, tokens=tokens, seed=7).epoch(epoch, start))
    assert len(rest) == len(whole) - start
    for ours, theirs in zip(rest, whole[start:], strict=True):
        assert all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_the_order_is_of_the_seed_and_the_epoch():
    dataset = build([("a" * (i % 9), "b" * (i % 7)) for i in range(200)])

    def order(seed, epoch):
        return [rows_of(batch) for batch in Batches(dataset, tokens=100, seed=seed).epoch(epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)


def test_pairs_meet_other_pairs_every_epoch():
    batches = Batches(build([(LETTERS.decode([4 + i // 10, 4 + i % 10]), "a") for i in range(100)]), tokens=50, seed=1)
    first, second = ({frozenset(rows_of(batch)) for batch in batches.epoch(epoch)} for epoch in (0, 1))
    assert len(first & second) < len(first) / 2


def test_dtypes_and_layout():
    batch = next(Batches(build([("ab", "c")]), tokens=50, seed=0).epoch(0))
    assert [array.dtype.name for array in batch] == ["int32"] * 4 + ["float32"]
    assert all(array.flags.c_contiguous for array in batch)
    assert (batch.size, batch.source.shape, batch.target_out.shape) == (1, (3, 1), (2, 1))


def test_pairs_that_come_in_turns_all_decide_the_shapes(monkeypatch):
    monkeypatch.setattr(buckets, "_LOOKED_AT", 1000)
    lengths = np.tile(np.array([[5, 50], [50, 5]], np.int32), (1000, 1))
    found = make_buckets(lengths, 1000, 8, 0.0)
    assert {(bucket.shape.source, bucket.shape.target) for bucket in found} >= {(5, 50), (50, 5)}


def test_shapes_follow_the_lengths():
    rng = np.random.default_rng(0)
    dataset = build([("a" * n, "b" * n) for n in rng.integers(1, 60, 3000)])
    one, many = (Batches(dataset, tokens=1000, seed=1, max_shapes=n) for n in (1, 8))
    assert len(one.shapes) == 1
    assert many.padding_waste < 0.14 < 0.4 < one.padding_waste
    assert all(shape.batch % 8 == 0 for shape in many.shapes)
    assert [shape.source for shape in many.shapes] == sorted(shape.source for shape in many.shapes)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 4))
def test_the_cuts_are_as_good_as_any(steps, most):
    lengths = np.sort(np.array(steps))
    cuts = _Cuts(np.stack([lengths, lengths], axis=1), most)
    for groups in range(1, len(cuts.padded)):
        tried = [
            sum(2 * len(part) * part[-1] for part in np.split(lengths, at))
            for at in combinations(range(1, len(lengths)), groups - 1)
        ]
        tops = np.array(cuts.corners(groups))[:, 0]
        assert cuts.padded[groups] == min(tried) == sum(2 * tops[tops >= length].min() for length in lengths)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=3), st.integers(0, 9))
def test_groups_are_shared_out_in_the_best_way(steps, worth):
    parts = [_Cuts(np.array([[n, 1] for n in sorted(part)]), 3) for part in steps]
    most = len(parts) + 2
    cost, corners = _share(parts, most, float(worth))
    ways = product(*(range(1, len(part.padded)) for part in parts))
    tried = {
        way: sum(part.padded[groups] + worth * groups for part, groups in zip(parts, way, strict=True))
        for way in ways
        if sum(way) <= most
    }
    assert cost == min(tried.values()) and len(corners) in {sum(way) for way in tried if tried[way] == cost}


def test_lengths_that_have_nothing_to_do_with_each_other_are_cut_twice():
    source, target = np.random.default_rng(0).integers(1, 80, (2, 4000)).tolist()
    dataset = build([("a" * n, "b" * m) for n, m in zip(source, target, strict=True)])
    few, many = (Batches(dataset, tokens=2000, seed=1, max_shapes=n, worth=0) for n in (1, 16))
    assert len(many.shapes) == 16
    # In four bands, each cut into four, half of an eighth of the longest is padding on each side, and a little more.
    assert many.padding_waste < 0.25 < 0.45 < few.padding_waste


def test_few_pairs_get_few_shapes():
    assert len(Batches(build([("a" * n, "b") for n in range(60)]), tokens=4000, seed=1).shapes) == 1


@pytest.mark.parametrize(("count", "tokens"), [(500, 1400), (1000, 4096), (30, 1400)])
def test_one_long_pair_does_not_pad_all_others(count, tokens):
    batches = Batches(build([("abcdefgh", "hgfedcba")] * count + [("ab" * 450, "ba" * 450)]), tokens=tokens, seed=1)
    cells = sum(batch.source.size + batch.target_in.size for batch in batches.epoch(0))
    assert cells < 2.2 * (18 * count + 1802) and len(batches.shapes) <= 3


@given(datasets, budgets)
@settings(max_examples=30)
def test_once_says_which_pair_each_row_is(pairs, tokens):
    met = []
    for indices, batch in Batches(build(pairs), tokens=tokens, seed=1).once():
        assert rows_of(batch) == [pairs[index] for index in indices]
        met.extend(indices.tolist())
    assert sorted(met) == list(range(len(pairs)))


def test_more_padding_changes_nothing():
    dataset, rows = build([("abc", "de"), ("", "a")]), np.array([1, 0])
    small, large = collate(dataset, rows, Shape(4, 3, 2)), collate(dataset, rows, Shape(9, 8, 5))
    assert rows_of(small) == rows_of(large) == [("", "a"), ("abc", "de")]


def test_budgets_must_make_sense():
    for tokens, seed, shapes in ((0, 1, 8), (9, 1, 0), (9, -1, 8)):
        with pytest.raises(ConfigError):
            Batches(build([("a", "b")]), tokens=tokens, seed=seed, max_shapes=shapes)


# ---------------------------------------------------------------- data sets


@given(datasets)
@settings(max_examples=25)
def test_a_data_set_on_disk_is_the_one_in_memory(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("data")
    memory = build(pairs)
    disk = Dataset.build(iter(pairs), LETTERS, LETTERS, folder=folder / "built")
    for other in (memory, disk):
        assert other.fingerprint == memory.fingerprint
        assert texts(other) == [(LETTERS.encode(s), LETTERS.encode(t)) for s, t in pairs]
        assert np.array_equal(other.lengths, [(len(s) + 1, len(t) + 1) for s, t in pairs])
    if any(s for s, _ in pairs):  # NumPy gives an empty file as a plain array
        assert isinstance(disk.source, np.memmap)


def test_many_chunks_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.data.encoding.CHUNK", 3)
    pairs = [("ab" * i, "c") for i in range(10)]
    assert Dataset.build(pairs, LETTERS, LETTERS, folder=tmp_path).fingerprint == build(pairs).fingerprint


def test_fingerprints_tell_data_apart():
    prints = {build(pairs).fingerprint for pairs in ([("a", "b")], [("b", "a")], [("ab", "")], [("", "ab")])}
    assert len(prints) == 4


def test_long_pairs_are_left_out_and_counted():
    pairs = [Pair("abc", "a"), Pair("ab", "ab"), Pair("a", "abcd")]
    dataset = Dataset.build(pairs, LETTERS, LETTERS, max_length=2)
    assert (len(dataset), dataset.dropped) == (1, 2)
    assert texts(dataset) == [(LETTERS.encode("ab"), LETTERS.encode("ab"))]
    with pytest.raises(DataError, match=r"all 3 pairs .* more than 0 tokens"):
        Dataset.build(pairs, LETTERS, LETTERS, max_length=0)
    with pytest.raises(DataError, match="no pair"):
        build([])


# ---------------------------------------------------------------- inference


@given(st.lists(st.lists(st.integers(4, 9), max_size=40), max_size=60), st.integers(1, 16), st.integers(1, 4))
def test_inference_batches_restore_the_order(sources, batch, queue):
    answers: list[list[int] | None] = [None] * len(sources)
    shapes = set()
    for indices, source, lengths in inference_batches(sources, batch=batch, queue=queue):
        shapes.add(source.shape)
        assert not lengths[len(indices) :].any() and not source[:, len(indices) :].any()
        for row, index in enumerate(indices):
            answers[index] = source[: lengths[row], row].tolist()
            assert not source[lengths[row] :, row].any()
    assert answers == [[*ids, END] for ids in sources]
    assert {steps for steps, _ in shapes} <= {16, 32, 64}
    assert len({rows for _, rows in shapes}) <= (1 if queue == 1 else 2)
    assert len(shapes) <= (3 if queue == 1 else 6)


def test_a_queue_holds_what_one_shape_holds_longest_first():
    sources = [[5] * n for n in (3, 20, 1, 2, 9, 15, 16, 4)]
    found = list(inference_batches(sources, batch=2, queue=4))
    assert [source.shape for _, source, _ in found] == [(16, 8), (32, 2)]
    assert found[0].indices.tolist() == [5, 4, 7, 0, 3, 2] and found[0].lengths.tolist() == [16, 10, 5, 4, 3, 2, 0, 0]
    long = list(inference_batches([[5] * 4000] * 9, batch=2, queue=8))
    assert {source.shape for _, source, _ in long} == {(4096, 8), (4096, 2)}


def test_few_sources_make_small_batches():
    assert [len(lengths) for _, _, lengths in inference_batches([[5]] * 3)] == [4]
    assert [len(lengths) for _, _, lengths in inference_batches([[5]])] == [1]
    with pytest.raises(ConfigError):
        list(inference_batches([[5]], batch=0))
    with pytest.raises(ConfigError):
        list(inference_batches([[5]], queue=0))


def test_pairs_of_unlike_lengths_are_left_out_and_counted():
    letters = Tokenizer.train("character", ["ab"])
    pairs = [("a", "ab"), ("ab", "a"), ("a", "aba"), ("abab", "a"), ("ab", "ab")]
    data = Dataset.build(pairs, letters, letters, max_ratio=2)
    assert (len(data), data.dropped) == (3, 2)
    with pytest.raises(DataError, match="of a ratio above 1"):
        Dataset.build([("a", "ab")], letters, letters, max_ratio=1)


def test_readers_of_one_data_set_do_not_meet_and_need_write_nothing(tmp_path):
    pairs = [("ab" * (n % 7), "b" * (n % 5)) for n in range(200)]

    def read():
        return Dataset.build(pairs, LETTERS, LETTERS, folder=tmp_path, of="these")

    wanted = read().lengths.copy()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: np.array(read().lengths), range(200)))
    assert all((lengths == wanted).all() for lengths in found)
    assert sorted(path.name for path in tmp_path.glob("lengths*")) == ["lengths.npy"]
    data = read()
    with pytest.MonkeyPatch.context() as patch:  # a file system that is read-only; removing what is not there fails too
        patch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        assert (data.lengths == wanted).all()
