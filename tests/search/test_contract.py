"""The contract of every search, over the toy model."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.search_contract import (
    LENGTH,
    check_company_changes_nothing,
    check_search_contract,
    check_well_formed,
    searches,
)
from contract.toy_models import TableModel

LENGTHS = np.array([5, 2, 3, 1])
SOURCE = np.where(np.arange(5)[:, None] < LENGTHS, np.random.default_rng(0).integers(4, 9, size=(5, 4)), 0)


def test_toy_model_keeps_the_contract():
    check_search_contract(TableModel.random(0), SOURCE, LENGTHS)


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
        jax.tree_util.register_dataclass(kind, fields[:3], fields[3:])
    found = searches(Leaky.random(0))["greedy"](SOURCE, LENGTHS, limit, lines)
    with pytest.raises(AssertionError):
        check_well_formed(found, LENGTHS, limit)
    search = searches(Crowded.random(0))["greedy"]
    found = search(SOURCE, LENGTHS, limit, lines)
    check_well_formed(found, LENGTHS, limit)
    with pytest.raises(AssertionError):
        check_company_changes_nothing(search, jnp.asarray(SOURCE), jnp.asarray(LENGTHS), jnp.asarray(limit), found)
