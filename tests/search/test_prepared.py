"""Products of weights in 8 bits: exactly their definition, within the bound, made ready once, and searched as ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array, lax
from jax.extend.core import jaxprs_in_params

from seq2seq import (
    BeamOptions,
    EncoderDecoder,
    EncoderDecoderConfig,
    Prediction,
    PreparedModel,
    SearchOptions,
    beam,
    greedy,
    module,
)
from seq2seq.core._dots import Side, quantised
from seq2seq.core.seams import Searchable

SOURCE, LENGTHS, LIMIT = np.array([[4, 5], [6, 3], [3, 0]]), np.array([3, 2]), np.array([6, 6])


@module
class Row:
    """A model whose logits are one product: of a row of `inputs` and the weight."""

    inputs: Array
    w: Array
    transposed: bool = False

    def start(self, source: Array, lengths: Array) -> tuple[Any, Any]:
        return (), lengths

    def step(self, memory: Any, state: Array, token: Array) -> tuple[Array, Prediction]:
        # A choice that hides the row: what is looked up would become a table.
        x = jnp.where(state[:, None] < 0, 0.0, lax.stop_gradient(self.inputs)[token])
        return state, Prediction(x @ (self.w.T if self.transposed else self.w))


def numpy_int8(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The definition, typed from the docstring."""
    unit = np.float32(1 / 127)
    s, t = np.abs(x).max(1, keepdims=True) * unit, np.abs(w).max(0, keepdims=True) * unit
    x8, w8 = np.round(x / np.where(s > 0, s, 1)).astype(np.int32), np.round(w / np.where(t > 0, t, 1)).astype(np.int32)
    return (x8 @ w8).astype(np.float32) * s * t


