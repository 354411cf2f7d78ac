"""What searches are told: each of them, and how a beam searches and what it ranks by."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import ArrayLike

from seq2seq.core.seams import BEGIN, END, PAD
from seq2seq.errors import SearchError

UNSEEN = 1e-30
"""The least attention that coverage counts for a source token: what was never looked at has no logarithm."""


class LengthNorm(Enum):
    """What log p is divided by, for a power alpha. Neither ever decreases with length: early stopping relies on it."""

    POWER = "length ** alpha"
    GNMT = "((5 + length) / 6) ** alpha"  # Wu et al. 2016, equation 14

    def divisors(self, power: float | Array, max_length: int) -> Array:
        """For each length 0 ... `max_length`.

        Example:
            >>> LengthNorm.POWER.divisors(1.0, 3).tolist(), LengthNorm.GNMT.divisors(1.0, 1).tolist()[1]
            ([1.0, 1.0, 2.0, 3.0], 1.0)
        """
        largest = np.finfo(np.float32).max  # by infinity -inf would be NaN, and everything else 0
        if not isinstance(power, Array):
            return jnp.asarray(np.minimum(self.divisor(power, np.arange(max_length + 1)), largest), jnp.float32)
        return lax.cummax(jnp.minimum(self.divisor(power, np.arange(max_length + 1)), largest))

    def divisor(self, power: float | Array, length: ArrayLike) -> Any:
        """For one length, or an array of them.

        Example:
            >>> float(LengthNorm.POWER.divisor(0.5, 4))
            2.0
        """
        base = np.maximum(length, 1.0) if self is LengthNorm.POWER else (5 + np.asarray(length)) / 6
        return base**power


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What every search is told; greedy search is told nothing else.

    Options are a pytree whose leaves are those numbers, named as `dials` of the class, that are not at their default.
    So one program does for all values of a dial that is turned; the rest is what is compiled for.

    Attributes:
        max_length: the target axis of the result.
        banned: ids that are never generated; their probability is not given to the others.
        attention: whether to keep the model's attention.
        slots: rows in work at once, each giving its slot to the next row when it is done; None for all rows.

    Raises:
        SearchError: a value that finds nothing.

    Example:
        >>> SearchOptions(banned=(0, 2, 3))
        Traceback (most recent call last):
        seq2seq.errors.SearchError: SearchOptions: END (3) is banned, so that nothing could ever end; take it out.
    """

    max_length: int = 100
    banned: tuple[int, ...] = (PAD, BEGIN)
    attention: bool = False
    slots: int | None = None
    dials: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, dials: tuple[str, ...] = ()) -> None:
        super().__init_subclass__()
        cls.dials = (*cls.dials, *dials)
        _register(cls)

    def __post_init__(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "banned", tuple(self.banned))  # as a list is not, it is hashed
        if self.max_length < 1:
            raise SearchError(f"{name}: max_length is {self.max_length}, wanted at least 1 (END counts).")
        if END in self.banned:
            raise SearchError(f"{name}: END ({END}) is banned, so that nothing could ever end; take it out.")
        if self.slots is not None and self.slots < 1:
            raise SearchError(f"{name}: slots is {self.slots}, wanted at least 1, or None for all rows at once.")

    def turned(self, name: str) -> bool:
        """Whether an option is not at its default; known of a traced one too."""
        value = getattr(self, name)
        return isinstance(value, Array) or value != next(field.default for field in fields(self) if field.name == name)


def _register(cls: type[SearchOptions]) -> None:
    def flatten(options: SearchOptions) -> tuple[tuple[Any, ...], Any]:
        turned = tuple(name for name in cls.dials if options.turned(name))
        rest = tuple((name, value) for name, value in vars(options).items() if name not in turned)
        return tuple(getattr(options, name) for name in turned), (turned, rest)

    def unflatten(static: Any, values: tuple[Any, ...]) -> SearchOptions:
        options = object.__new__(cls)  # the values were checked before they were traced
        options.__dict__.update(static[1], **dict(zip(static[0], values, strict=True)))
        return options

    jax.tree_util.register_pytree_node(cls, flatten, unflatten)


_register(SearchOptions)


@dataclass(frozen=True, kw_only=True)
class BeamOptions(SearchOptions, dials=("length_penalty", "coverage_penalty", "diversity")):
    """How a beam searches, beside what every search is told.

    Attributes:
        size: places in the beam of each row.
        nbest: hypotheses returned for each row; changes nothing of the best one if there is one group.
        length_penalty: the power alpha of `length_norm`: with POWER, 0 ranks by log p, 1 by nats per token.
        length_norm: what log p is divided by.
        coverage_penalty: the weight beta of the coverage penalty; above 0 the model must give attention.
        groups: parts of the beam, searched one after the other at each step, that keep away from each other
            (Vijayakumar et al. 2018); each finds about nbest / groups hypotheses, which may coincide.
        diversity: what a token loses for each choice of it by a group before, in nats (Hamming diversity).

    Raises:
        SearchError: a value that finds nothing.

    Example:
        >>> BeamOptions(size=3, nbest=5)
        Traceback (most recent call last):
        seq2seq.errors.SearchError: BeamOptions: nbest is 5, wanted 1 to size = 3; widen the beam.
    """

    size: int = 5
    nbest: int = 1
    length_penalty: float = 1.0
    length_norm: LengthNorm = LengthNorm.POWER
    coverage_penalty: float = 0.0
    groups: int = 1
    diversity: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise SearchError(f"BeamOptions: size is {self.size}, wanted at least 1.")
        if not 1 <= self.nbest <= self.size:
            raise SearchError(f"BeamOptions: nbest is {self.nbest}, wanted 1 to size = {self.size}; widen the beam.")
        for name in ("length_penalty", "coverage_penalty", "diversity"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SearchError(f"BeamOptions: {name} is {getattr(self, name)}, wanted at least 0, and finite.")
        if self.groups < 1 or self.size % self.groups:
            raise SearchError(f"BeamOptions: groups is {self.groups}, wanted a divisor of size = {self.size}.")
        if self.diversity and self.groups == 1:
            raise SearchError(f"BeamOptions: diversity is {self.diversity} of one group; say groups = 2 or more.")

    def divisors(self) -> Array:
        """What log p is divided by, for each length 0 ... `max_length`; never decreasing."""
        return self.length_norm.divisors(self.length_penalty, self.max_length)

    def coverage(self, sums: Array | None, on: Array | None) -> Array | float:
        """What coverage adds to a score, (batch, beam), never above 0.

            beta * sum over source tokens i of log(clip(sum over t of attention[t, i], 1e-30, 1))

        (Wu et al. 2016, equation 14, where what was never looked at would cost infinity.)

        Args:
            sums: (batch, beam, source) attention so far; None where coverage does not count.
            on: (batch, source) true on real source tokens; None likewise.
        """
        if sums is None or on is None:
            return 0.0
        logs = jnp.log(jnp.clip(sums, UNSEEN, 1.0))
        return self.coverage_penalty * jnp.where(on[:, None], logs, 0.0).sum(axis=-1)
