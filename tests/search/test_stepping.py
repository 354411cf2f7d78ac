from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from seq2seq.search.stepping import normaliser, top_k


@pytest.mark.parametrize(("width", "k"), [(6, 6), (1000, 3), (2049, 7), (2500, 5)])
def test_top_k_is_lax_top_k_with_its_ties(width, k):
    few = np.random.default_rng(0).integers(-30, 4, size=(3, 40, width)).astype(np.float32)
    few[0] = np.where(few[0] > 0, -np.inf, few[0])
    for x, y in zip(top_k(jnp.asarray(few), k), lax.top_k(few, k), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def test_no_log_probability_is_above_zero():
    # The early stop of the beam relies on it, in floating point too.
    logits = np.random.default_rng(0).normal(size=(2000, 5)).astype(np.float32) * 30
    assert (logits.max(-1) <= np.asarray(normaliser(jnp.asarray(logits)))).all()
