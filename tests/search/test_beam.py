from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.toy_models import (
    ALLOWED,
    TableModel,
    all_strings,
    brute_force,
    numpy_attention,
    numpy_log_probabilities,
)

from seq2seq.core.module import as_node
from seq2seq.core.seams import END, Prediction
from seq2seq.errors import SearchError, Seq2SeqError, ShapeError
from seq2seq.search import BeamOptions, SearchOptions, beam, greedy
from seq2seq.search.beam import _explore
from seq2seq.search.options import LengthNorm

ROWS = [[4], [5, 4, 4], [6, 7], [8, 8, 5]]
LENGTHS = np.array([len(row) for row in ROWS])
SOURCE = np.array([row + [0] * (3 - len(row)) for row in ROWS]).T


def strings(found, row: int) -> list[tuple[int, ...]]:
    """The hypotheses of a row as tuples, empty places left out."""
    real = np.isfinite(found.scores[row])
    pairs = zip(np.asarray(found.tokens[row])[real], np.asarray(found.lengths[row])[real], strict=True)
    return [tuple(tokens[:length].tolist()) for tokens, length in pairs]


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
def test_beam_wider_than_the_space_is_brute_force(penalty):
    options = BeamOptions(size=45, nbest=45, length_penalty=penalty, max_length=4)
    limits = [3, 2, 3, 1]
    for seed in range(4):
        model = TableModel.random(seed)
        found = beam(model, SOURCE, LENGTHS, limits, options)
        for row, limit in enumerate(limits):
            expected = brute_force(model, ROWS[row], limit, penalty)
            assert sorted(strings(found, row)) == sorted(all_strings(limit))
            np.testing.assert_allclose(found.scores[row, : len(expected)], [s for s, _ in expected], atol=1e-5)
            assert strings(found, row)[0] == expected[0][1]
            known = {tokens: score for score, tokens in expected}
            for tokens, score in zip(strings(found, row), found.scores[row], strict=False):
                assert abs(known[tokens] - score) < 1e-5
            assert not np.isfinite(found.scores[row, len(expected) :]).any()


@partial(as_node, leaves=("table",))
@dataclass(frozen=True)
class Narrow:
    """Most tokens are impossible in most states, so that whole groups come to where nothing follows."""

    table: jax.Array

    def start(self, source, lengths):
        return source[0], jnp.zeros_like(lengths)

    def step(self, memory, state, token):
        state = (state * 3 + token) % self.table.shape[1]
        return state, Prediction(self.table[memory, state])


@pytest.mark.parametrize(("size", "groups", "nbest"), [(4, 1, 3), (4, 2, 4), (6, 3, 5)])
def test_what_is_found_is_whole_where_groups_come_to_nothing(size, groups, nbest):
    """Each hypothesis ends, or is as long as it may be, and has the probability of its own tokens."""
    draw, rows = np.random.default_rng(size), 256
    options = BeamOptions(size=size, groups=groups, diversity=0.7 * (groups > 1), nbest=nbest, max_length=8)
    for _ in range(8):
        table = np.where(draw.random((rows, 64, 6)) < 0.6, -np.inf, draw.normal(size=(rows, 64, 6)) * 2)
        table[..., END] = np.where(draw.random((rows, 64)) < 0.5, -np.inf, table[..., END])
        table[..., 4] = np.where(np.isinf(table).all(axis=-1), 0, table[..., 4])
        limits = draw.integers(3, 9, rows)
        model = Narrow(jnp.asarray(table, jnp.float32))
        found = jax.tree.map(np.asarray, beam(model, np.arange(rows)[None], np.ones(rows, np.int32), limits, options))
        real = np.isfinite(found.log_probabilities)
        sums = np.where(real, found.token_log_probabilities.sum(axis=-1), 0)
        np.testing.assert_allclose(sums, np.where(real, found.log_probabilities, 0), atol=1e-3)
        np.testing.assert_array_equal(found.lengths[~real], 0)
        for row, place in np.argwhere(real):
            ids = found.tokens[row, place, : found.lengths[row, place]].tolist()
            assert END not in ids[:-1] and 0 not in ids
            assert ids[-1] == END or len(ids) == limits[row]


