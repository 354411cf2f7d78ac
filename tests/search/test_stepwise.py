"""A token at a time is the same as all at once."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from contract.toy_models import TableModel

from seq2seq.core.seams import PAD
from seq2seq.errors import SearchError
from seq2seq.search import (
    MinimumLength,
    NoRepeat,
    Prefix,
    RequiredPhrases,
    SampleOptions,
    SearchOptions,
    greedy,
    line_keys,
    sample,
    stepwise,
)
from seq2seq.search.greedy import Likeliest
from seq2seq.search.sampling import Draw

SOURCE = jnp.array([[4, 5, 6, 0], [0, 4, 7, 0]])
LENGTHS = jnp.array([1, 2, 2, 0])
LIMIT = jnp.array([6, 2, 9, 9])
RULES = (MinimumLength(np.int32(2)), Prefix.of([(), (), (5,), ()]), NoRepeat(2))


@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_stepwise_is_the_search(drawn, ruled, seed):
    model, rules = TableModel.random(seed), RULES if ruled else ()
    keys = line_keys(seed, jnp.arange(4))
    if drawn:
        options = SampleOptions(temperature=0.8, top_k=3, max_length=9)
        found = sample(model, SOURCE, LENGTHS, LIMIT, keys, options, rules)
        steps = list(stepwise(model, SOURCE, LENGTHS, LIMIT, Draw(options), keys, rules))
    else:
        found = greedy(model, SOURCE, LENGTHS, LIMIT, SearchOptions(max_length=9), rules)
        steps = list(stepwise(model, SOURCE, LENGTHS, LIMIT, Likeliest(SearchOptions()), rules=rules))
    tokens, gains = (np.stack([step[part] for step in steps], axis=1) for part in (0, 1))
    assert len(steps) == found.lengths.max()
    np.testing.assert_array_equal(tokens, found.tokens[:, 0, : len(steps)])
    np.testing.assert_allclose(gains, found.token_log_probabilities[:, 0, : len(steps)], atol=1e-6)
    assert not steps[-1].going.any() and all(step.going.any() for step in steps[:-1])


def test_a_dead_end_is_the_end():
    rules = (NoRepeat(1), MinimumLength(np.int32(9)))
    steps = list(stepwise(TableModel.random(1), [[4]], [1], [9], Likeliest(SearchOptions()), rules=rules))
    assert len(steps) < 9 and steps[-1].tokens == [PAD] and np.isneginf(steps[-1].log_probabilities).all()
    assert all(step.tokens != [PAD] and np.isfinite(step.log_probabilities) for step in steps[:-1])
    assert [bool(step.going[0]) for step in steps] == [True] * (len(steps) - 1) + [False]


def test_nothing_to_do_is_no_step():
    assert list(stepwise(TableModel.random(1), [[0]], [0], [5], Likeliest(SearchOptions()))) == []
    assert list(stepwise(TableModel.random(1), [[4]], [1], [0], Likeliest(SearchOptions()))) == []


def test_several_samples_of_a_row_end_apart():
    with pytest.raises(SearchError, match="stepwise: 3 samples of each row"):
        next(stepwise(TableModel.random(1), [[4]], [1], [5], Draw(SampleOptions(samples=3))))


def test_required_phrases_need_a_beam():
    required = [RequiredPhrases.of(((4,),))]
    with pytest.raises(SearchError, match="stepwise"):
        next(stepwise(TableModel.random(1), [[4]], [1], [5], Likeliest(SearchOptions()), rules=required))
