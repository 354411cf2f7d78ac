"""Pieces that are undone: the same texts, cut along the merges' own tree, as often as the rate says and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import Batches, Dataset, PieceDropout, Tokenizer
from seq2seq.errors import ConfigError

TEXTS = ["the cat sat on the mat", "that cats sat there", "das Fräulein sah die Matte", "the mattress of the cat"] * 9
PIECES = Tokenizer.train("bpe", TEXTS, vocabulary=340)
LETTERS = Tokenizer.train("character", TEXTS)
DATA = Dataset.build([(text, text[::-1]) for text in TEXTS], PIECES, PIECES.turned())


def dropout(rate: float = 0.3) -> PieceDropout:
    return PieceDropout.of(rate, PIECES, PIECES.turned())


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(
    st.lists(st.sampled_from([*TEXTS[:4], "", "x"]), max_size=6),
    st.floats(0.01, 0.99),
    st.integers(0, 99),
    st.integers(0, 1),
    st.integers(0, 60),
)
def test_texts_stay_and_have_no_more_ids_than_they_may(texts, rate, seed, side, more):
    tokenizer = (PIECES, PIECES.turned())[side]
    ids = tokenizer.encode_batch(texts)
    lengths = np.array([len(one) for one in ids], np.int64)
    most = int(lengths.max(initial=0)) + more
    flat = np.array([index for one in ids for index in one], np.int32)
    found, after = dropout(rate)(side, flat, lengths, most, np.random.default_rng(seed))
    assert (after >= lengths).all() and (after <= most).all() and after.sum() == len(found)
    parts = np.split(found, np.cumsum(after)[:-1]) if texts else []
    assert [tokenizer.decode(part) for part in parts] == texts


def halved(tokenizer: Tokenizer, index: int) -> list[int]:
    left, right = tokenizer.halves[index].tolist()
    return [index] if left < 0 else [*halved(tokenizer, left), *halved(tokenizer, right)]


def test_undone_to_the_end_only_bytes_are_left():
    ids = np.array(PIECES.encode(TEXTS[2]), np.int32)
    found, _ = PieceDropout.of(0.999999, PIECES, PIECES)(0, ids, np.array([len(ids)]), 999, np.random.default_rng(0))
    assert found.tolist() == [byte for index in ids.tolist() for byte in halved(PIECES, index)]
    assert len(found) == len(f" {TEXTS[2]}".encode())


def test_it_happens_as_often_as_the_rate_says():
    ids = np.array(PIECES.encode(TEXTS[0]) * 2000, np.int32)
    found, _ = dropout(0.2)(0, ids, np.array([len(ids)]), 10**9, np.random.default_rng(0))
    expected = dropout(0.2).expected(0)[ids].sum()
    assert expected > 1.15 * len(ids)
    assert abs(len(found) - expected) < 5 * len(ids) ** 0.5
    # By hand, of a piece of two halves that are bytes: 1 + p.
    whole = next(i for i, (a, b) in enumerate(PIECES.halves) if a >= 0 and max(PIECES.halves[[a, b], 0]) < 0)
    assert dropout(0.2).expected(0)[whole] == pytest.approx(1.2)


def test_batches_are_cut_by_seed_epoch_and_index_alone():
    made = [Batches(DATA, tokens=120, seed=3, pieces=dropout()) for _ in range(2)]
    whole = list(made[0].epoch(2))
    assert all(map(same, whole, made[1].epoch(2))) and all(map(same, whole[3:], made[1].epoch(2, start=3)))
    assert not all(map(same, whole, made[1].epoch(3)))
    for _, batch in made[0].once():  # to measure, nothing is cut otherwise
        for row in np.flatnonzero(batch.source_lengths):
            text = PIECES.decode(batch.source[:, row])
            assert batch.source[: batch.source_lengths[row] - 1, row].tolist() == PIECES.encode(text)


def test_batches_are_cut_otherwise_each_time():
    pair = Dataset.build([(TEXTS[0], TEXTS[1])], PIECES, PIECES)
    batches = Batches(pair, tokens=120, seed=3, pieces=PieceDropout.of(0.3, PIECES, PIECES))
    cuts = [next(batches.epoch(epoch)) for epoch in range(9)]
    for ids in ([batch.source for batch in cuts], [batch.target_out for batch in cuts]):
        assert len({one.tobytes() for one in ids}) > 5
    whole = PIECES.encode(TEXTS[0])
    assert any(batch.source[: len(whole), 0].tolist() != whole for batch in cuts)
    in_one_epoch = Batches(
        Dataset.build([(TEXTS[0], TEXTS[1])] * 9, PIECES, PIECES), tokens=60, seed=3, pieces=batches.pieces
    )
    assert len({batch.source.tobytes() for batch in in_one_epoch.epoch(0)}) > 2


def test_what_is_padding_is_not_what_cuts_have_room_for():
    data, pieces = Dataset.build([(TEXTS[0], TEXTS[0])] * 64, PIECES, PIECES), PieceDropout.of(0.3, PIECES, PIECES)
    batches = Batches(data, tokens=400, seed=3, pieces=pieces)
    steps = np.mean(
        [batch.source_lengths[batch.source_lengths > 0].mean() for e in range(9) for batch in batches.epoch(e)]
    )
    assert pieces.steps(data)[0, 0] == pytest.approx(steps, rel=0.1) and batches.padding_waste < 0.35


def test_every_pair_comes_once_an_epoch_whatever_its_cuts():
    said = []
    for batch in Batches(DATA, tokens=120, seed=3, pieces=dropout(0.6)).epoch(0):
        for row in np.flatnonzero(batch.source_lengths):
            said.append((PIECES.decode(batch.source[:, row]), PIECES.turned().decode(batch.target_out[:, row])))
    assert sorted(said) == sorted((text, text[::-1]) for text in TEXTS)


def test_letters_have_no_halves_and_one_side_may_be_of_them():
    assert (LETTERS.halves == -1).all()
    made = PieceDropout.of(0.5, LETTERS, PIECES)
    ids = np.array(LETTERS.encode("the cat"), np.int32)
    assert made(0, ids, np.array([7]), 99, np.random.default_rng(0))[0].tolist() == ids.tolist()
    with pytest.raises(ConfigError, match="undoes the merges of bpe; here sources are character"):
        PieceDropout.of(0.5, LETTERS, LETTERS)
    bytes_alone = Tokenizer.train("bpe", ["a"], vocabulary=260)
    with pytest.raises(ConfigError, match="without any"):
        PieceDropout.of(0.5, bytes_alone, LETTERS)
    for rate in (0.0, 1.0):
        with pytest.raises(ConfigError, match="wanted a probability between 0 and 1"):
            PieceDropout.of(rate, PIECES, PIECES)
