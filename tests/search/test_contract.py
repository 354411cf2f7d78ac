"""The contract of every search, over a toy model and over the models that there are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.batches import VOCABULARY
from contract.cells import randomised
from contract.search_contract import (
    LENGTH,
    check_company_changes_nothing,
    check_search_contract,
    check_well_formed,
    searches,
)
from contract.table import model_of
from contract.toy_models import TableModel

from seq2seq.core.module import as_node
from seq2seq.models.hard_monotonic import HardMonotonic, HardMonotonicConfig
from seq2seq.search import Ensemble, PreparedModel, Renumbered

LENGTHS = np.array([5, 2, 3, 1])
SOURCE = np.where(np.arange(5)[:, None] < LENGTHS, np.random.default_rng(0).integers(4, 9, size=(5, 4)), 0)


def hard_monotonic():
    config = HardMonotonicConfig(hidden=6, embedding=4)
    shapes = jax.eval_shape(lambda: HardMonotonic.init(jax.random.key(0), VOCABULARY, VOCABULARY, config))
    return randomised(shapes, jax.random.key(1))


def in_other_numbers():
    ids = (0, 1, 2, 3, *reversed(range(4, VOCABULARY)))
    return Renumbered(model=model_of("additive after"), source=ids, target=ids)


MODELS = {
    "copying, with input feeding": lambda: model_of("copying, additive"),
    "hard monotonic": hard_monotonic,
    "two that number otherwise, made ready": lambda: PreparedModel.of(
        Ensemble(models=(model_of("additive after"), in_other_numbers())), tokens=1e6
    ),
}


def test_toy_model_keeps_the_contract():
    check_search_contract(TableModel.random(0), SOURCE, LENGTHS)


@pytest.mark.parametrize("name", MODELS)
def test_models_keep_what_they_have_a_part_in(name):
    # Rules, samples and narrow beams are of the search alone, whatever the model.
    check_search_contract(MODELS[name](), SOURCE, LENGTHS, "beam")


class Leaky(TableModel):
    """A model that looks at its padding."""

    def start(self, source, lengths):
        return super().start(source, lengths * 0 + len(source))


class Crowded(TableModel):
    """A model that counts its padding, and keeps its eyes off it."""

    def start(self, source, lengths):
        memory, state = super().start(source, lengths)
        return memory | {"kind": (memory["kind"] + len(source)) % len(self.table)}, state


def test_contract_catches_a_model_that_reads_its_padding():
    fields = [f.name for f in dataclasses.fields(TableModel)]
    limit, lines = np.full(len(LENGTHS), LENGTH), np.arange(len(LENGTHS))
    for kind in (Leaky, Crowded):
        as_node(kind, fields[:3], fields[3:])
    found = searches(Leaky.random(0))["greedy"](SOURCE, LENGTHS, limit, lines)
    with pytest.raises(AssertionError):
        check_well_formed(found, LENGTHS, limit)
    search = searches(Crowded.random(0))["greedy"]
    found = search(SOURCE, LENGTHS, limit, lines)
    check_well_formed(found, LENGTHS, limit)
    with pytest.raises(AssertionError):
        check_company_changes_nothing(search, jnp.asarray(SOURCE), jnp.asarray(LENGTHS), jnp.asarray(limit), found)
