"""Penalties and rules: a beam wider than the space is brute force over all strings that keep them."""

from __future__ import annotations

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.search_contract import same_row
from contract.toy_models import ALLOWED, TableModel, all_strings, keeps, numpy_log_probabilities, numpy_score, rules_of

from seq2seq.core.module import as_node
from seq2seq.core.seams import BEGIN, END, Prediction
from seq2seq.errors import SearchError, ShapeError
from seq2seq.search import (
    BannedPhrases,
    BeamOptions,
    LengthNorm,
    MinimumLength,
    NoRepeat,
    Prefix,
    RequiredPhrases,
    SampleOptions,
    SearchOptions,
    beam,
    greedy,
    line_keys,
    sample,
    score,
)
from seq2seq.search.feasible import Demands

ROWS = [[4], [5, 4, 4], [6, 7], [8, 8, 5]]
LENGTHS = np.array([len(row) for row in ROWS])
SOURCE = np.array([row + [0] * (3 - len(row)) for row in ROWS]).T
LIMITS = [4, 3, 4, 2]
WIDE = BeamOptions(
    size=110, nbest=110, length_penalty=0.7, length_norm=LengthNorm.GNMT, coverage_penalty=0.4, max_length=4
)


def strings(found, row: int) -> list[tuple[int, ...]]:
    real = np.isfinite(found.scores[row])
    pairs = zip(np.asarray(found.tokens[row])[real], np.asarray(found.lengths[row])[real], strict=True)
    return [tuple(tokens[:length].tolist()) for tokens, length in pairs]


def some_demands(draw: np.random.Generator, limit: int, no_repeat: int | None, required: bool) -> Demands:
    """Something to ask of a row, now and then more than its limit has room for."""

    def phrases(most: int) -> tuple[tuple[int, ...], ...]:
        count, longest = draw.integers(0, most + 1), min(2, limit - 1)
        return tuple(tuple(draw.choice([1, 4, 5], size=draw.integers(1, longest + 1)).tolist()) for _ in range(count))

    prefix = tuple(draw.choice([1, 4, 5], size=draw.integers(0, min(2, limit) + 1)).tolist())
    return Demands(
        prefix=prefix,
        required=phrases(2) if required else (),
        banned=phrases(2),
        minimum=int(draw.integers(0, limit + 1)),
        no_repeat=() if no_repeat is None else (no_repeat,),
    )


def possible_demands(seed: int, no_repeat: int | None, required: bool) -> list[Demands]:
    """Demands for the four rows in which no contradiction is seen beforehand."""
    draw, found = np.random.default_rng(seed), []
    for limit in LIMITS:
        asked = some_demands(draw, limit, no_repeat, required)
        while asked.contradiction() or asked.least > limit:
            asked = some_demands(draw, limit, no_repeat, required)
        found.append(asked)
    return found


def check_brute_force(found, model: TableModel, demands: list[Demands], options: BeamOptions) -> int:
    """How many strings of all rows are finished."""
    alpha, gnmt, beta = options.length_penalty, options.length_norm is LengthNorm.GNMT, options.coverage_penalty
    ended = 0
    for row, (limit, asked) in enumerate(zip(LIMITS, demands, strict=True)):
        kept = [s for s in all_strings(limit) if keeps(s, asked)]
        known = {s: numpy_score(model, ROWS[row], s, alpha, gnmt, beta) for s in kept}
        order = sorted(known, key=lambda s: (s[-1] != END, -known[s]))
        assert sorted(strings(found, row)) == sorted(kept)
        np.testing.assert_allclose(found.scores[row, : len(kept)], [known[s] for s in order], atol=1e-5)
        np.testing.assert_allclose(found.scores[row, : len(kept)], [known[s] for s in strings(found, row)], atol=1e-5)
        finished = sum(s[-1] == END for s in kept)
        assert (np.asarray(found.finished[row]) == (np.arange(options.nbest) < finished)).all()
        ended += finished
    return ended


