"""An ensemble is a model like any other: of one model twice that model, of several their averaged distribution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, VOCABULARY
from contract.search_contract import LENGTH, check_search_contract, same_row, searches
from contract.toy_models import ALLOWED, TableModel, all_strings, numpy_attention, numpy_log_probabilities

from seq2seq import EncoderDecoder, EncoderDecoderConfig, Ensemble, PreparedModel, module
from seq2seq.core.module import restore
from seq2seq.core.seams import BEGIN, END, Prediction, Restrictable, Searchable
from seq2seq.errors import ModuleError, SearchError, ShapeError
from seq2seq.models.model import Model
from seq2seq.nn.cells import GRU
from seq2seq.search import BeamOptions, SearchOptions, beam, greedy, score
from seq2seq.search.ensemble import Mean

LENGTHS = np.array([5, 2, 3, 1])
SOURCE = np.where(np.arange(5)[:, None] < LENGTHS, np.random.default_rng(0).integers(4, 9, size=(5, 4)), 0)
ROWS = (jnp.asarray(SOURCE, jnp.int32), jnp.asarray(LENGTHS, jnp.int32))
MEANS: tuple[Mean, ...] = ("probabilities", "log-probabilities")


def toys(*models: Any, mean: Mean = "probabilities", weights: tuple[float, ...] | None = None) -> Ensemble:
    """The toy's tables of integers are no leaves of a module, which is trained: made without that check."""
    return restore(Ensemble, {"models": models, "mean": mean, "weights": weights})


def expected(models: list[TableModel], mean: Mean, weights: list[float], source: list[int], prefix: tuple[int, ...]):
    """The definition, in float64."""
    logs = np.stack([numpy_log_probabilities(model, source, prefix) for model in models])
    shares = np.array(weights)[:, None] / sum(weights)
    if mean == "probabilities":
        return np.log((shares * np.exp(logs)).sum(0))
    product = np.exp((shares * logs).sum(0))
    return np.log(product / product.sum())


def test_an_ensemble_keeps_the_contract_of_every_search():
    check_search_contract(toys(TableModel.random(0), TableModel.random(1)), *ROWS)


@pytest.mark.parametrize("mean", MEANS)
def test_one_model_twice_is_that_model(mean):
    model = TableModel.random(3)
    limit = jnp.full(len(LENGTHS), LENGTH)
    for name, search in searches(toys(model, model, mean=mean)).items():
        rows = (*ROWS, limit, jnp.arange(len(LENGTHS)))
        found, wanted = search(*rows), searches(model)[name](*rows)
        for row in range(len(LENGTHS)):
            same_row(found, row, wanted, row)


@pytest.mark.parametrize("mean", MEANS)
def test_a_wide_beam_is_brute_force_over_the_averaged_distributions(mean):
    models, weights, limit = [TableModel.random(5, scale=2.0), TableModel.random(6, scale=2.0)], [3.0, 1.0], 3
    ensemble = toys(*models, mean=mean, weights=(3.0, 1.0))
    source = [6, 7, 4]
    strings = all_strings(limit)
    wide = BeamOptions(size=len(ALLOWED) ** limit, nbest=len(strings), length_penalty=0.0, max_length=limit)
    options = replace(wide, attention=True)
    found = beam(ensemble, np.array(source)[:, None], np.array([3]), np.array([limit]), options)
    total = {
        tokens: sum(expected(models, mean, weights, source, tokens[:i])[token] for i, token in enumerate(tokens))
        for tokens in strings
    }
    order = sorted(strings, key=lambda tokens: (tokens[-1] != END, -total[tokens]))
    said = [tuple(int(t) for t in row[:n]) for row, n in zip(found.tokens[0], found.lengths[0], strict=True)]
    assert said == order
    np.testing.assert_allclose(found.log_probabilities[0], [total[tokens] for tokens in order], atol=1e-5)
    shares = (0.75, 0.25)
    focus = sum(share * numpy_attention(m, source, ()) for share, m in zip(shares, models, strict=True))
    assert found.attention is not None
    np.testing.assert_allclose(found.attention[0, 0, 0], focus, atol=1e-5)
    apart = beam(models[0], np.array(source)[:, None], np.array([3]), np.array([limit]), options)
    assert not np.allclose(apart.log_probabilities, found.log_probabilities, atol=1e-2)


def test_attention_is_that_of_the_members_which_give_one():
    mute = replace(TableModel.random(1), gives_attention=False)
    speaks = TableModel.random(2)
    rows = (SOURCE, LENGTHS, np.full(4, LENGTH), SearchOptions(max_length=LENGTH, attention=True))
    assert greedy(toys(mute, mute), *rows).attention is None
    with_one = toys(mute, speaks)
    memory, state = with_one.start(jnp.asarray(SOURCE), jnp.asarray(LENGTHS))
    token = jnp.full(4, BEGIN)
    alone, both = speaks.step(memory[1], state[1], token)[1].attention, with_one.step(memory, state, token)[1].attention
    assert alone is not None and both is not None
    np.testing.assert_allclose(both, alone, atol=1e-6)


