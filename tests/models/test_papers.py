"""The configurations that a paper describes compute what that paper says, forward, word by word."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH
from contract.table import TABLE, model_of
from models import reference_models

PAPERS = {
    "cho": reference_models.cho,
    "sutskever": reference_models.sutskever,
    "bahdanau": reference_models.bahdanau,
    "defaults": reference_models.luong,
}


@jax.jit
def predictions(model, batch):
    memory, state = model.start(jnp.asarray(batch.source), jnp.asarray(batch.source_lengths))
    return jax.lax.scan(lambda state, token: model.step(memory, state, token), state, jnp.asarray(batch.target_in))[1]


@pytest.mark.parametrize("name", PAPERS)
def test_logits_and_attention_are_the_papers(name):
    assert name != "defaults" or TABLE[name] == {}  # LSTM, general attention, input feeding
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
