from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.toy_models import ALLOWED, TableModel, all_strings, numpy_log_probabilities

from seq2seq.core.seams import END
from seq2seq.errors import SearchError, ShapeError
from seq2seq.search import SampleOptions, line_keys, sample
from seq2seq.search.rollout import roll_out
from seq2seq.search.sampling import narrow

SOURCE, LIMIT, DRAWS = [4, 5], 2, 1500
MODEL = TableModel.random(1)


def narrowed(log_probabilities: np.ndarray, options: SampleOptions) -> np.ndarray:
    """The distribution that the options describe, token by token, (vocabulary,), as one would write it down."""
    p = np.array([np.exp(x / options.temperature) if i in ALLOWED else 0 for i, x in enumerate(log_probabilities)])
    order = sorted(ALLOWED, key=lambda i: -p[i])[: options.top_k]
    p = p / p[order].sum()
    kept, mass = [], 0.0
    for i in order:
        if mass < options.top_p:
            kept.append(i)
        mass += p[i]
    return np.where(np.isin(np.arange(len(p)), kept), p, 0) / p[kept].sum()


def exact(options: SampleOptions) -> dict[tuple[int, ...], float]:
    """The probability of every string."""
    found = {}
    for tokens in all_strings(LIMIT):
        steps = [narrowed(numpy_log_probabilities(MODEL, SOURCE, tokens[:i]), options) for i in range(len(tokens))]
        found[tokens] = float(np.prod([step[token] for step, token in zip(steps, tokens, strict=True)]))
    assert abs(sum(found.values()) - 1) < 1e-9
    return found


def chi_square_excess(counts: Counter, expected: dict[tuple[int, ...], float], draws: int) -> float:
    """The statistic over its bound: above 1 has a chance of one in a million (Wilson and Hilferty 1931)."""
    if any(expected[tokens] == 0 for tokens in counts):
        return float("inf")
    common = [tokens for tokens, p in expected.items() if p * draws >= 5]
    seen = [counts[tokens] for tokens in common] + [draws - sum(counts[tokens] for tokens in common)]
    hoped = [expected[tokens] * draws for tokens in common]
    hoped += [draws - sum(hoped)]
    if hoped[-1] < 1e-6:
        seen, hoped = seen[:-1], hoped[:-1]
    freedom = len(hoped) - 1
    assert freedom >= 2
    bound = freedom * (1 - 2 / (9 * freedom) + 4.753 * (2 / (9 * freedom)) ** 0.5) ** 3
    return sum((s - h) ** 2 / h for s, h in zip(seen, hoped, strict=True)) / bound


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"temperature": 0.6, "top_k": 3},
        {"temperature": 1.3, "top_p": 0.7},
    ],
)
def test_frequencies_are_those_of_the_exact_distribution(how):
    options = SampleOptions(samples=DRAWS, max_length=LIMIT, **how)
    source = np.repeat(np.array(SOURCE)[:, None], 4, axis=1)
    found = sample(MODEL, source, [2] * 4, [LIMIT] * 4, line_keys(1, np.arange(4)), options)
    ends, draws = np.asarray(found.lengths).ravel(), 4 * DRAWS
    counts = Counter(
        tuple(s[:n].tolist()) for s, n in zip(np.asarray(found.tokens).reshape(draws, -1), ends, strict=True)
    )
    assert chi_square_excess(counts, exact(options), draws) < 1
    other = SampleOptions(temperature=options.temperature * 1.5, top_k=options.top_k, top_p=options.top_p)
    assert chi_square_excess(counts, exact(other), draws) > 1


@pytest.mark.parametrize(("top_k", "top_p"), [(None, 1.0), (2, 1.0), (9, 1.0), (None, 0.55), (3, 0.55), (None, 0.01)])
def test_narrowed_logits_are_the_narrowed_distribution(top_k, top_p):
    options = SampleOptions(temperature=0.8, top_k=top_k, top_p=top_p)
    for logits in np.random.default_rng(4).normal(size=(20, 6)):
        kept, ids = narrow(jnp.asarray(logits, jnp.float32), options)
        found = np.zeros(6)
        found[np.asarray(ids)] = jax.nn.softmax(kept)
        np.testing.assert_allclose(found, narrowed(logits, options), atol=1e-6)