@pytest.mark.parametrize(("no_repeat", "required"), [(2, True), (1, False)])
def test_a_beam_wider_than_the_space_is_brute_force_over_what_is_allowed(no_repeat, required):
    options = WIDE if required else replace(WIDE, length_norm=LengthNorm.POWER)
    ended = 0
    for seed in range(12):
        model, demands = TableModel.random(seed), possible_demands(seed, no_repeat, required)
        rules = rules_of(demands, no_repeat, required)
        found = beam(model, SOURCE, LENGTHS, LIMITS, options, rules)
        assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(found))
        ended += check_brute_force(found, model, demands, options)
    assert ended > 50  # else little was tested


def numpy_beam(model: TableModel, source: list[int], limit: int, options: BeamOptions) -> list[tuple[float, tuple]]:
    """Beam search in groups as its modules say, in float64, one sentence at a time and without any early stop."""
    alpha, gnmt, beta = options.length_penalty, options.length_norm is LengthNorm.GNMT, options.coverage_penalty
    width = options.size // options.groups
    going: list[list[tuple[float, tuple]]] = [[(0.0, ())] for _ in range(options.groups)]
    ended: list[list[tuple]] = [[] for _ in range(options.groups)]
    for _ in range(limit):
        used: dict[int, int] = {}
        for group in range(options.groups):
            nexts = []
            for total, prefix in going[group]:
                gains = numpy_log_probabilities(model, source, prefix)
                nexts += [(total + gains[token], (*prefix, token)) for token in ALLOWED]
            best = sorted(nexts, key=lambda n: -(n[0] - options.diversity * used.get(n[1][-1], 0)))[:width]
            for _, s in best:
                used[s[-1]] = used.get(s[-1], 0) + 1
            ended[group] += [s for _, s in best if s[-1] == END]
            going[group] = [(total, s) for total, s in best if s[-1] != END]

    def ranked(found: list[tuple], count: int) -> list[tuple[float, tuple]]:
        return sorted(((numpy_score(model, source, s, alpha, gnmt, beta), s) for s in found), reverse=True)[:count]

    each = -(-options.nbest // options.groups)
    finished = ranked([s for group in ended for _, s in ranked(group, each)], options.nbest)
    return (finished + ranked([s for group in going for _, s in group], options.nbest))[: options.nbest]


@pytest.mark.parametrize(
    "how",
    [
        {"size": 3, "nbest": 2, "length_norm": LengthNorm.GNMT, "length_penalty": 1.2, "coverage_penalty": 0.5},
        {"size": 6, "nbest": 3, "groups": 3, "diversity": 0.8, "coverage_penalty": 0.2},
    ],
)
def test_stopping_early_changes_nothing_whatever_the_score_and_in_groups(how):
    options, limits = BeamOptions(max_length=8, **how), [8, 7, 5, 8]
    for seed in range(8):
        model = TableModel.random(seed, scale=1.5)
        found = beam(model, SOURCE, LENGTHS, limits, options)
        for row, limit in enumerate(limits):
            expected = numpy_beam(model, ROWS[row], limit, options)
            assert strings(found, row) == [tokens for _, tokens in expected]
            np.testing.assert_allclose(found.scores[row, : len(expected)], [s for s, _ in expected], atol=1e-5)


def test_beam_1_is_greedy_and_sampling_one_token_is_too_under_rules():
    for seed in range(4):
        model, demands = TableModel.random(seed), possible_demands(seed, 2, False)
        rules = rules_of(demands, 2, False)
        one = beam(model, SOURCE, LENGTHS, LIMITS, BeamOptions(size=1, length_penalty=0.0, max_length=4), rules)
        same = greedy(model, SOURCE, LENGTHS, LIMITS, SearchOptions(max_length=4), rules)
        keen = SampleOptions(top_k=1, max_length=4)
        drawn = sample(model, SOURCE, LENGTHS, LIMITS, line_keys(0, np.arange(4)), keen, rules)
        for row, asked in enumerate(demands):
            same_row(one, row, same, row)
            same_row(drawn, row, same, row)
            assert all(keeps(s, asked) for s in strings(one, row))


@pytest.mark.parametrize("size", [1, 5])
def test_required_phrases_come_in_a_beam_of_any_size_and_scores_are_forced_scores(size):
    required, source = [(4, 5, 4), (1, 1)], np.repeat(SOURCE, 2, axis=1)
    rules = [RequiredPhrases.of(required), BannedPhrases.of([(5, 1)])]
    model = TableModel.random(3)
    model = TableModel(model.table.at[..., [1, 5]].add(-6.0), model.transition, model.focus)  # against its will
    rows = (model, source, np.repeat(LENGTHS, 2))
    found = beam(*rows, [12] * 8, BeamOptions(size=size, max_length=12, slots=3), rules)
    assert np.asarray(found.finished).all()
    for row in range(8):
        (tokens,) = strings(found, row)
        assert keeps(tokens, Demands(required=tuple(required), banned=((5, 1),)))
    out = found.tokens[:, 0].T
    given = jnp.concatenate([jnp.full((1, 8), BEGIN), out[:-1]])
    forced = score(*rows, given, out, jnp.arange(12)[:, None] < found.lengths[:, 0])
    np.testing.assert_allclose(forced.T, found.token_log_probabilities[:, 0], atol=1e-5)


def test_other_phrases_compile_nothing_anew():
    traced = []

    class Counted(TableModel):
        def start(self, source, lengths):
            traced.append(source.shape)
            return super().start(source, lengths)

    as_node(Counted, ["table", "transition", "focus"], ["gives_attention"])
    for phrase in ((4, 5), (5, 5), (5, 4)):
        rules = [BannedPhrases.of([phrase]), MinimumLength(phrase[0] - 2)]
        found = beam(Counted.random(0), SOURCE, LENGTHS, [4] * 4, BeamOptions(size=2, max_length=4), rules)
        assert all(phrase != s[i : i + 2] for row in range(4) for s in strings(found, row) for i in range(4))
    assert len(traced) == 1


def test_what_turns_out_to_be_impossible_on_the_way_is_never_finished():
    rules = [
        BannedPhrases.of([(4, 1), (4, 4), (4, 5)]),
        RequiredPhrases.of([(4,), (5,), (5, 5)]),
        Prefix.of([(4,)] * 4),
    ]
    found = beam(TableModel.random(0), SOURCE, LENGTHS, [4] * 4, BeamOptions(size=2, max_length=4), rules)
    assert not np.asarray(found.finished).any() and np.isneginf(found.scores).all()
    assert not np.asarray(found.lengths).any() and not np.isnan(found.token_log_probabilities).any()


def test_where_no_token_is_left_nothing_is_finished_whatever_the_search():
    model, limits = TableModel.random(0), [9] * 4
    rules = [NoRepeat(1), MinimumLength(np.int32(len(ALLOWED) + 1))]  # one more than there are tokens
    keys = line_keys(0, np.arange(4))
    for found in (
        beam(model, SOURCE, LENGTHS, limits, BeamOptions(size=1, max_length=9), rules),
        greedy(model, SOURCE, LENGTHS, limits, SearchOptions(max_length=9), rules),
        sample(model, SOURCE, LENGTHS, limits, keys, SampleOptions(samples=2, max_length=9), rules),
        sample(model, SOURCE, LENGTHS, limits, keys, SampleOptions(top_p=0.5, max_length=9), rules),
    ):
        assert not np.asarray(found.finished).any() and not np.asarray(found.lengths).any()
        assert not np.asarray(found.tokens).any() and not np.isnan(found.token_log_probabilities).any()


@jax.tree_util.register_static
class Blind:
    """No attention."""

    def start(self, source, lengths):
        return (), lengths

    def step(self, memory, state, token):
        return state, Prediction(jnp.zeros((len(token), 6)))


def asked(*rules, limit: int = 3, options: BeamOptions | None = None):
    return beam(Blind(), [[4, 4]], [1, 1], [limit, limit], options or BeamOptions(max_length=9), rules)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: asked(RequiredPhrases.of([(4, 5)]), BannedPhrases.of([(5,)])),
            "row 0: its required phrase [4, 5] holds [5]",
        ),
        (lambda: asked(RequiredPhrases.of([(2, 5)])), "a phrase is [2, 5]"),
        (lambda: asked(RequiredPhrases.of([(4, 5), (1,)])), "takes 4 tokens or more, END counted, but the limit is 3"),
        (lambda: asked(Prefix.of([(), (4, 4, 4)])), "row 1: what is asked for takes 4 tokens"),
        (lambda: asked(Prefix.of([(), (4, 0)])), "row 1: its prefix [4, 0] holds [0], which is banned"),
        (lambda: asked(Prefix.of([(4, 5), ()]), BannedPhrases.of([(4, 5)])), "row 0: its prefix [4, 5] holds [4, 5]"),
        (lambda: asked(Prefix.of([(4, 4), ()]), NoRepeat(1)), "row 0: its prefix [4, 4] has 1 tokens in a row twice"),
        (lambda: asked(MinimumLength(4)), "takes 4 tokens or more"),
        (lambda: asked(MinimumLength(4), limit=9, options=BeamOptions(max_length=3)), "but the limit is 3"),
        (lambda: asked(RequiredPhrases.of([(4,)]), RequiredPhrases.of([(5,)])), "put all phrases into one"),
        (lambda: asked(options=BeamOptions(coverage_penalty=0.1)), "Blind gives no attention"),
        (lambda: greedy(Blind(), [[4]], [1], [3], rules=[RequiredPhrases.of([(4,)])]), "need a beam"),
        (lambda: NoRepeat(0), "size is 0"),
        (lambda: BannedPhrases.of([()]), "a phrase is []"),
        (lambda: BeamOptions(coverage_penalty=-1.0), "coverage_penalty is -1.0"),
        (lambda: BeamOptions(size=5, groups=2), "groups is 2, wanted a divisor of size = 5"),
        (lambda: BeamOptions(diversity=0.5), "of one group"),
    ],
)
def test_what_is_impossible_is_said_in_one_line_before_anything_is_compiled(wrong, message):
    with pytest.raises(SearchError, match=re.escape(message)) as raised:
        wrong()
    assert "\n" not in str(raised.value)


def test_arrays_that_do_not_fit_the_rows():
    for rule in (MinimumLength(np.ones(3)), Prefix(np.full((1, 3), -1), np.zeros(3)), BannedPhrases.of_rows([[]] * 3)):
        with pytest.raises(ShapeError, match=r"wanted"):
            rule.start(2, 5)
        for search in (beam, greedy):
            with pytest.raises(ShapeError, match=r"wanted"):
                search(TableModel.random(0), np.full((1, 2), 4), [1, 1], [3, 3], rules=[rule])


def test_what_is_banned_may_be_a_list():
    options = BeamOptions(banned=[0, 2], max_length=3)  # pyright: ignore[reportArgumentType]
    assert options.banned == (0, 2) and beam(TableModel.random(0), [[4]], [1], [3], options).tokens.shape == (1, 1, 3)


def test_rules_of_one_shape_are_not_one_to_jit():
    rules = [kind.of([(4, 5), (6,)]) for kind in (BannedPhrases, RequiredPhrases)]
    rules += [Prefix(rules[0].ids, rules[0].lengths), MinimumLength(rules[0].ids)]
    kinds = [jax.tree.structure(rule) for rule in rules]
    assert not any(one == other for n, one in enumerate(kinds) for other in kinds[:n])
