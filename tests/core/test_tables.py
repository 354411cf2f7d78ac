"""A product of a looked-up row is a row of a table: however the row is written, and nowhere where it is not whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax
from jax.extend.core import jaxpr_as_fun

from seq2seq.core.tables import TableRule, tabled

VOCABULARY, WIDTH, HIDDEN, OUTPUT = 9, 5, 3, 4
KEYS = jax.random.split(jax.random.key(0), 3)
TABLE = jax.random.normal(KEYS[0], (VOCABULARY, WIDTH))
W = jax.random.normal(KEYS[1], (WIDTH + HIDDEN, OUTPUT))
H = jax.random.normal(KEYS[2], (3, HIDDEN))
TWO = jnp.float32(2.0)
Step = Callable[[Array, Array, Array, Array], Array]


def beside(left: Any, right: Any) -> Array:
    return jnp.concatenate([left, right], axis=-1)


FOUND: dict[str, tuple[Step, int]] = {
    "indexing": (lambda t, w, i, h: t[i] @ w[:5], 1),
    "take": (lambda t, w, i, h: jnp.take(t, i, axis=0) @ w[:5], 1),
    "clip": (lambda t, w, i, h: jnp.take(t, i, axis=0, mode="clip") @ w[:5], 1),
    "fill": (lambda t, w, i, h: t.at[i].get(mode="fill") @ w[:5], 1),
    "one row, mapped": (lambda t, w, i, h: jax.vmap(lambda j: t[j] @ w[:5])(i), 1),
    "one row and more, mapped": (lambda t, w, i, h: jax.vmap(lambda j, g: beside(t[j], g) @ w)(i, h), 2),
    "an index that is computed": (lambda t, w, i, h: t[i * 2 - 1] @ w[:5], 1),
    "ids of two axes": (lambda t, w, i, h: t[i[:, None] + jnp.zeros((1, 2), int)] @ w[:5], 1),
    "a table that is computed": (lambda t, w, i, h: jnp.tanh(t)[i] @ w[:5], 1),
    "times a literal": (lambda t, w, i, h: (t[i] * 2.5) @ w[:5], 1),
    "times a constant": (lambda t, w, i, h: (TWO * t[i]) @ w[:5], 1),
    "divided by a leaf": (lambda t, w, i, h: (t[i] / w[0, 0]) @ w[:5], 1),
    "beside the state": (lambda t, w, i, h: beside(t[i], h) @ w, 2),
    "behind the state": (lambda t, w, i, h: beside(h, t[i]) @ w, 2),
    "between": (lambda t, w, i, h: beside(h[:, :1], beside(t[i] * 3, h[:, 1:])) @ w, 3),
    "beside itself": (lambda t, w, i, h: beside(t[i][:, :0], beside(t[i], t[i])) @ beside(w.T, w.T[:, :2]).T, 3),
    "nested": (lambda t, w, i, h: beside(beside(t[i], h[:, :1]), h[:, 1:]) @ w, 2),
    "weight on the left": (lambda t, w, i, h: lax.dot_general(w[:5], t[i], (((0,), (1,)), ((), ()))), 1),
    "einsum": (lambda t, w, i, h: jnp.einsum("ek,be->kb", w[:5], t[i]), 1),
    "a weight of three axes": (lambda t, w, i, h: jnp.einsum("ekl,be->bkl", w[:5].reshape(5, 2, 2), t[i]), 1),
    "spread over a beam": (lambda t, w, i, h: jnp.broadcast_to(t[i][:, None], (3, 2, 5)).reshape(6, 5) @ w[:5], 1),
    "in a call": (lambda t, w, i, h: jax.jit(lambda x: jax.nn.relu(x @ w[:5]))(t[i]), 1),
    "tied": (lambda t, w, i, h: beside(t[i] @ w[:5], h[:, :1]) @ t.T, 2),
}
LEFT: dict[str, Step] = {
    "the table changes": lambda t, w, i, h: jnp.where(h[0, 0] > 0, t, 0.0)[i] @ w[:5],
    "the weight changes": lambda t, w, i, h: t[i] @ (w[:5] * h[0, 0]),
    "the row is changed": lambda t, w, i, h: jnp.tanh(t[i]) @ w[:5],
    "the number changes": lambda t, w, i, h: (t[i] * h[0, 0]) @ w[:5],
    "not by one number": lambda t, w, i, h: (t[i] * w[:5, 0]) @ w[:5],
    "a number divided by it": lambda t, w, i, h: (2.0 / t[i]) @ w[:5],
    "a part of the row": lambda t, w, i, h: t[i, :4] @ w[:4],
    "filled up with a number": lambda t, w, i, h: t.at[i].get(mode="fill", fill_value=7.0) @ w[:5],
    "summed over the batch": lambda t, w, i, h: t[i].T @ h,
    "no lookup": lambda t, w, i, h: h @ w[:3],
}


def shapes(closed: Any) -> list[tuple[int, ...]]:
    """Of the results of products."""
    return [e.outvars[0].aval.shape for e in closed.jaxpr.eqns if e.primitive.name == "dot_general"]


def check(step: Step, rule: TableRule) -> Any:
    """The rewritten program, which is to say the same, also of ids that are outside of the table."""
    inside, outside = ((TABLE, W, jnp.array(ids), H) for ids in ([1, 8, 0], [-1, 12, -20]))
    found = tabled(jax.make_jaxpr(step)(*inside), [True, True, False, False], rule)
    rewritten, plain = jax.jit(jaxpr_as_fun(found)), jax.jit(step)
    for inputs in (inside, outside):
        np.testing.assert_allclose(rewritten(*inputs)[0], plain(*inputs), rtol=1e-5, atol=1e-5)
    return found


@pytest.mark.parametrize("name", FOUND)
def test_a_product_of_a_row_is_a_row_of_the_table(name):
    step, count = FOUND[name]
    found = shapes(check(step, TableRule()))
    tables = [shape for shape in found if shape[0] == VOCABULARY]
    assert len(found) == count and tables
    assert shapes(check(step, TableRule(flops=0))) != found


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_whole_row_is_left_alone(name):
    (found,) = shapes(check(LEFT[name], TableRule()))
    assert VOCABULARY not in found


def test_the_rule_is_for_cheap_tables_and_for_many_rows_and_never_for_large_ones():
    flops = 2 * VOCABULARY * WIDTH * OUTPUT
    made = {
        rule: (VOCABULARY, OUTPUT) in shapes(check(FOUND["beside the state"][0], rule))
        for rule in (
            TableRule(flops=flops),
            TableRule(flops=flops - 1),
            TableRule(flops=0, rows=VOCABULARY),
            TableRule(flops=0, rows=VOCABULARY - 1),
            TableRule(bytes=4 * VOCABULARY * OUTPUT),
            TableRule(bytes=4 * VOCABULARY * OUTPUT - 1),
        )
    }
    assert list(made.values()) == [True, False] * 3


@pytest.mark.parametrize("mode", ["clip", "fill"])
def test_a_table_in_fewer_bits_is_widened_and_a_product_in_fewer_bits_left(mode):
    def widened(table: Array, w: Array, ids: Array) -> Array:
        return table.at[ids].get(mode=mode).astype(jnp.float32) @ w

    def narrow(table: Array, w: Array, ids: Array) -> Array:
        return table[ids] @ w.astype(jnp.bfloat16)

    inputs = TABLE.astype(jnp.bfloat16), W[:5], jnp.array([1, 20])
    for step, rows in ((widened, VOCABULARY), (narrow, 2)):
        found = tabled(jax.make_jaxpr(step)(*inputs), [True, True, False], TableRule())
        assert shapes(found) == [(rows, OUTPUT)]
        np.testing.assert_allclose(jaxpr_as_fun(found)(*inputs)[0], step(*inputs), rtol=1e-5, atol=1e-5)
