"""Configurations, the encoder, the bridge, and which output a decoder begins with."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, VOCABULARY
from contract.cells import CELLS, randomised
from contract.table import Counting, config_of, model_of
from jax import Array

from seq2seq.core.cost import product_flops
from seq2seq.core.module import count, module, named_leaves
from seq2seq.core.seams import Cell
from seq2seq.data import Batch
from seq2seq.errors import ConfigError
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.models.decoder import Bridge, output_leaf
from seq2seq.models.encoder import Encoder
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.nn.cells import GRU, LSTM
from seq2seq.nn.layers import drop_tokens
from seq2seq.nn.normalised import NormLSTM
from seq2seq.nn.recurrent import Stack, unroll
from seq2seq.search import SearchOptions, greedy

SOURCE, LENGTHS = jnp.asarray(BATCH.source), jnp.asarray(BATCH.source_lengths)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden": 0}, "model.hidden is 0; it must be at least 1"),
        ({"embedding": -1}, "model.embedding is -1"),
        ({"layers": 0}, "model.layers is 0"),
        ({"dropout": 1.0}, "model.dropout is 1.0; it must be at least 0 and below 1"),
        ({"dropout": float("nan")}, "model.dropout is nan"),
        ({"label_smoothing": -0.1}, "model.label_smoothing is -0.1"),
        ({"hidden": 7}, "model.hidden is 7; a bidirectional encoder needs an even number"),
        ({"reverse_source": True}, "model.reverse_source needs model.bidirectional off"),
        ({"tied": True, "readout": "linear"}, "model.tied needs a tanh or maxout readout"),
        ({"summary": "everywhere"}, "model.summary everywhere needs model.attention none"),
        ({"tied": True, "output_rank": 3}, "model.tied needs model.output_rank 0"),
        ({"output_rank": -1}, "model.output_rank is -1; wanted 0"),
        ({"copy": True, "attention": "none"}, "model.copy needs model.attention"),
        ({"copy": True, "sampled_softmax": 5, "label_smoothing": 0.0}, "model.sampled_softmax needs model.copy off"),
        ({"encoder_hidden": 7}, "model.encoder_hidden is 7; a bidirectional encoder needs an even number"),
        ({"encoder_hidden": 0}, "model.encoder_hidden is 0"),
        ({"encoder_hidden": 8, "attention": "dot"}, "model.attention dot needs encoder and decoder of one width"),
        ({"encoder_layers": 0}, "model.encoder_layers is 0"),
        (
            {"encoder_layers": 2, "bridge": "states", "bidirectional": False},
            "as many layers; model.encoder_layers is 2",
        ),
        ({"bridge": "states"}, "model.bridge states needs model.bidirectional off"),
        ({"bridge": "backward", "bidirectional": False}, "model.bridge backward needs model.bidirectional"),
        ({"uniform": 0.1, "normal": 0.1}, "two ways to draw"),
        ({"normal": -1.0}, "model.normal is -1.0"),
        ({"token_dropout": 1.0}, "model.token_dropout is 1.0"),
        ({"readout": "maxout", "hidden": 1, "bidirectional": False}, "maxout needs model.hidden of 2"),
        ({"attention": "genral"}, "model.attention is 'genral'; did you mean general"),
        ({"readout": "max-out"}, "model.readout is 'max-out'; did you mean maxout"),
        ({"summary": "all"}, "model.summary is 'all'; known are: everywhere, start"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        EncoderDecoderConfig(**values)


def test_init_has_the_shapes_the_configuration_says():
    def shapes(name, **changes):
        config = dataclasses.replace(config_of(name), **changes)
        made = jax.eval_shape(lambda: EncoderDecoder.init(jax.random.key(0), 11, 13, config))
        return {name: leaf.shape for name, leaf in named_leaves(made).items()}, made

    found, made = shapes("defaults")
    assert found["encoder/embedding/table"] == (11, 4) and found["decoder/embedding/table"] == (13, 4)
    assert found["encoder/layers/0/forward/u"] == (3, 12) and found["decoder/cell/u"] == (6, 24)
    assert found["decoder/cell/w"] == (4 + 6, 24)  # the last readout vector is fed in
    assert found["decoder/readout/inner/w"] == (12, 6) and found["decoder/readout/output/w"] == (6, 13)
    assert (made.dropout, made.label_smoothing) == (0.3, 0.1)
    found, made = shapes("cho2014")
    assert found["decoder/cell/w"] == (4 + 6, 18) and found["decoder/readout/inner/w"] == (6 + 6 + 4, 6)
    assert made.decoder.attention is None
    found, _ = shapes("defaults", tied=True)
    assert "decoder/readout/output/w" not in found and found["decoder/readout/inner/w"] == (12, 4)
    found, made = shapes("dot", hidden=1, encoder_hidden=1)
    assert count(made) == sum(int(np.prod(shape)) for shape in found.values())
    found, made = shapes("residual additive")
    assert len(made.encoder.layers) == len(made.decoder.cell.cells) == 3 and made.encoder.residual


def test_an_encoder_may_be_deeper_than_its_decoder(key):
    config = EncoderDecoderConfig(hidden=6, embedding=4)
    deep, plain = (EncoderDecoder.init(key, 10, 12, c) for c in (dataclasses.replace(config, encoder_layers=3), config))
    assert len(deep.encoder.layers) == 3 and type(deep.decoder.cell) is type(plain.decoder.cell)
    assert [layer.forward.w.shape[0] for layer in deep.encoder.layers] == [4, 6, 6]  # type: ignore[union-attr]
    shallow = EncoderDecoder.init(key, 10, 12, dataclasses.replace(config, layers=2, encoder_layers=1))
    assert len(shallow.encoder.layers) == 1 and type(shallow.decoder.cell) is Stack


def test_a_pointer_without_a_common_token_is_refused(key):
    # Unknown words and the end are on both sides of any pair; that is no copying.
    for common in ((), (-1, 1, -1, 3, -1), (-1, -1)):
        with pytest.raises(ConfigError, match="no token in common"):
            EncoderDecoder.init(key, 11, 13, EncoderDecoderConfig(hidden=6, embedding=4, copy=True), common)


def test_a_recurrent_dropout_that_would_find_nothing_is_refused(key):
    @module
    class Mine(Cell):
        w_h: Array

        @classmethod
        def init(cls, key, input_size, hidden_size):
            return cls(w_h=jnp.eye(hidden_size))

    config = EncoderDecoderConfig(cell=Mine, recurrent_dropout=0.2)
    with pytest.raises(ConfigError, match="Mine has no weights called u or u_n"):
        EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config)
    plain = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, dataclasses.replace(config, recurrent_dropout=0.0))
    with pytest.raises(ConfigError, match="Mine has no weights called u or u_n"):
        dataclasses.replace(plain, recurrent_dropout=0.2)


def test_a_model_that_copies_is_not_trained_against_a_sample():
    with pytest.raises(ConfigError, match=r"sampled_softmax needs model\.copy off"):
        dataclasses.replace(model_of("copying"), sampled_softmax=3, label_smoothing=0.0)


def test_a_stack_is_a_cell_like_any_other(key):
    config = EncoderDecoderConfig(cell=Stack, hidden=4, embedding=4, bidirectional=False, bridge="states")
    model = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config)
    memory, state = model.start(SOURCE, LENGTHS)
    assert model.step(memory, state, jnp.full(len(LENGTHS), 2))[1].logits.shape == (len(LENGTHS), VOCABULARY)


def test_a_fresh_model_is_finite_and_two_keys_make_two(key):
    config = config_of("bahdanau2015")
    make = jax.jit(lambda key: EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config))
    one, two = make(key), make(jax.random.key(8))
    loss = jax.jit(lambda model: model.loss(BATCH))(one)
    # A fresh model knows nothing: it cannot be far better than log(vocabulary) nats a token, nor far worse.
    assert abs(float(loss.mean) - np.log(VOCABULARY)) < 1
    weights = [name for name, leaf in named_leaves(one).items() if leaf.ndim == 2]
    assert all(bool((named_leaves(one)[name] != named_leaves(two)[name]).any()) for name in weights)


def test_label_smoothing_only_with_a_key():
    plain = dataclasses.replace(model_of("bahdanau2015"), dropout=0.0, label_smoothing=0.0)
    smooth = dataclasses.replace(plain, label_smoothing=0.4)
    loss = jax.jit(lambda model, key: model.loss(BATCH, key).mean)
    key = jax.random.key(0)
    np.testing.assert_allclose(loss(plain, key), loss(plain, None), rtol=1e-6)
    np.testing.assert_allclose(loss(smooth, None), loss(plain, None), rtol=1e-6)
    assert abs(float(loss(smooth, key) - loss(plain, None))) > 1e-3


read = jax.jit(lambda encoder, source, lengths: encoder(source, lengths))


@pytest.mark.parametrize(("both", "reverse"), [(True, False), (False, False), (False, True)])
def test_annotations_are_in_source_order_and_zero_on_padding(key, both, reverse):
    encoder = Encoder.init(
        key,
        VOCABULARY,
        EncoderDecoderConfig(
            cell=GRU, hidden=4, embedding=3, layers=2, bidirectional=both, reverse_source=reverse, residual=True
        ),
    )
    annotations, summary, _ = read(encoder, SOURCE, LENGTHS)
    on = np.arange(len(SOURCE))[:, None] < np.asarray(LENGTHS)
    assert (np.asarray(annotations)[~on] == 0).all() and (np.asarray(annotations)[on] != 0).any(-1).all()
    assert (summary[2] == 0).all()
    changed = annotations - read(encoder, SOURCE.at[2, 0].set(1), LENGTHS)[0]
    heard = np.asarray((changed != 0).any(-1))
    # A word is heard at and after its place by who reads forward, at and before it by who reads from the end.
    places = np.arange(len(SOURCE))
    wanted = np.full(len(SOURCE), True) if both else places <= 2 if reverse else places >= 2
    np.testing.assert_array_equal(heard[:, 0], wanted)
    assert not heard[:, 1:].any()


def test_the_summary_is_the_last_output_of_each_direction(key):
    encoder = Encoder.init(key, VOCABULARY, EncoderDecoderConfig(cell=LSTM, hidden=4, embedding=3))
    _, summary, _ = read(encoder, SOURCE, LENGTHS)
    xs, layer = encoder.embedding(SOURCE), encoder.layers[0]
    forward, _ = unroll(layer.forward, xs, LENGTHS)
    backward, _ = unroll(layer.backward, xs, LENGTHS, reverse=True)
    np.testing.assert_allclose(summary, jnp.concatenate([forward.h, backward.h], -1), atol=1e-6)
    model = model_of("bahdanau2015")
    np.testing.assert_allclose(model.encode(SOURCE, LENGTHS), model.encoder(SOURCE, LENGTHS).summary)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_summary_of_a_residual_encoder_is_its_last_annotation(key, reverse):
    config = EncoderDecoderConfig(
        cell=GRU, hidden=4, embedding=3, layers=3, bidirectional=False, reverse_source=reverse, residual=True
    )
    annotations, summary, _ = read(Encoder.init(key, VOCABULARY, config), SOURCE, LENGTHS)
    last = annotations[0] if reverse else annotations[np.maximum(LENGTHS - 1, 0), np.arange(len(LENGTHS))]
    np.testing.assert_array_equal(summary, last)


def test_the_rank_is_of_the_output_matrix_alone(key):
    config = EncoderDecoderConfig(hidden=6, embedding=3, output_rank=2, attention="general")
    model = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config)
    memory, state = model.start(SOURCE, LENGTHS)
    state, prediction = model.step(memory, state, LENGTHS + 1)
    assert state.fed.shape[1] == 6  # what is fed back is Luong's vector
    ids = jnp.array([1, 4])
    found = model.decoder.columns(ids)(state.fed)
    np.testing.assert_allclose(found, prediction.logits[:, ids], rtol=1e-5)
    few = model.restricted(5).step(memory, *(model.start(SOURCE, LENGTHS)[1], LENGTHS + 1))[1].logits
    np.testing.assert_allclose(few, prediction.logits[:, :5], rtol=1e-5)


def test_uniform_draws_leave_the_scales_of_layer_normalisation(key):
    config = EncoderDecoderConfig(cell=NormLSTM, hidden=4, embedding=3, uniform=0.08)
    model = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config)
    for cell in (model.decoder.cell, model.encoder.layers[0].forward):
        assert (jnp.concatenate([cell.s_x, cell.s_h, cell.s_c]) == 1).all() and 0 < abs(cell.b).max() <= 0.08


@pytest.mark.parametrize("name", ["recurrent_dropout", "token_dropout", "dropout", "label_smoothing"])
def test_each_regularisation_alone_is_in_the_loss_with_a_key(key, name):
    config = EncoderDecoderConfig(hidden=8, embedding=6, dropout=0.0, label_smoothing=0.0)
    plain = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config)
    model = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, dataclasses.replace(config, **{name: 0.5}))
    losses = [np.asarray(m.loss(BATCH, k).sum) for m, k in ((plain, None), (plain, key), (model, None), (model, key))]
    np.testing.assert_array_equal(losses[0], losses[1])
    np.testing.assert_array_equal(losses[0], losses[2])
    assert abs(losses[3] - losses[0]) > 1e-3


def test_variational_dropout_hides_the_same_units_at_each_step(key):
    config = EncoderDecoderConfig(hidden=8, embedding=6, dropout=0.5, label_smoothing=0.0)
    model = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config)
    other = dataclasses.replace(model, variational=True)
    assert abs(model.loss(BATCH, key).sum - other.loss(BATCH, key).sum) > 1e-3
    lengths = jnp.full(SOURCE.shape[1], len(SOURCE))
    hidden, varied = (model.encoder(SOURCE, lengths, key, 0.5, on).annotations == 0 for on in (True, False))
    assert hidden.any() and (hidden == hidden[:1]).all() and (varied != varied[:1]).any()


def test_a_sentence_lacks_a_token_wherever_that_stands(key):
    ids = jnp.asarray(np.random.default_rng(0).integers(4, 9, size=(40, 200)))
    left = np.asarray(drop_tokens(key, 0.3, ids, jnp.ones((40, 200, 2))))
    assert (left[..., 0] == left[..., 1]).all() and set(np.unique(left)) == {0.0, np.float32(1 / 0.7)}
    for token in range(4, 9):
        here = np.asarray(ids) == token
        kept = (left[..., 0] > 0) & here
        whole = kept.sum(0) == here.sum(0)
        assert (whole | (kept.sum(0) == 0)).all()  # all places of a sentence, or none
        assert 0.6 < whole.mean() < 0.8  # and other sentences lack others


def test_tokens_are_hidden_from_the_encoder_and_from_the_decoder(key):
    config = EncoderDecoderConfig(hidden=8, embedding=6, dropout=0.0, label_smoothing=0.0, token_dropout=0.5)
    model = EncoderDecoder.init(key, VOCABULARY, VOCABULARY, config)
    plain, hidden = (model.encoder(SOURCE, LENGTHS, key, token_rate=rate).annotations for rate in (0.0, 0.5))
    assert abs(plain - hidden).max() > 1e-3
    for side in ("encoder", "decoder"):
        part = getattr(model, side)
        blind = replace_table(part, jnp.zeros_like(part.embedding.table))  # to which hiding makes no difference
        one_sided = dataclasses.replace(model, **{side: blind})
        without = dataclasses.replace(one_sided, token_dropout=0.0)
        assert abs(one_sided.loss(BATCH, key).sum - without.loss(BATCH, key).sum) > 1e-3


def replace_table(part, table):
    return dataclasses.replace(part, embedding=dataclasses.replace(part.embedding, table=table))


def test_dropout_in_the_encoder_needs_a_key(key):
    encoder = Encoder.init(key, VOCABULARY, EncoderDecoderConfig(cell=GRU, hidden=4, embedding=3, bidirectional=False))
    plain, same = encoder(SOURCE, LENGTHS, None, 0.5), encoder(SOURCE, LENGTHS, key, 0.0)
    np.testing.assert_array_equal(plain.annotations, same.annotations)
    assert not np.allclose(encoder(SOURCE, LENGTHS, key, 0.5).annotations, plain.annotations)


def test_the_bridge_fills_floating_leaves_and_leaves_the_others(key):
    cell = Counting.init(key, 3, 4)
    bridge = randomised(Bridge.init(key, 5, cell), key)
    summary = jax.random.normal(key, (2, 5))
    state = bridge(cell, summary)
    assert (state["n"] == 0).all() and state["n"].dtype == jnp.int32 and bridge.layers[1] is None
    layer = bridge.layers[0]
    np.testing.assert_allclose(state["h"], np.tanh(summary @ layer.w + layer.b), atol=1e-6)


def test_which_leaf_of_the_state_is_the_output(key):
    found = {name: output_leaf(make(key), 3) for name, make in CELLS.items()}
    # Of the stack of two LSTMs the leaves are h, c, h, c; a residual stack's output is a sum, and no leaf.
    single = dict.fromkeys(("Elman", "GRU", "ChoGRU", "LSTM", "NormGRU", "NormLSTM", "Dropped"), 0)
    assert found == {**single, "Stack": 2, "residual": None}
    assert output_leaf(Counting.init(key, 3, 4), 3) is None


OUTPUT_LAYERS = ("defaults", "cho2014", "elman", "residual additive", "general after, maxout", "dot, linear")


@pytest.mark.parametrize("name", OUTPUT_LAYERS)
def test_restricted_logits_are_the_same_columns(name):
    model = model_of(name)
    memory, state = model.start(SOURCE, LENGTHS)
    token = jnp.full(len(LENGTHS), VOCABULARY - 1)  # any token may have been read
    _, whole = model.step(memory, state, token)
    for size in (5, VOCABULARY - 1, VOCABULARY, VOCABULARY + 9):
        some = model.restricted(size)
        _, part = some.step(memory, state, token)
        assert part.logits.shape == (len(LENGTHS), min(size, VOCABULARY))
        np.testing.assert_allclose(part.logits, whole.logits[:, :size], atol=1e-6)


def test_a_pointer_beside_restricted_logits_has_the_share_that_is_among_these():
    model = model_of("copying")
    memory, state = model.start(SOURCE, LENGTHS)
    _, found = model.restricted(5).step(memory, state, jnp.full(len(LENGTHS), VOCABULARY - 1))
    decoder = dataclasses.replace(model.decoder, pointer=None)
    _, (vector, weights) = model.decoder.advance(
        decoder.cell, memory, state, decoder.embedding(jnp.full(len(LENGTHS), VOCABULARY - 1))
    )
    wanted = model.decoder.pointer.mixed(decoder.logits(vector)[:, :5], vector, weights, memory.places)
    np.testing.assert_allclose(found.logits, wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["bahdanau2015", "reversed additive"])
def test_restricted_search_is_a_search_with_the_others_banned(name):
    model, some = model_of(name), model_of(name).restricted(5)
    limit, special = [7] * len(LENGTHS), (0, 1, 2)
    others = greedy(
        model, SOURCE, LENGTHS, limit, SearchOptions(max_length=7, banned=(*special, *range(5, VOCABULARY)))
    )
    found = greedy(some, SOURCE, LENGTHS, limit, SearchOptions(max_length=7, banned=special))
    np.testing.assert_array_equal(found.tokens, others.tokens)
    assert (found.log_probabilities >= others.log_probabilities).all()  # of what is left, and so of more each
    free = greedy(model, SOURCE, LENGTHS, limit, SearchOptions(max_length=7, banned=special))
    assert (free.tokens != found.tokens).any()


def test_a_sampled_softmax_is_for_training_only(key):
    config = EncoderDecoderConfig(hidden=6, embedding=4, label_smoothing=0.0, dropout=0.0)
    whole = EncoderDecoder.init(key, 10, 300, config)
    sampled = EncoderDecoder.init(key, 10, 300, dataclasses.replace(config, sampled_softmax=5))
    ids = jnp.ones((4, 2), jnp.int32)
    batch = Batch(ids, jnp.array([4, 3]), ids, ids, jnp.ones((4, 2)))  # type: ignore[arg-type]
    assert sampled.loss(batch, None).sum == whole.loss(batch, None).sum
    assert sampled.loss(batch, key).sum != whole.loss(batch, key).sum
    flops = [product_flops(lambda m: m.loss(batch, key).sum, model) for model in (sampled, whole)]
    assert flops[1] - flops[0] == 2 * 8 * 6 * (300 - 5 - 1)
