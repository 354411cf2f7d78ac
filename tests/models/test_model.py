"""`Model`: a user's class with `start` and `step`, or with `loss`, trains, saves and loads like ours."""

from __future__ import annotations

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, VOCABULARY
from contract.table import Counting, model_of
from jax import Array
from nn import reference

from seq2seq.core import archive
from seq2seq.core.archive import Archive
from seq2seq.core.module import module
from seq2seq.core.seams import Key, Prediction, Searchable
from seq2seq.errors import ArchiveError, CorruptArchiveError, LeafError, ModuleError, UnknownClassError
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.model import Model, load_model
from seq2seq.nn.layers import FF, Embedding


@module
class Bag(Model):
    """A user's model: the mean of the source, the last word, and never padding."""

    embedding: Embedding
    out: FF
    gain: float = 2.0

    @classmethod
    def init(cls, key: Key, vocabulary: int, hidden: int = 3) -> Self:
        one, two = jax.random.split(key)
        return cls(embedding=Embedding.init(one, vocabulary, hidden), out=FF.init(two, hidden, vocabulary))

    def start(self, source: Array, lengths: Array) -> tuple[Array, tuple]:
        on = jnp.arange(len(source))[:, None] < lengths
        total = (self.embedding(source) * on[..., None].astype(jnp.float32)).sum(0)
        return total / lengths.clip(1).astype(jnp.float32)[:, None], ()

    def step(self, memory: Array, state: tuple, token: Array) -> tuple[tuple, Prediction]:
        logits = self.out(self.gain * memory + self.embedding(token))
        return state, Prediction(logits.at[:, 0].set(-jnp.inf))


@module
class Silent(Model):
    w: Array


def test_start_and_step_are_enough_to_train():
    model = Bag.init(jax.random.key(0), VOCABULARY)
    assert isinstance(model, Searchable)
    value, gradient = jax.jit(jax.value_and_grad(lambda m: m.loss(BATCH, None).sum))(model)
    wanted = 0.0
    for row, length in enumerate(BATCH.source_lengths):
        memory = model.embedding(jnp.asarray(BATCH.source[:length, row])).sum(0) / max(int(length), 1)
        for t in range(int(BATCH.target_mask[:, row].sum())):
            logits = model.out(2 * memory + model.embedding(BATCH.target_in[t, row]))
            wanted += reference.cross_entropy(np.asarray(logits)[1:], BATCH.target_out[t, row] - 1)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    # A model may forbid padding with -inf; what it then says of the padding of a batch must not make NaN.
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
    assert float(model.loss(BATCH).count) == BATCH.target_mask.sum()


def test_a_loss_is_summed_in_float32_whatever_the_logits_are():
    class Half(Bag):
        def step(self, memory, state, token):
            state, prediction = super().step(memory, state, token)
            return state, Prediction(prediction.logits.astype(jnp.bfloat16))

    class Widened(Half):
        def step(self, memory, state, token):
            state, prediction = super().step(memory, state, token)
            return state, Prediction(prediction.logits.astype(jnp.float32))

    half, widened = (module(kind).init(jax.random.key(0), VOCABULARY).loss(BATCH) for kind in (Half, Widened))
    assert float(half.sum) == pytest.approx(float(widened.sum), rel=1e-6)


def test_neither_loss_nor_start_and_step_is_said():
    with pytest.raises(ModuleError, match="Silent has neither `loss` nor `start` and `step`"):
        Silent(w=jnp.ones(1)).loss(BATCH)


def test_a_users_model_is_saved_and_loaded_by_its_class(tmp_path):
    path = tmp_path / "bag.npz"
    model = Bag.init(jax.random.key(0), VOCABULARY)
    model.save(path)
    for back in (Bag.load(path), load_model(path, types=[Bag]), Model.load(path, types=[Counting, Bag])):
        assert jax.tree.structure(back) == jax.tree.structure(model)
        np.testing.assert_array_equal(back.loss(BATCH).sum, model.loss(BATCH).sum)
    with pytest.raises(UnknownClassError, match=r"the class Bag .* load\(path, types=\[Bag\]\)"):
        load_model(path)
    with pytest.raises(ArchiveError, match=r"bag\.npz: holds a Bag, wanted a EncoderDecoder"):
        EncoderDecoder.load(path, types=[Bag])


def test_a_users_cell_inside_our_model_must_be_handed_in(tmp_path):
    path = tmp_path / "model.npz"
    model = model_of("user's cell")
    model.save(path)
    with pytest.raises(UnknownClassError, match="the class Counting"):
        EncoderDecoder.load(path)
    back = EncoderDecoder.load(path, types=[Counting])
    loss = jax.jit(lambda model: model.loss(BATCH).sum)
    assert loss(back) == loss(model)


def test_bfloat16_leaves_come_back_as_bfloat16(tmp_path):
    model = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), Silent(w=jnp.arange(3.0) / 7))
    model.save(tmp_path / "half.npz")
    back = Silent.load(tmp_path / "half.npz")
    assert back.w.dtype == jnp.bfloat16 and (back.w == model.w).all()


def test_what_is_no_model_is_an_error_of_ours(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(ArchiveError, match="No such file"):
        Silent.load(path)
    archive.write(path, Archive.of({"w": jnp.ones(1)}))
    with pytest.raises(ArchiveError, match="an archive of seq2seq, but not of a model"):
        Silent.load(path)
    Silent(w=jnp.ones(100)).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptArchiveError, match=r"model\.npz"):
        Silent.load(path)
    Silent(w=jnp.ones(2)).save(path)
    found = archive.read(path)
    archive.write(path, Archive({}, found.header))
    with pytest.raises(LeafError, match="leaf w is missing"):
        Silent.load(path)
