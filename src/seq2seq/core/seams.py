"""The protocols by which seq2seq is extended, and the small tuples that cross them.

Everything else may change; these are how people add cells and models:

- a `Cell` is scanned: `lax.scan(cell.step, cell.initial_state(batch), xs)` works literally;
- a `Trainable` model trains;
- a `Searchable` model generates, scores, joins ensembles, is embedded and served.

Conventions. Sequences are time-major: (time, batch). Every leaf of a State or a Memory has the batch first, so a
model is written as if for one token of each sentence. Arguments are passed by position: name them as you like. Ids:
`PAD` 0, `UNKNOWN` 1, `BEGIN` 2, `END` 3.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

import jax.numpy as jnp
from jax import Array
from numpy.typing import NDArray

Key: TypeAlias = Array
"""A typed JAX random key, as `jax.random.key(0)` makes it."""
State: TypeAlias = Any
"""Any pytree of arrays, batch first."""
Memory: TypeAlias = Any
"""Any pytree of arrays, batch first, that never changes while decoding."""

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3


class Loss(NamedTuple):
    """A loss in nats over `count` target tokens: a sum, never a mean over padding.

    Sums over batches add up, so that a mean over several batches weighs each token alike.

    Example:
        >>> import jax.numpy as jnp
        >>> float(Loss(jnp.array(6.0), jnp.array(4.0)).mean)
        1.5
    """

    sum: Array
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]

    @property
    def mean(self) -> Array:
        """Nats per token; 0 where there is no token."""
        return self.sum / jnp.maximum(self.count, 1.0)


class Prediction(NamedTuple):
    """What a model says of the next token.

    Attributes:
        logits: (batch, vocabulary): any unnormalised log-probabilities.
        attention: (batch, source), summing to 1 over the tokens of the source in source order, or None.
    """

    logits: Array
    attention: Array | None = None


class BatchLike(Protocol):
    """What a loss may read of a batch (`seq2seq.Batch` is one), time-major.

    Attributes:
        source: (source, batch) ids, 0 on padding.
        source_lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        target_in: (target, batch) ids, `BEGIN` first.
        target_out: (target, batch) ids, `END` last: what `target_in` should predict.
        target_mask: (target, batch) 1.0 on tokens, 0.0 on padding.
        size: the number of rows.
    """

    @property
    def source(self) -> Array | NDArray[Any]: ...  # noqa: D102
    @property
    def source_lengths(self) -> Array | NDArray[Any]: ...  # noqa: D102
    @property
    def target_in(self) -> Array | NDArray[Any]: ...  # noqa: D102
    @property
    def target_out(self) -> Array | NDArray[Any]: ...  # noqa: D102
    @property
    def target_mask(self) -> Array | NDArray[Any]: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102


@runtime_checkable
class Cell(Protocol):
    """A recurrent cell: exactly `lax.scan`'s body, with a way to begin."""

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int, /) -> Self:
        """A fresh cell for inputs of width `input_size`."""
        ...

    def initial_state(self, batch: int, /) -> State:
        """The state before the first input; every leaf is (batch, ...)."""
        ...

    def step(self, state: State, x: Array, /) -> tuple[State, Array]:
        """One time step: (state, (batch, input)) -> (state, (batch, hidden))."""
        ...


@runtime_checkable
class Drawn(Protocol):
    """A cell with dropout of its own: in training it is another one for each batch.

    `loss` of our models, given a key, puts `cell.drawn(key, batch)` in the place of each such cell, once a batch and
    outside of the loop: no key enters `step`. In an evaluation and in a search the cell is what it was made.

    Example:
        >>> import jax
        >>> from dataclasses import replace
        >>> from seq2seq import GRU, module
        >>> @module
        ... class Zoneout(GRU):  # Krueger et al. 2017, with units that stay through a sentence
        ...     stays: Array | None = None  # (batch, hidden), 1 where a unit keeps its state; None: their mean
        ...     rate: float = 0.1
        ...     def drawn(self, key, batch):
        ...         stays = jax.random.bernoulli(key, self.rate, (batch, len(self.u)))
        ...         return replace(self, stays=stays.astype(self.u.dtype))
        ...     def step(self, h, x):
        ...         kept = self.rate if self.stays is None else self.stays
        ...         h = kept * h + (1 - kept) * super().step(h, x)[0]
        ...         return h, h
        >>> cell = Zoneout.init(jax.random.key(0), 3, 5)
        >>> cell.drawn(jax.random.key(1), 2).step(cell.initial_state(2), jnp.ones((2, 3)))[1].shape
        (2, 5)
    """

    def drawn(self, key: Key, batch: int, /) -> Cell:
        """The cell of one batch, with masks drawn for its `batch` rows."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """What trains."""

    def loss(self, batch: BatchLike, key: Key | None, /) -> Loss:
        """The loss of a batch; `key=None` is evaluation (no dropout), everywhere."""
        ...


@runtime_checkable
class Searchable(Protocol):
    """What generates, scores and is served. Search knows nothing else."""

    def start(self, source: Array, lengths: Array, /) -> tuple[Memory, State]:
        """Read the sources, (source, batch) ids with their (batch,) lengths."""
        ...

    def step(self, memory: Memory, state: State, token: Array, /) -> tuple[State, Prediction]:
        """Read one target token of each sentence, (batch,), and predict the next."""
        ...


@runtime_checkable
class Encodable(Protocol):
    """What `embed` can use."""

    def encode(self, source: Array, lengths: Array, /) -> Array:
        """One vector for each source: (batch, hidden)."""
        ...


@runtime_checkable
class Restrictable(Protocol):
    """What can be told to choose among the first ids of its vocabulary only, and is then quicker if it can be."""

    def restricted(self, count: int, /) -> Self:
        """The same model with logits (batch, count), those of the ids below `count` as they were.

        It still reads any token. `count` of the whole vocabulary or more changes nothing.
        """
        ...
