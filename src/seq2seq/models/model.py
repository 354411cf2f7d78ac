"""`Model`: what a model gets for nothing: save, load, and a loss if it has `start` and `step`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import jax.numpy as jnp
from jax import Array

from seq2seq.core import archive
from seq2seq.core.archive import Archive
from seq2seq.core.module import module
from seq2seq.core.scan import scan
from seq2seq.core.seams import BatchLike, Key, Loss, Searchable
from seq2seq.core.skeleton import describe, rebuild
from seq2seq.errors import ArchiveError, ModuleError
from seq2seq.nn.loss import masked, token_cross_entropy, wide


@module
class Model:
    """The base of models. A subclass adds fields and either `loss`, or `start` and `step`, or both.

    Example:
        >>> import tempfile, pathlib
        >>> @module
        ... class Bias(Model):
        ...     b: Array
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.npz"
        >>> Bias(b=jnp.ones(3)).save(path)
        >>> Bias.load(path).b
        Array([1., 1., 1.], dtype=float32)
    """

    of_training: ClassVar[tuple[str, ...]] = ()
    """Static fields that decide about training alone, such as a dropout: `train --from` may tell them anew."""

    def loss(self, batch: BatchLike, key: Key | None = None) -> Loss:
        """Token cross-entropy of the targets, in nats, by `start` and then `step` over `target_in`.

        Shapes: source (source, batch); target_in, target_out and target_mask (target, batch). `key` is not used: a
        model with dropout writes its own loss.
        """
        if not isinstance(self, Searchable):
            raise ModuleError(f"{type(self).__name__} has neither `loss` nor `start` and `step`: it cannot train.")
        model = self
        memory, state = model.start(jnp.asarray(batch.source), jnp.asarray(batch.source_lengths))

        def step(state: Any, token: tuple[Array, Array, Array]) -> tuple[Any, Array]:
            state, prediction = model.step(memory, state, token[0])
            logits = prediction.logits.astype(wide(prediction.logits.dtype))
            return state, masked(token_cross_entropy(logits, token[1]), token[2])

        tokens = (jnp.asarray(batch.target_in), jnp.asarray(batch.target_out), jnp.asarray(batch.target_mask))
        _, losses = scan(step, state, tokens)
        return Loss(losses.sum(), tokens[2].sum())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, classes, static fields and leaves, to one `.npz`; all of it or nothing."""
        archive.write(path, Archive.of(self, header={"model": describe(self)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str], types: Sequence[type] = ()) -> Self:
        """Read what `save`, or `seq2seq train`, wrote: a file, or a run's folder. `types`: classes of yours in it.

        Raises:
            ArchiveError: the file cannot be read, or it holds another class than this one.
            UnknownClassError: it holds a class of yours that is not among `types`.
        """
        model = load_model(path, (cls, *types))
        if not isinstance(model, cls):
            raise ArchiveError(f"{path}: holds a {type(model).__name__}, wanted a {cls.__name__}.")
        return model


def load_model(path: str | os.PathLike[str], types: Sequence[type] = ()) -> Any:
    """The model in a file, or in a run's folder, whatever its class."""
    path = Path(path, "model.npz") if os.path.isdir(path) else path
    return model_of(archive.read(path), path, types)


def model_of(found: Archive, path: object, types: Sequence[type] = ()) -> Any:
    """The model in an archive that was read from `path`."""
    if "model" not in found.header:
        raise ArchiveError(f"{path}: an archive of seq2seq, but not of a model; RUN/model.npz is one.")
    found.expect(path, {"model": dict})
    arrays = {name: jnp.asarray(array) for name, array in found.arrays.items()}
    with archive.reading(path):
        return rebuild(found.header["model"], arrays, types)