def numpy_beam(model: TableModel, source: list[int], limit: int, options: BeamOptions) -> list[tuple[float, tuple]]:
    """Beam search as its module says, in float64, one sentence at a time and without any early stop."""
    going, ended = [(0.0, ())], []
    for length in range(1, limit + 1):
        nexts = []
        for total, prefix in going:
            gains = numpy_log_probabilities(model, source, prefix)
            nexts += [(total + gains[token], (*prefix, token)) for token in ALLOWED]
        best = sorted(nexts, reverse=True)[: options.size]
        ended += [(total / length**options.length_penalty, s) for total, s in best if s[-1] == END]
        going = [(total, s) for total, s in best if s[-1] != END]
    cut = [(total / limit**options.length_penalty, s) for total, s in going]
    return (sorted(ended, reverse=True) + sorted(cut, reverse=True))[: options.nbest]


@pytest.mark.parametrize(("size", "nbest", "penalty"), [(3, 1, 1.0), (3, 3, 0.6), (2, 1, 0.0)])
def test_stopping_early_changes_nothing(size, nbest, penalty):
    options = BeamOptions(size=size, nbest=nbest, length_penalty=penalty, max_length=9)
    limits = [9, 8, 5, 9]
    for seed in range(12):
        model = TableModel.random(seed, scale=1.5)
        found = beam(model, SOURCE, LENGTHS, limits, options)
        assert found.attention is None
        for row, limit in enumerate(limits):
            expected = numpy_beam(model, ROWS[row], limit, options)
            assert strings(found, row) == [tokens for _, tokens in expected]
            np.testing.assert_allclose(found.scores[row, : len(expected)], [s for s, _ in expected], atol=1e-5)


def test_a_better_hypothesis_that_ends_later_is_waited_for():
    # END at once has probability 0.4 (0.92 nats a token); six tokens and END, near certain once begun, cost less.
    chain = np.full((1, 9, 6), -9.0, np.float32)
    chain[0, 0, [END, 4]] = np.log([0.4, 0.35])
    chain[0, 1:7, 4] = chain[0, 7:, END] = 4.0
    step = np.minimum(np.arange(9)[:, None] + np.ones((1, 6), int), 8)
    step[0, 2], chain = 0, np.asarray(chain)  # BEGIN stays in the first state
    model = TableModel(jnp.asarray(chain), jnp.asarray(step, jnp.int32), jnp.zeros((9, 16)))
    found = beam(model, [[4]], [1], [9], BeamOptions(size=2, max_length=9))
    assert strings(found, 0) == [(4,) * 7 + (END,)]


def test_the_loop_ends_as_soon_as_nothing_can_change():
    model = TableModel.random(0)
    keen = TableModel(model.table.at[..., END].add(12.0), model.transition, model.focus)
    options = BeamOptions(size=3, max_length=50)
    limit = jnp.array([50, 50, 0, 50])
    for most, steps in ((limit, 1), (limit * 0, 0)):
        found, _ = _explore(keen, (jnp.asarray(SOURCE), jnp.asarray(LENGTHS), most), options, ())
        assert int(found.steps) == steps


def test_attention_follows_the_hypothesis_that_was_chosen():
    model = TableModel.random(3)
    found = beam(model, SOURCE, LENGTHS, [6] * 4, BeamOptions(size=4, nbest=4, max_length=6, attention=True))
    assert found.attention is not None
    for row, source in enumerate(ROWS):
        for place, tokens in enumerate(strings(found, row)):
            for time in range(len(tokens)):
                expected = numpy_attention(model, source, tokens[:time])
                np.testing.assert_allclose(found.attention[row, place, time, : len(source)], expected, atol=1e-5)


def test_attention_is_none_where_the_model_gives_none():
    model = TableModel.random(3)
    silent = TableModel(model.table, model.transition, model.focus, gives_attention=False)
    asked = BeamOptions(size=2, max_length=4, attention=True)
    assert beam(silent, SOURCE, LENGTHS, [4] * 4, asked).attention is None


