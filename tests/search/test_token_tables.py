"""Whole models with the product of the last token's embedding looked up: the same step, fewer products, any search."""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from seq2seq import (
    GRU,
    LSTM,
    BeamOptions,
    ChoGRU,
    Elman,
    EncoderDecoder,
    EncoderDecoderConfig,
    PreparedModel,
    beam,
    module,
    score,
)
from seq2seq.core.cost import product_flops
from seq2seq.core.seams import Key
from seq2seq.core.tables import TableRule

SOURCE, LENGTHS, LIMIT = np.array([[4, 5, 7], [6, 3, 3], [3, 0, 0]]), np.array([3, 2, 2]), np.array([6, 6, 4])
TOKENS = jnp.array([2, 11, 8])
VOCABULARY, HIDDEN, EMBEDDING = 33, 12, 7


@module
class Naive:
    """A user's cell: one matrix for the token and the state."""

    w: Array

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        return cls(w=jax.random.normal(key, (input_size + hidden_size, hidden_size)) * 0.3)

    def initial_state(self, batch: int) -> Array:
        return jnp.zeros((batch, self.w.shape[1]))

    def step(self, state: Array, x: Array) -> tuple[Array, Array]:
        h = jnp.tanh(jnp.concatenate([x, state], axis=-1) @ self.w)
        return h, h


def model(**options: Any) -> EncoderDecoder:
    config = EncoderDecoderConfig(**({"hidden": HIDDEN, "embedding": EMBEDDING} | options))  # pyright: ignore
    return EncoderDecoder.init(jax.random.key(0), 9, VOCABULARY, config)


def flops(model: Any) -> int:
    """Of the products of a step."""
    memory, state = jax.eval_shape(model.start, jnp.asarray(SOURCE), jnp.asarray(LENGTHS))
    return product_flops(model.step, memory, state, TOKENS)


def tables(prepared: PreparedModel) -> list[Array]:
    """Those that were made ready."""
    return [ready for ready in prepared.ready if ready.ndim == 2 and len(ready) == VOCABULARY]


def widths(prepared: PreparedModel) -> list[int]:
    """How wide each table is."""
    return [table.shape[1] for table in tables(prepared)]


def check(plain: Any, prepared: PreparedModel) -> None:
    """The same three steps."""

    @jax.jit
    def both(*models: Any) -> Any:
        memory, first = plain.start(jnp.asarray(SOURCE), jnp.asarray(LENGTHS))
        answers = []
        for model in models:
            state, found = first, []
            for token in (TOKENS, TOKENS[::-1], TOKENS - 1):
                state, prediction = model.step(memory, state, token)
                found.append((state, prediction))
            answers.append(found)
        return answers

    wanted, found = both(plain, prepared)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), found, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": Elman, "attention": "none"},
        {"cell": GRU, "attention": "additive"},
        {"cell": ChoGRU, "attention": "none", "summary": "everywhere", "readout": "maxout"},
        {"cell": LSTM, "attention": "general", "tied": True},
        {"cell": LSTM, "attention": "dot", "input_feeding": False, "readout": "linear"},
        {"cell": GRU, "attention": "additive", "readout": "maxout", "tied": True},
        {"cell": Naive, "attention": "general", "readout": "maxout"},
        {"cell": Naive, "attention": "additive", "layers": 2, "residual": True},
    ],
    ids=lambda options: "-".join(str(getattr(value, "__name__", value)) for value in options.values()),
)
def test_a_step_says_the_same_and_multiplies_no_embedding(options):
    plain = model(**options)
    prepared = PreparedModel.of(plain)
    check(plain, prepared)
    found = widths(prepared)
    assert len(found) == (2 if options.get("readout") == "maxout" else 1)
    assert flops(plain) - flops(prepared) == 2 * len(TOKENS) * EMBEDDING * sum(found)


@pytest.mark.parametrize("how", [{"int8": True}, {"precision": "bfloat16"}])
def test_fewer_bits_do_not_touch_the_tables(how):
    plain = model(attention="additive")
    prepared = PreparedModel.of(plain, **how)
    (table,) = tables(prepared)
    decoder = plain.decoder
    wanted = decoder.embedding.scale * decoder.embedding.table @ decoder.cell.w[:EMBEDDING]  # pyright: ignore
    assert table.dtype == jnp.float32
    np.testing.assert_allclose(table, wanted, atol=1e-6 if "int8" in how else 0.02)
    assert flops(plain) - flops(prepared) == 2 * len(TOKENS) * EMBEDDING * table.shape[1]


def test_a_shortlist_still_reads_every_token():
    plain = model(attention="general", tied=True).restricted(9)
    prepared = PreparedModel.of(plain)
    assert widths(prepared) == [4 * HIDDEN]
    check(plain, prepared)  # tokens beyond the shortlist among them


def test_a_table_of_many_rows_waits_until_many_are_read(monkeypatch):
    monkeypatch.setattr(TableRule.__init__, "__defaults__", (0, 0, TableRule().bytes))  # no table is cheap
    plain = model()
    assert widths(PreparedModel.of(plain, tokens=VOCABULARY - 1)) == widths(PreparedModel.of(plain)) == []
    assert widths(PreparedModel.of(plain, tokens=VOCABULARY)) == [4 * HIDDEN]


def test_small_tables_are_the_same_however_much_is_read():
    plain = model()
    few, many = PreparedModel.of(plain), PreparedModel.of(plain, tokens=1e9)
    assert jax.tree.structure(few) == jax.tree.structure(many)  # so that no search is compiled again


def test_a_search_and_a_score_find_the_same():
    plain = model(attention="additive", cell=GRU)
    prepared = PreparedModel.of(plain)
    target = np.array([[2, 2, 2], [7, 30, 5]]), np.array([[7, 30, 5], [3, 4, 3]]), np.ones((2, 3))
    for search in (
        lambda m: beam(m, SOURCE, LENGTHS, LIMIT, BeamOptions(size=3, nbest=2, max_length=6, slots=2)),
        lambda m: score(m, SOURCE, LENGTHS, *target),
    ):
        found, wanted = search(prepared), search(plain)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), found, wanted)