def bound(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Each factor is off by at most half a scale: sum over k of |x| t / 2 + |w| s / 2 + s t / 4."""
    s, t = np.abs(x).max(1, keepdims=True) / 127, np.abs(w).max(0, keepdims=True) / 127
    return np.abs(x).sum(1, keepdims=True) * t / 2 + s * np.abs(w).sum(0, keepdims=True) / 2 + x.shape[1] * s * t / 4


def logits(model: Any, rows: int) -> np.ndarray[Any, Any]:
    tokens = jnp.arange(rows)
    return np.asarray(jax.jit(lambda m: m.step((), tokens, tokens)[1].logits)(model))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_is_its_definition_and_within_the_bound(transposed):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 64)).astype(np.float32), rng.normal(size=(64, 9)).astype(np.float32)
    x[2], w[:, 3] = 0, 0  # their scale is 0
    model = Row(inputs=jnp.asarray(x), w=jnp.asarray(w.T if transposed else w), transposed=transposed)
    found = logits(PreparedModel.of(model, int8=True), 5)
    np.testing.assert_array_equal(found, numpy_int8(x, w))
    exact = np.float64(x) @ np.float64(w)
    assert (np.abs(found - exact) <= bound(x, w) * (1 + 1e-5)).all()
    assert np.abs(found - exact).max() > 1e-4  # it is not float32
    assert (found[2] == 0).all() and (found[:, 3] == 0).all()


def test_a_row_knows_nothing_of_its_batch_mates():
    x = jax.random.normal(jax.random.key(0), (5, 8)) * 10 ** jnp.arange(-2.0, 3)[:, None]
    model = PreparedModel.of(Row(inputs=x, w=jax.random.normal(jax.random.key(1), (8, 4))), int8=True)
    together = logits(model, 5)
    alone = logits(PreparedModel.of(Row(inputs=x[:1], w=model.model.w), int8=True), 1)
    np.testing.assert_array_equal(together[:1], alone)


def test_what_is_not_finite_stays_so():
    x = jnp.ones((3, 4)).at[1, 1].set(jnp.nan).at[2, 2].set(jnp.inf)
    found = logits(PreparedModel.of(Row(inputs=x, w=jnp.ones((4, 2))), int8=True), 3)
    assert np.isfinite(found[0]).all() and not np.isfinite(found[1:]).any()


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_a_number_is_off_by_at_most_half_a_scale(numbers):
    x = np.array([numbers], np.float32)
    values, scale = quantised(jnp.asarray(x), Side((), (0,), (1,), left=True))
    assert values.dtype == jnp.int8 and np.abs(np.asarray(values, np.int32)).max() <= 127
    assert (np.abs(np.asarray(values, np.float64) * np.float64(scale[0]) - x) <= np.float64(scale[0]) * 0.50001).all()


# A whole model.


def encoder_decoder(attention: str = "general", tied: bool = False) -> EncoderDecoder:
    config = EncoderDecoderConfig(hidden=20, embedding=14, attention=attention, tied=tied)  # pyright: ignore
    return EncoderDecoder.init(jax.random.key(0), 9, 33, config)


def equations(jaxpr: Any) -> Iterator[Any]:
    for e in jaxpr.eqns:
        yield e
        for inner in jaxprs_in_params(e.params):
            yield from equations(getattr(inner, "jaxpr", inner))


def searched(model: Searchable) -> Any:
    options = BeamOptions(size=3, max_length=6)
    return jax.make_jaxpr(lambda m: beam(m, SOURCE, LENGTHS, LIMIT, options))(model).jaxpr


def loop_of(jaxpr: Any) -> list[Any]:
    """What the loop of a search does."""
    (loop,) = [e for e in equations(jaxpr) if e.primitive.name == "while"]
    return list(equations(loop.params["body_jaxpr"].jaxpr))


@pytest.mark.parametrize("attention", ["general", "additive", "none"])
def test_products_of_weights_are_in_8_bits_and_those_of_activations_are_not(attention):
    loop = loop_of(searched(PreparedModel.of(encoder_decoder(attention), int8=True)))
    products = [[str(a.aval.dtype) for a in e.invars] for e in loop if e.primitive.name == "dot_general"]
    plain = loop_of(searched(encoder_decoder(attention)))
    looked_up = attention == "none"  # the row of the last token, which nothing lies beside
    assert len(products) == sum(e.primitive.name == "dot_general" for e in plain) - looked_up
    of_activations = {"general": 2, "additive": 1, "none": 0}[attention]  # scores, context
    assert products.count(["int8", "int8"]) == len(products) - of_activations
    assert products.count(["float32", "float32"]) == of_activations


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("how", [{"int8": True}, {"precision": "bfloat16"}])
def test_no_weight_is_made_ready_in_a_search(how, tied):
    model = encoder_decoder(tied=tied)
    shapes = {leaf.shape for leaf in jax.tree.leaves(model) if leaf.ndim == 2}
    shapes |= {shape[::-1] for shape in shapes}
    small = {jnp.int8.dtype, jnp.bfloat16.dtype}
    jaxpr = searched(PreparedModel.of(model, **how))
    made = [e.outvars[0].aval for e in loop_of(jaxpr) if e.outvars and e.outvars[0].aval.dtype in small]
    assert made and not [a for a in made if a.shape in shapes]
    if "int8" in how:
        rounds = [e.outvars[0].aval.shape for e in equations(jaxpr) if e.primitive.name == "round"]
        assert rounds and not shapes & set(rounds)


def test_a_step_with_another_recipe_computes_the_same():
    model = PreparedModel.of(encoder_decoder(), int8=True)
    memory, state = model.start(jnp.asarray(SOURCE), jnp.asarray(LENGTHS))
    steps = [m.step(memory, state, jnp.array([2, 2]))[1].logits for m in (model, replace(model, recipe="", ready=()))]
    np.testing.assert_array_equal(*steps)


@pytest.mark.parametrize("how", [{"int8": True}, {"precision": "bfloat16"}, {"int8": True, "precision": "bfloat16"}])
def test_it_is_searched_as_any_model_and_nearly_agrees(how):
    plain = encoder_decoder()
    model = PreparedModel.of(plain, **how)
    for search in (
        lambda m: greedy(m, SOURCE, LENGTHS, LIMIT, SearchOptions(max_length=6)),
        lambda m: beam(m, SOURCE, LENGTHS, LIMIT, BeamOptions(size=3, max_length=6)),
    ):
        found, wanted = search(model), search(plain)
        np.testing.assert_allclose(found.log_probabilities, wanted.log_probabilities, rtol=0.02)
        assert np.any(found.log_probabilities != wanted.log_probabilities)


def test_bfloat16_reaches_the_encoder_and_int8_does_not():
    def products(model: Any) -> set[str]:
        jaxpr = jax.make_jaxpr(lambda m: m.start(jnp.asarray(SOURCE), jnp.asarray(LENGTHS)))(model).jaxpr
        return {str(e.invars[0].aval.dtype) for e in equations(jaxpr) if e.primitive.name == "dot_general"}

    assert products(PreparedModel.of(encoder_decoder(), int8=True)) == {"float32"}
    assert products(PreparedModel.of(encoder_decoder(), "bfloat16", int8=True)) == {"bfloat16"}