def test_impossible_tokens_never_appear_and_make_no_nan():
    model = TableModel.random(5)
    model = TableModel(model.table.at[:, :, 4:].set(-jnp.inf).at[6].set(-jnp.inf), model.transition, model.focus)
    found = beam(model, SOURCE, LENGTHS, [4] * 4, BeamOptions(size=4, nbest=4, max_length=4))
    single = beam(model, SOURCE, LENGTHS, [4] * 4, BeamOptions(size=1, max_length=4, length_penalty=0.0))
    one = greedy(model, SOURCE, LENGTHS, [4] * 4, SearchOptions(max_length=4))
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves((found, one)))
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    for row, source in enumerate(ROWS):
        allowed = set() if sum(source) % 7 == 6 else {1, END}
        assert set().union(*strings(found, row)) == allowed
    assert any(sum(source) % 7 == 6 for source in ROWS)


@jax.tree_util.register_static
class Flat:
    """Every token alike: nothing but ties."""

    def start(self, source, lengths):
        return (), lengths

    def step(self, memory, state, token):
        return state, Prediction(jnp.zeros((len(token), 6)))


def test_ties_go_to_the_smallest_id_in_beam_and_greedy_alike():
    one = beam(Flat(), [[4]], [1], [3], BeamOptions(size=1, max_length=3))
    same = greedy(Flat(), [[4]], [1], [3], SearchOptions(max_length=3))
    assert one.tokens.tolist() == same.tokens.tolist() == [[[1, 1, 1]]]
    assert not one.finished.any()


def test_other_bans():
    banned = BeamOptions(size=2, max_length=3, banned=(0, 1, 2))
    assert beam(Flat(), [[4]], [1], [3], banned).tokens.tolist() == [[[3, 0, 0]]]
    assert beam(Flat(), [[4]], [1], [3], BeamOptions(size=1, max_length=3, banned=())).lengths.tolist() == [[3]]


def test_compiled_once_for_each_shape_and_option():
    traced = []

    class Counted(TableModel):
        def start(self, source, lengths):
            traced.append(source.shape)
            return super().start(source, lengths)

    as_node(Counted, ["table", "transition", "focus"], ["gives_attention"])
    for seed in range(3):
        beam(Counted.random(seed), SOURCE, LENGTHS, [2 + seed] * 4, BeamOptions(size=2, max_length=5))
    assert len(traced) == 1
    for penalty in (0.5, 0.7, 0.0):  # and once more for all penalties but the default
        beam(Counted.random(0), SOURCE, LENGTHS, [2] * 4, BeamOptions(size=2, max_length=5, length_penalty=penalty))
    assert len(traced) == 2


class Growing(Flat):
    def step(self, memory, state, token):
        return jnp.stack([state, state], -1), Prediction(jnp.zeros((len(token), 6)))


jax.tree_util.register_static(Growing)


def test_a_step_that_changes_its_state_is_named():
    with pytest.raises(ShapeError, match=r"Growing.step: state went in as int32\(1,\) and came out as int32\(1, 2\)"):
        beam(Growing(), [[4]], [1], [3], BeamOptions(max_length=3))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: BeamOptions(size=0), SearchError),
        (lambda: BeamOptions(size=2, nbest=3), SearchError),
        (lambda: BeamOptions(nbest=0), SearchError),
        (lambda: BeamOptions(length_penalty=-0.1), SearchError),
        (lambda: BeamOptions(length_penalty=float("nan")), SearchError),
        (lambda: BeamOptions(max_length=0), SearchError),
        (lambda: BeamOptions(banned=(0, END)), SearchError),
        (lambda: SearchOptions(max_length=0), SearchError),
        (lambda: greedy(Flat(), [4], [1], [3]), ShapeError),
        (lambda: greedy(Flat(), [[4.0]], [1], [3]), ShapeError),
        (lambda: greedy(Flat(), [[4]], [1, 1], [3]), ShapeError),
        (lambda: beam(Flat(), [[4]], [1], [[3]]), ShapeError),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(wrong, error):
    with pytest.raises(error) as raised:
        wrong()
    assert isinstance(raised.value, Seq2SeqError) and "\n" not in str(raised.value)


@pytest.mark.parametrize("norm", LengthNorm)
def test_a_divisor_is_never_infinite(norm):
    for power in (10.0, jnp.float32(10.0), jnp.float32(1e-9)):  # of a traced one too
        divisors = norm.divisors(power, 60_000)
        assert bool(jnp.isfinite(divisors).all()) and bool((jnp.diff(divisors) >= 0).all())
