"""The papers' presets: each computes what its paper says, word by word, at the paper's size, and begins as it says."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, VOCABULARY
from contract.table import TABLE, config_of, model_of
from models import reference_models

from seq2seq.app.options import TrainOptions, from_files
from seq2seq.core.module import count, named_leaves
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.training.optimizer import OptimizerConfig, schedule

PAPERS = {
    "cho2014": reference_models.cho,
    "sutskever2014": reference_models.sutskever,
    "bahdanau2015": reference_models.bahdanau,
    "luong2015": reference_models.luong,
    "dot": reference_models.luong,
    "luong2015, concat": reference_models.luong,
    "defaults": reference_models.defaults,
    "general": reference_models.general,
}


@jax.jit
def predictions(model, batch):
    memory, state = model.start(jnp.asarray(batch.source), jnp.asarray(batch.source_lengths))
    return jax.lax.scan(lambda state, token: model.step(memory, state, token), state, jnp.asarray(batch.target_in))[1]


@pytest.mark.parametrize("name", PAPERS)
def test_logits_and_attention_are_the_papers(name):
    assert name != "defaults" or TABLE[name] == {}  # LSTM, additive attention, its context in the cell
    model = model_of(name)
    found = predictions(model, BATCH)
    for row, length in enumerate(BATCH.source_lengths):
        if length == 0:
            continue
        paper = PAPERS[name](model, BATCH.source[:length, row], BATCH.target_in[:, row])
        for t, (logits, attention) in enumerate(paper):
            np.testing.assert_allclose(found.logits[t, row], logits, atol=2e-5)
            if attention is None:
                assert found.attention is None
            else:
                np.testing.assert_allclose(found.attention[t, row, :length], attention, atol=1e-5)
                np.testing.assert_array_equal(found.attention[t, row, length:], 0)
    if found.attention is not None:
        np.testing.assert_array_equal(found.attention[:, BATCH.source_lengths == 0], 0)


SOURCE, TARGET = 70, 50
"""Words on each side, where parameters are counted."""


def gated(inputs: int, hidden: int = 1000) -> int:
    """Reset gate, update gate and candidate: W, U and a bias for each."""
    return 3 * (inputs * hidden + hidden * hidden + hidden)


def lstm(inputs: int, hidden: int = 1000) -> int:
    """Four gates: W, U and a bias for each."""
    return 4 * (inputs * hidden + hidden * hidden + hidden)


def layer(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


COUNTS = {
    # Embeddings; encoder; V; V'; decoder reading a word and c; 500 maxout units of 2 over h', c and y; output of
    # rank 100.
    "cho2014": 100 * (SOURCE + TARGET) + gated(100) + 2 * layer(1000, 1000) + gated(100 + 1000)
    + layer(1000 + 1000 + 100, 2 * 500) + 500 * 100 + layer(100, TARGET),
    # Four layers on each side, of which the first reads words; softmax over the top one.
    "sutskever2014": 1000 * (SOURCE + TARGET) + 2 * 4 * lstm(1000) + layer(1000, TARGET),
    # Two directions; W_s; W_a, U_a, a bias and v_a; decoder reading a word and the context; maxout; output.
    "bahdanau2015": 620 * (SOURCE + TARGET) + 2 * gated(620) + layer(1000, 1000)
    + (1000 * 1000 + 2000 * 1000 + 1000 + 1000) + gated(620 + 2000) + layer(1000 + 2000 + 620, 2 * 500)
    + layer(500, TARGET),
    # Four layers on each side; input feeding widens the first one's input; W_a; W_c; output.
    "luong2015": 1000 * (SOURCE + TARGET) + 4 * lstm(1000) + lstm(1000 + 1000) + 3 * lstm(1000)
    + 1000 * 1000 + layer(1000 + 1000, 1000) + layer(1000, TARGET),
}  # fmt: skip


def ours(hidden: int, embedding: int) -> int:
    """Embeddings; half the units in each direction; a layer to each of the decoder's two states; attention as
    Bahdanau's; a decoder that reads a token and the context; a readout of its output and the context; output."""
    return (
        embedding * (SOURCE + TARGET)
        + 2 * lstm(embedding, hidden // 2)
        + 2 * layer(hidden, hidden)
        + (hidden * hidden + hidden * hidden + hidden + hidden)
        + lstm(embedding + hidden, hidden)
        + layer(hidden + hidden, hidden)
        + layer(hidden, TARGET)
    )


OURS = {
    "small": ours(hidden=128, embedding=64),
    "medium": ours(hidden=512, embedding=128),
    "large": ours(hidden=512, embedding=128),
}


@pytest.mark.parametrize(("name", "parameters"), (COUNTS | OURS).items())
def test_a_preset_has_the_parameters_of_its_description(name, parameters):
    config = from_files(TrainOptions(), (), name).model
    made = jax.eval_shape(lambda: EncoderDecoder.init(jax.random.key(0), SOURCE, TARGET, config))
    assert count(made) == parameters


def test_medium_is_what_train_does_without_options():
    assert replace(from_files(TrainOptions(), (), "medium"), optimizer=OptimizerConfig()) == TrainOptions()
    assert from_files(TrainOptions(), (), "medium").optimizer == OptimizerConfig(learning_rate=OptimizerConfig().rate)


def test_large_differs_from_medium_by_what_much_data_wants():
    medium, large = (from_files(TrainOptions(), (), name) for name in ("medium", "large"))
    assert replace(large.model, dropout=medium.model.dropout) == medium.model
    rate = schedule(large.optimizer, large.updates)
    assert [round(float(rate(update)), 5) for update in (1, 22_000, 44_000)] == [0.001, 0.0005, 0.0]


def test_presets_train_as_their_papers_did():
    cho, sutskever, bahdanau, luong = (from_files(TrainOptions(), (), name) for name in COUNTS)
    assert (cho.optimizer.name, cho.optimizer.clip, cho.batch_pairs) == ("adadelta", 0.0, 64)
    assert (bahdanau.optimizer.name, bahdanau.optimizer.clip, bahdanau.batch_pairs) == ("adadelta", 1.0, 80)
    assert (sutskever.optimizer.name, sutskever.optimizer.clip, sutskever.batch_pairs) == ("sgd", 5.0, 128)
    rate = schedule(sutskever.optimizer.in_updates(100))
    assert [round(float(rate(update)), 4) for update in (1, 500, 501, 550, 551)] == [0.7, 0.7, 0.35, 0.35, 0.175]
    rate = schedule(luong.optimizer.in_updates(100))
    assert [round(float(rate(update)), 4) for update in (800, 801, 901)] == [1.0, 0.5, 0.25]
    assert all(preset.model.label_smoothing == 0 for preset in (cho, sutskever, bahdanau, luong))
    assert (luong.model.dropout, sutskever.model.dropout) == (0.2, 0.0)
    assert all(preset.optimizer.per == "sentence" for preset in (cho, sutskever, bahdanau, luong))
    assert all(preset.moving_average == 0 for preset in (cho, sutskever, bahdanau, luong))
    assert cho.deduplicate and [p.vocabulary for p in (cho, bahdanau)] == [15_000, 30_000]


@pytest.mark.parametrize(("name", "bound"), [("sutskever2014", 0.08), ("luong2015", 0.1)])
def test_every_parameter_begins_between_the_papers_bounds(name, bound, key):
    leaves = jax.tree.leaves(EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config_of(name)))
    assert all(bool((abs(leaf) <= bound).all()) for leaf in leaves)
    assert max(float(abs(leaf).max()) for leaf in leaves) > 0.9 * bound


@pytest.mark.parametrize("name", ["cho2014", "bahdanau2015"])
def test_weights_begin_small_and_recurrent_ones_orthogonal(name, key):
    model = EncoderDecoder.init(key, 500, 500, config_of(name))
    assert model.decoder.embedding.scale == 1
    for leaf, value in named_leaves(model).items():
        last = leaf.split("/")[-1]
        if "attention" in leaf:
            assert float(abs(value).max()) < 0.01  # N(0, 0.001^2), and v zero
        elif last in ("u", "u_n"):
            for block in np.split(np.asarray(value), value.shape[1] // len(value), axis=1):
                np.testing.assert_allclose(block @ block.T, np.eye(len(value)), atol=1e-5)
        elif value.ndim == 2:
            assert 0.005 < float(value.std()) < 0.02
        else:
            assert not value.any()
    assert all(not bool(value.any()) for leaf, value in named_leaves(model).items() if leaf.endswith("attention/v"))
