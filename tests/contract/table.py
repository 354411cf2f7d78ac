"""The configurations over which every promise of a model is checked, and a cell as a user would write it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Self

import jax
import jax.numpy as jnp
from contract.batches import VOCABULARY
from contract.cells import randomised
from jax import Array

from seq2seq.app.options import TrainOptions, from_files
from seq2seq.core.module import module
from seq2seq.core.seams import Key
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.nn.cells import GRU, LSTM, ChoGRU, Elman


@module
class Counting:
    """A user's cell: no base class, a state of a dict with an integer in it, an output that is no part of the state."""

    w: Array
    leak: float = 0.5

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        return cls(w=jax.random.normal(key, (input_size, hidden_size)))

    def initial_state(self, batch: int) -> dict[str, Array]:
        return {"h": jnp.zeros((batch, self.w.shape[1])), "n": jnp.zeros((batch,), jnp.int32)}

    def step(self, state: dict[str, Array], x: Array) -> tuple[dict[str, Array], Array]:
        h = self.leak * state["h"] + jnp.tanh(x @ self.w)
        return {"h": h, "n": state["n"] + 1}, h / (1.0 + state["n"].astype(h.dtype))[:, None]


def preset(name: str) -> dict:
    """What a preset says of the model, but small, and no deeper than it takes to see that layers follow each other."""
    options = from_files(TrainOptions(), (), name).model
    wide = options.annotation // options.hidden * HIDDEN
    layers = min(options.layers, 2)
    rank = min(options.output_rank, EMBEDDING)
    small = {"hidden": HIDDEN, "encoder_hidden": wide, "embedding": EMBEDDING, "output_rank": rank}
    return vars(replace(options, **small, layers=layers))


HIDDEN, EMBEDDING = 6, 4
ONE_WAY = {"bidirectional": False}
COPIED = (-1, 1, -1, *range(3, VOCABULARY - 1), -1)  # of a vocabulary whose last word the target does not have
TABLE: dict[str, dict] = {
    "defaults": {},
    **{name: preset(name) for name in ("cho2014", "sutskever2014", "bahdanau2015", "luong2015")},
    "general": {"attention": "general"},
    "dot": {**preset("luong2015"), "attention": "dot"},
    "luong2015, concat": {**preset("luong2015"), "attention": "concat"},
    "concat": {"cell": GRU, "encoder_hidden": 8, "attention": "concat"},
    "elman": {"cell": Elman, "attention": "none", "summary": "everywhere", "readout": "tanh", "tied": True},
    "residual additive": {"cell": GRU, "layers": 3, "residual": True, "attention": "additive", "readout": "linear"},
    "reversed additive": {"cell": GRU, **ONE_WAY, "reverse_source": True, "attention": "additive", "tied": True},
    "additive after": {"cell": LSTM, "encoder_layers": 2, "attention": "additive", "input_feeding": False},
    "general after, maxout": {"cell": ChoGRU, "input_feeding": False, "readout": "maxout", "tied": True},
    "dot, linear": {"cell": GRU, "layers": 2, "attention": "dot", "readout": "linear"},
    "copying": {"cell": GRU, "attention": "general", "copy": True, "variational": True, "recurrent_dropout": 0.3},
    "words hidden": {"token_dropout": 0.2, "tied": True},
    "copying, additive": {"attention": "additive", "readout": "maxout", "copy": True, "tied": True},
    "user's cell": {"cell": Counting, "layers": 2, "attention": "additive"},
}


def config_of(name: str) -> EncoderDecoderConfig:
    return EncoderDecoderConfig(**{"hidden": HIDDEN, "embedding": EMBEDDING, **TABLE[name]})


@cache
def model_of(name: str) -> EncoderDecoder:
    """A model whose every weight is random, biases among them."""
    sizes = VOCABULARY, VOCABULARY
    shapes = jax.eval_shape(lambda: EncoderDecoder.init(jax.random.key(0), *sizes, config_of(name), COPIED))
    return randomised(shapes, jax.random.key(1))
