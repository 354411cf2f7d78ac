"""Cells and models as users write them: those that the README teaches, and one of its own."""

from __future__ import annotations

import re
from pathlib import Path

from seq2seq.app.commands.train import options_from
from seq2seq.app.prepare import prepare, run_folder

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def taught(file: str) -> str:
    """The code that the README calls by this name."""
    return next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if f"# {file}\n" in block)


CELL = taught("my_cell.py")
MODEL = '''
"""A model with `start` and `step` only: the mean of the source's vectors, and the last token."""
import jax
import jax.numpy as jnp
import seq2seq as s2s


@s2s.module
class MyModel(s2s.Model):
    embed: s2s.Embedding
    out: s2s.FF

    @classmethod
    def init(cls, key, vocabulary: int, width: int, names: tuple[str, ...] = (), sharp: float = 1.0):
        a, b = jax.random.split(key)
        return cls(embed=s2s.Embedding.init(a, vocabulary, width), out=s2s.FF.init(b, 2 * width, vocabulary))

    def start(self, source, lengths):
        mask = (jnp.arange(source.shape[0])[:, None] < lengths)[..., None]
        return jnp.where(mask, self.embed(source), 0).sum(axis=0), jnp.zeros((source.shape[1], 1))

    def step(self, memory, state, token):
        return state + 1, s2s.Prediction(self.out(jnp.concatenate([memory, self.embed(token)], axis=-1)))
'''


LOSS = """
    def loss(self, batch, key):
        jax.random.split(key)
        return s2s.Model.loss(self, batch, key)

"""


def job_of(name: str, *words: str):
    """What `train` would begin with, of a model of the user's."""
    options = options_from(["pairs.tsv", "--out", "run", "--model.type", name, *words])
    with run_folder(options):
        return prepare(options)
