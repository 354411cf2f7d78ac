"""A model in another's numbers says of each token what it says of it in its own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import BATCH, VOCABULARY

from seq2seq import EncoderDecoder, EncoderDecoderConfig, Ensemble, PreparedModel
from seq2seq.core.seams import BEGIN, Restrictable
from seq2seq.errors import ModuleError
from seq2seq.nn.cells import GRU
from seq2seq.search import Renumbered, score

RNG = np.random.default_rng(0)
SOURCE, TARGET = (np.append(np.arange(4), 4 + RNG.permutation(VOCABULARY - 4)) for _ in range(2))
MODEL = EncoderDecoder.init(jax.random.key(0), VOCABULARY, VOCABULARY, EncoderDecoderConfig(hidden=12, embedding=6))
OTHER = EncoderDecoder.init(jax.random.key(1), VOCABULARY, VOCABULARY, EncoderDecoderConfig(hidden=12, embedding=6))


def renumbered(model: Any = MODEL) -> Renumbered:
    return Renumbered(model=model, source=tuple(SOURCE.tolist()), target=tuple(TARGET.tolist()))


def theirs() -> Any:
    """The batch in the numbers that the model itself has."""
    own = {name: TARGET[np.asarray(getattr(BATCH, name))] for name in ("target_in", "target_out")}
    return BATCH._replace(source=SOURCE[np.asarray(BATCH.source)], **own)


def test_it_scores_as_the_model_does_in_its_own_numbers():
    assert not np.allclose(score(MODEL, *BATCH), score(MODEL, *theirs()), atol=1e-3)
    np.testing.assert_allclose(score(renumbered(), *BATCH), score(MODEL, *theirs()), atol=1e-5)


def test_members_that_number_otherwise_are_averaged_token_by_token():
    both = score(Ensemble(models=(OTHER, renumbered())), *BATCH)
    wanted = np.log((np.exp(score(OTHER, *BATCH)) + np.exp(score(MODEL, *theirs()))) / 2)
    np.testing.assert_allclose(both, wanted, atol=1e-5)


def test_the_first_ids_are_those_of_the_other():
    model = renumbered()
    assert isinstance(model, Restrictable)
    memory, state = model.start(jnp.asarray(BATCH.source), jnp.asarray(BATCH.source_lengths))
    token = jnp.full(BATCH.size, BEGIN)
    whole, short = (m.step(memory, state, token)[1].logits for m in (model, model.restricted(6)))
    np.testing.assert_array_equal(short, whole[:, :6])


def test_it_is_searched_in_fewer_bits():
    found = score(PreparedModel.of(renumbered(), "bfloat16"), *BATCH)
    np.testing.assert_allclose(found, score(PreparedModel.of(MODEL, "bfloat16"), *theirs()), atol=1e-4)


def test_what_cannot_be_renumbered():
    with pytest.raises(ModuleError, match="GRU has no `start`"):
        renumbered(GRU.init(jax.random.key(0), 2, 3))
