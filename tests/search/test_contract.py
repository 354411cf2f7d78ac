"""The contract of every search, over the toy model."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from contract.search_contract import check_search_contract
from contract.toy_models import TableModel

LENGTHS = np.array([5, 2, 3, 1])
SOURCE = np.where(np.arange(5)[:, None] < LENGTHS, np.random.default_rng(0).integers(4, 9, size=(5, 4)), 0)


def test_toy_model_keeps_the_contract():
    check_search_contract(TableModel.random(0), SOURCE, LENGTHS)


class Leaky(TableModel):
    """A model that reads its padding: what the contract is there to catch."""

    def start(self, source, lengths):
        return super().start(source, lengths * 0 + len(source))


def test_contract_catches_a_model_that_reads_its_padding():
    fields = [f.name for f in dataclasses.fields(TableModel)]
    jax.tree_util.register_dataclass(Leaky, fields[:3], fields[3:])
    with pytest.raises(AssertionError):
        check_search_contract(Leaky.random(0), SOURCE, LENGTHS)
