"""Dropped sources and target words: by (seed, epoch, index) alone, in training alone, and no more than that."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.data import BEGIN, END, PAD, UNKNOWN, Batches, Dataset, Dropping, Tokenizer
from seq2seq.errors import ConfigError

LETTERS = Tokenizer.train("character", ["abcdef"])
PAIRS = [("abcdef"[: 1 + n % 6] * (1 + n % 2), "fedcba"[: 1 + n % 5]) for n in range(400)]
DATA = Dataset.build(PAIRS, LETTERS, LETTERS)


def batches(**rates: float) -> Batches:
    return Batches(DATA, tokens=80, seed=3, dropping=Dropping(**rates))


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_it_depends_on_seed_epoch_and_index_alone() -> None:
    whole = list(batches(source=0.4, target=0.2).epoch(2))
    assert all(map(same, whole, batches(source=0.4, target=0.2).epoch(2)))
    assert all(map(same, whole[7:], batches(source=0.4, target=0.2).epoch(2, start=7)))
    other = [batch.source_lengths for batch in batches(source=0.4).epoch(3)]
    assert not all(np.array_equal(a.source_lengths, b) for a, b in zip(whole, other, strict=True))


def test_nothing_is_left_out_where_it_is_off_or_pairs_are_measured() -> None:
    assert all(map(same, batches().epoch(1), Batches(DATA, tokens=80, seed=3).epoch(1)))
    for (rows, batch), (others, plain) in zip(batches(source=0.9, target=0.9).once(), batches().once(), strict=True):
        assert np.array_equal(rows, others) and same(batch, plain)


def test_a_dropped_source_is_its_end_and_all_else_stays() -> None:
    dropped = rows = 0
    for batch, plain in zip(batches(source=0.3).epoch(1), batches().epoch(1), strict=True):
        assert same(batch[2:], plain[2:])
        for row in range(batch.size):
            if not np.array_equal(batch.source[:, row], plain.source[:, row]):
                assert batch.source[:, row].tolist() == [END] + [PAD] * (len(batch.source) - 1)
                assert batch.source_lengths[row] == 1
                dropped += 1
            else:
                assert batch.source_lengths[row] == plain.source_lengths[row]
            rows += int(plain.source_lengths[row] > 0)
    assert abs(dropped / rows - 0.3) < 4 * (0.3 * 0.7 / rows) ** 0.5


def test_hidden_words_are_read_as_unknown_and_still_predicted() -> None:
    hidden = words = 0
    for batch, plain in zip(batches(target=0.5).epoch(1), batches().epoch(1), strict=True):
        assert same(batch[:2], plain[:2]) and same(batch[3:], plain[3:])
        changed = batch.target_in != plain.target_in
        assert (batch.target_in[changed] == UNKNOWN).all() and not changed[np.isin(plain.target_in, (PAD, BEGIN))].any()
        hidden, words = hidden + changed.sum(), words + (plain.target_in > END).sum()
    assert abs(hidden / words - 0.5) < 4 * (0.25 / words) ** 0.5


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_what_is_no_probability(rate: float) -> None:
    with pytest.raises(ConfigError, match="--target-dropout"):
        Dropping(target=rate)
