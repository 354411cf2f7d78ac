"""Pairs grouped by source are all there, once, with their own source, in few shapes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import END, grouped_batches
from seq2seq.data.tokenizer import BEGIN

IDS = st.lists(st.integers(4, 9), max_size=40)


@given(st.lists(IDS, min_size=1, max_size=12), st.data())
def test_each_pair_stands_once_beside_its_source(sources: list[list[int]], data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.integers(0, len(sources) - 1), IDS), max_size=30))
    of = np.array([row for row, _ in pairs], np.int64)
    found: Counter[int] = Counter()
    for block in grouped_batches(sources, of, [ids for _, ids in pairs]):
        for batch in block.targets:
            found.update(batch.indices.tolist())
            for row, index in enumerate(batch.indices):
                source, length = block.source[:, batch.of[row]], block.lengths[batch.of[row]]
                assert source[:length].tolist() == [*sources[of[index]], END] and not source[length:].any()
                target = pairs[index][1]
                held = batch.target_mask[:, row] > 0
                assert batch.target_out[held, row].tolist() == [*target, END]
                assert batch.target_in[held, row].tolist() == [BEGIN, *target]
                assert not batch.target_out[~held, row].any() and not batch.target_in[~held, row].any()
            assert not batch.target_mask[:, len(batch.indices) :].any()
    assert found == Counter(range(len(pairs)))


def test_shapes_are_few_and_the_padding_of_phrases_is_little() -> None:
    rng = np.random.default_rng(1)
    shapes: set[tuple[int, int, int]] = set()
    padded = used = 0
    for _ in range(4):
        lengths = rng.integers(1, 8, 8000)
        sources = [[5] * int(rng.integers(1, 8)) for _ in range(2000)]
        targets = [[5] * int(length) for length in lengths]
        for block in grouped_batches(sources, rng.integers(0, 2000, 8000), targets):
            for batch in block.targets:
                shapes.add((len(block.source), *batch.target_out.shape))
                padded += batch.target_out.size
                used += int(batch.target_mask.sum())
    assert len(shapes) <= 8 and padded < 1.1 * used


def test_long_texts_have_few_rows_and_few_shapes() -> None:
    sources = [[5] * length for length in range(1, 700, 5)]
    blocks = list(grouped_batches(sources, np.arange(len(sources)), sources))
    shapes = {batch.target_out.shape for block in blocks for batch in block.targets}
    assert all(steps * rows <= 16_384 for steps, rows in shapes) and len(shapes) < 24


def test_long_sources_have_few_targets_beside_them() -> None:
    for length, rows in ((1000, 64), (130, 256), (10, 512)):
        (block,) = grouped_batches([[5] * length], np.zeros(600, np.int64), [[6]] * 600)
        assert max(len(batch.of) for batch in block.targets) == rows
        assert sorted(int(i) for batch in block.targets for i in batch.indices) == list(range(600))
