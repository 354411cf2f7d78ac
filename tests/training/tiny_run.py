"""A model so small that a whole run takes no time, and batches that are a pure function of (epoch, index).

As a script it trains in a folder, slowly enough to be killed, and saves all the time: `tiny_run.py FOLDER [resume]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from seq2seq.core.module import module, named_leaves
from seq2seq.core.seams import Key, Loss
from seq2seq.training.config import TrainingConfig
from seq2seq.training.events import Event, Stopped
from seq2seq.training.loop import train
from seq2seq.training.optimizer import OptimizerConfig
from seq2seq.training.run import Run

SLOPE = np.linspace(-1.0, 1.0, 12).reshape(4, 3)


class Pairs(NamedTuple):
    x: Any
    y: Any
    mask: Any


@module
class Affine:
    w: Array
    b: Array

    def __call__(self, x: Array) -> Array:
        return x @ self.w + self.b


@module
class Tiny:
    """Two layers that learn a linear map; with a key, the inputs are noisy (as dropout would make them)."""

    encoder: Affine
    decoder: Affine

    @classmethod
    def init(cls, seed: int = 0) -> Tiny:
        keys = jax.random.split(jax.random.key(seed))
        return cls(
            encoder=Affine(w=0.3 * jax.random.normal(keys[0], (4, 4)), b=jnp.full(4, -0.0)),
            decoder=Affine(w=0.3 * jax.random.normal(keys[1], (4, 3)), b=jnp.zeros(3)),
        )

    def loss(self, batch: Pairs, key: Key | None) -> Loss:
        x = batch.x if key is None else batch.x + 0.1 * jax.random.normal(key, batch.x.shape)
        error = ((self.decoder(jnp.tanh(self.encoder(x))) - batch.y) ** 2).sum(axis=1)
        return Loss((error * batch.mask).sum(), jnp.asarray(batch.mask).sum())


class Batches:
    """Batches of eight rows, a few of them padding."""

    def __init__(self, count: int = 5, poison: tuple[int, int] | None = None, pause: float = 0.0):
        self.count, self.poison, self.pause = count, poison, pause

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Pairs]:
        for index in range(start, self.count):
            time.sleep(self.pause if epoch < 8 else 50 * self.pause)
            rng = np.random.default_rng((epoch, index))
            x = rng.normal(size=(8, 4)).astype(np.float32)
            x[0] += np.nan if (epoch, index) == self.poison else 0.0
            yield Pairs(x, (x @ SLOPE).astype(np.float32), np.float32(np.arange(8) < rng.integers(4, 9)))


def dev_loss(model: Tiny) -> dict[str, float]:
    """The model's loss on a batch that it never trains on."""
    return {"loss": float(model.loss(next(Batches().epoch(1000)), None).mean)}


def bits(tree: Any) -> dict[str, bytes]:
    """Every leaf as its bytes: equal only if equal bit for bit."""
    return {name: np.asarray(leaf).tobytes() for name, leaf in named_leaves(tree).items()}


def run_of(
    folder: Path, *, resume: bool = False, evaluate: Any = dev_loss, save_best: Any = None, **config: Any
) -> Run:
    """A run with everything in it that must be resumed: momentum, noise, a plateau, an average, patience."""
    optimizer = config.pop("optimizer", OptimizerConfig(name="momentum", schedule="plateau", plateau_patience=1))
    training = TrainingConfig(**{"evaluate_every": 4, "average": 3, "log_every": 3, **config})
    hooks = {} if save_best is None else {"save_best": save_best}
    return Run(folder=folder, evaluate=evaluate, training=training, optimizer=optimizer, resume=resume, **hooks)


def events_of(run: Run, batches: Any = None, model: Any = None) -> list[Event]:
    """All the events of a run."""
    return list(train(model or Tiny.init(), batches or Batches(), run))


def stopped(events: list[Event]) -> Stopped:
    """The last event."""
    assert isinstance(events[-1], Stopped)
    return events[-1]


if __name__ == "__main__":
    resumed = sys.argv[2:] == ["resume"]
    the_run = run_of(Path(sys.argv[1]), resume=resumed, updates=60, save_minutes=1e-9)
    for told in train(Tiny.init(), Batches(pause=0.0 if resumed else 0.01), the_run):
        print(type(told).__name__, told.update, flush=True)