@module
class Always:
    """A member of one distribution, whatever it reads."""

    logits: jax.Array

    def start(self, source: Any, lengths: Any) -> Any:
        return (), lengths

    def step(self, memory: Any, state: Any, token: Any) -> Any:
        return state, Prediction(jnp.broadcast_to(self.logits, (len(token), len(self.logits))))


@pytest.mark.parametrize("mean", MEANS)
def test_what_is_impossible_stays_so_and_is_never_nan(mean):
    one, other = jnp.array([0.0, 0.0, -jnp.inf, -jnp.inf]), jnp.array([0.0, -jnp.inf, -jnp.inf, 0.0])
    ensemble = Ensemble(models=(Always(logits=one), Always(logits=other)), mean=mean)
    logits = ensemble.step((((), ())), (jnp.zeros(1), jnp.zeros(1)), jnp.zeros(1, int))[1].logits
    wanted = [0.5, 0.25, 0, 0.25] if mean == "probabilities" else [1.0, 0, 0, 0]
    np.testing.assert_allclose(jax.nn.softmax(logits)[0], wanted, atol=1e-6)


def members(*configs: dict[str, Any]) -> tuple[EncoderDecoder, ...]:
    made = [EncoderDecoderConfig(**{"hidden": 12, "embedding": 6, **config}) for config in configs]
    keys = [jax.random.key(i) for i in range(len(made))]
    return tuple(EncoderDecoder.init(k, VOCABULARY, VOCABULARY, c) for k, c in zip(keys, made, strict=True))


UNLIKE = ({"attention": "additive"}, {"cell": GRU, "layers": 2, "attention": "none", "bidirectional": False})


@pytest.mark.parametrize("mean", MEANS)
def test_the_loss_is_that_of_the_averaged_distribution(mean):
    ensemble, batch = Ensemble(models=members(*UNLIKE), mean=mean), BATCH
    loss = Model.loss(ensemble, batch)  # pyright: ignore[reportArgumentType]
    table = score(ensemble, *batch)
    np.testing.assert_allclose(loss.sum, -table.sum(), rtol=1e-5)
    if mean == "probabilities":
        each = [score(model, *batch) for model in ensemble.models]
        np.testing.assert_allclose(table, np.log(np.mean(np.exp(each), 0)), atol=1e-4)


@pytest.mark.parametrize("how", [{"int8": True}, {"precision": "bfloat16"}])
def test_an_ensemble_is_searched_in_fewer_bits(how):
    ensemble, batch = Ensemble(models=members(*UNLIKE)), BATCH
    found, wanted = score(PreparedModel.of(ensemble, **how), *batch), score(ensemble, *batch)
    np.testing.assert_allclose(found, wanted, rtol=0.05, atol=0.02)
    assert np.any(np.asarray(found) != np.asarray(wanted))
    each = Ensemble(models=tuple(PreparedModel.of(model, "bfloat16") for model in ensemble.models))
    both = PreparedModel.of(ensemble, "bfloat16")
    np.testing.assert_allclose(score(each, *batch), score(both, *batch), atol=1e-5)


def test_a_shortlist_is_that_of_each_member():
    ensemble, batch = Ensemble(models=members({}, {})), BATCH
    assert isinstance(ensemble, Restrictable) and isinstance(ensemble, Searchable)
    whole = ensemble.restricted(VOCABULARY)
    np.testing.assert_allclose(score(whole, *batch), score(ensemble, *batch), atol=1e-6)
    short = ensemble.restricted(VOCABULARY - 2)
    memory, state = short.start(jnp.asarray(batch.source), jnp.asarray(batch.source_lengths))
    assert short.step(memory, state, jnp.asarray(batch.target_in)[0])[1].logits.shape[-1] == VOCABULARY - 2
    with pytest.raises(ModuleError, match="Always, a member of the ensemble, has no `restricted"):
        Ensemble(models=(Always(logits=jnp.zeros(3)),)).restricted(3)


def test_what_is_no_ensemble():
    one = Always(logits=jnp.zeros(3))
    with pytest.raises(SearchError, match="no member"):
        Ensemble(models=())
    with pytest.raises(SearchError, match="mean is 'median'"):
        Ensemble(models=(one,), mean="median")  # pyright: ignore[reportArgumentType]
    for weights in ((1.0,), (1.0, 0.0), (1.0, float("nan")), (1.0, float("inf"))):
        with pytest.raises(SearchError, match="wanted 2 numbers above 0"):
            Ensemble(models=(one, one), weights=weights)
    with pytest.raises(ModuleError, match="GRU has no `start`"):
        Ensemble(models=(GRU.init(jax.random.key(0), 2, 3),))  # pyright: ignore[reportArgumentType]
    unlike = Ensemble(models=(one, Always(logits=jnp.zeros(4))))
    with pytest.raises(ShapeError, match=r"\[3, 4\] logits"):
        greedy(unlike, np.array([[4]]), np.array([1]), np.array([3]))


def test_weights_of_any_sum_are_shares():
    one = Always(logits=jnp.zeros(3))
    assert Ensemble(models=(one, one), weights=(3.0, 1.0)).shares == (0.75, 0.25)
    assert Ensemble(models=(one,) * 3).shares == (1 / 3,) * 3