@pytest.mark.parametrize("top_p", [1e-40, 0.001, 0.5, 0.9, 0.9999])
def test_the_nucleus_of_a_wide_vocabulary_is_the_fewest_likeliest_tokens(top_p):
    logits = 3 * np.random.default_rng(0).normal(size=(4, 5000)).astype(np.float32)
    narrowed_to, _ = narrow(jnp.asarray(logits), SampleOptions(top_p=top_p, banned=()))
    for row, kept in zip(logits, narrowed_to, strict=True):
        likeliest = np.argsort(-row)
        mass = np.cumsum(np.exp(row[likeliest].astype(np.float64)))
        expected = 1 + np.sum(mass / mass[-1] < top_p)
        assert abs(int(jnp.isfinite(kept).sum()) - expected) <= 1  # where float32 rounds the mass the other way
        assert set(np.flatnonzero(np.isfinite(kept))) <= set(likeliest[: expected + 1])


def test_tokens_as_likely_as_the_last_of_the_nucleus_are_of_it():
    kept, _ = narrow(jnp.log(jnp.array([0.4, 0.2, 0.2, 0.1, 0.1])), SampleOptions(top_p=0.5, banned=()))
    assert jnp.isfinite(kept).tolist() == [True, True, True, False, False]


def test_samples_of_different_lines_and_places_are_independent():
    options = SampleOptions(samples=DRAWS, max_length=1)
    source = np.repeat(np.array(SOURCE)[:, None], 2, axis=1)
    first = np.asarray(sample(MODEL, source, [2, 2], [1, 1], line_keys(1, [7, 8]), options).tokens)[..., 0]
    p = narrowed(numpy_log_probabilities(MODEL, SOURCE, ()), options)
    for a, b in ((first[0], first[1]), (first[0, 1:], first[0, :-1])):
        # Two independent draws agree with probability sum p^2; five standard deviations.
        agree, deviation = (p**2).sum(), ((p**2).sum() * (1 - (p**2).sum()) / len(a)) ** 0.5
        assert abs((a == b).mean() - agree) < 5 * deviation


def test_a_seed_means_the_same_samples_and_more_samples_leave_the_first_alone():
    def draw(seed: int, samples: int) -> np.ndarray:
        options = SampleOptions(samples=samples, max_length=6)
        return np.asarray(sample(MODEL, [[4], [5]], [2], [6], line_keys(seed, [3]), options).tokens)

    np.testing.assert_array_equal(draw(1, 8), draw(1, 8))
    np.testing.assert_array_equal(draw(1, 8)[:, :1], draw(1, 1))
    assert (draw(1, 8) != draw(2, 8)).any()


def test_top_1_is_greedy():
    keen = sample(MODEL, [[4], [5]], [2], [6], line_keys(1, [0]), SampleOptions(top_k=1, max_length=6))
    for i, token in enumerate(keen.tokens[0, 0, : int(keen.lengths[0, 0])].tolist()):
        expected = numpy_log_probabilities(MODEL, SOURCE, tuple(keen.tokens[0, 0, :i].tolist()))
        assert token == max(ALLOWED, key=lambda j: expected[j])


@pytest.mark.parametrize(
    "how",
    [
        {"samples": 0},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_length": 0},
        {"banned": (END,)},
    ],
)
def test_options_that_draw_nothing_are_refused(how):
    with pytest.raises(SearchError):
        SampleOptions(**how)


def test_one_key_for_each_row():
    with pytest.raises(ShapeError, match="keys has shape"):
        sample(MODEL, [[4], [5]], [2], [6], jax.random.key(0))


def test_one_program_does_for_all_temperatures_and_masses():
    def drawn(**values):
        options = SampleOptions(samples=3, max_length=4, **values)
        return sample(MODEL, jnp.array([SOURCE]).T, [2], [4], line_keys(1, [0]), options)

    drawn(temperature=0.7), drawn(temperature=0.7, top_p=0.4)
    programs = roll_out._cache_size()
    cold, hot = drawn(temperature=0.01), drawn(temperature=1.3)
    drawn(temperature=1.3, top_p=0.9)
    assert roll_out._cache_size() == programs
    assert (cold.tokens == cold.tokens[:, :1]).all() and (hot.tokens != hot.tokens[:, :1]).any()
