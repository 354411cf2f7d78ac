"""The cells of the contract, made by name; `init` is a function of a key, so that it can be mapped and evaluated."""

from __future__ import annotations

from collections.abc import Callable

import jax

from seq2seq.core.seams import Cell, Key
from seq2seq.nn.cells import GRU, LSTM, ChoGRU, Elman
from seq2seq.nn.layers import dropout_mask
from seq2seq.nn.normalised import NormGRU, NormLSTM
from seq2seq.nn.recurrent import Dropped, Stack

TIME, BATCH, INPUT, HIDDEN = 5, 2, 3, 4


def dropped(key: Key) -> Cell:
    k = jax.random.split(key, 3)
    return Dropped(
        cell=GRU.init(k[0], INPUT, HIDDEN),
        input_mask=dropout_mask(k[1], 0.3, (BATCH, INPUT)),
        hidden_mask=dropout_mask(k[2], 0.3, (BATCH, HIDDEN)),
    )


CELLS: dict[str, Callable[[Key], Cell]] = {
    **{
        cls.__name__: lambda key, cls=cls: cls.init(key, INPUT, HIDDEN)
        for cls in (Elman, GRU, ChoGRU, LSTM, NormGRU, NormLSTM)
    },
    "Stack": lambda key: Stack.init(key, INPUT, HIDDEN, cell=LSTM, layers=2),
    "residual": lambda key: Stack.init(key, INPUT, HIDDEN, cell=ChoGRU, layers=3, residual=True),
    "Dropped": dropped,
}


def randomised(tree, key: Key):
    """The same tree with every weight drawn anew, biases among them: zeros hide mistakes."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        0.5 * jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)
    )
