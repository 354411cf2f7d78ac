"""Sampling: hypotheses drawn from the model, or from a narrowed version of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import Key, Searchable
from seq2seq.errors import SearchError
from seq2seq.search.feasible import check_rules, refuse_required
from seq2seq.search.hypotheses import Hypotheses
from seq2seq.search.options import SearchOptions
from seq2seq.search.rollout import roll_out
from seq2seq.search.rules import Rule
from seq2seq.search.stepping import ban, check_rows, top_k

_COLDEST = 1e-6  # logits over less are no numbers any more


@dataclass(frozen=True, kw_only=True)
class SampleOptions(SearchOptions, dials=("temperature", "top_p")):
    """How to draw, beside what every search is told.

    At each step, in this order: ban, divide by temperature, keep top-k, keep top-p, renormalise.

    Attributes:
        samples: hypotheses drawn for each row, independently; the first is the same however many are drawn.
        temperature: the logits are divided by it: below 1 keener, above 1 flatter.
        top_k: draw among the `top_k` likeliest tokens only; None for all.
        top_p: draw among the fewest likeliest tokens whose probabilities reach `top_p`, and others exactly as likely as
            the last of them, only (nucleus sampling, Holtzman et al. 2020); 1 for all.

    Raises:
        SearchError: a value that draws nothing.

    Example:
        >>> SampleOptions(temperature=0.0)
        Traceback (most recent call last):
        seq2seq.errors.SearchError: SampleOptions: temperature is 0.0, wanted above 0; use greedy for the limit at 0.
    """

    samples: int = 1
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise SearchError(f"SampleOptions: samples is {self.samples}, wanted at least 1.")
        if not self.temperature > 0:
            wanted = "wanted above 0; use greedy for the limit at 0"
            raise SearchError(f"SampleOptions: temperature is {self.temperature}, {wanted}.")
        if not _COLDEST <= self.temperature <= 1 / _COLDEST:
            raise SearchError(
                f"SampleOptions: temperature is {self.temperature}, wanted {_COLDEST:g} to {1 / _COLDEST:g}."
            )
        if self.top_k is not None and self.top_k < 1:
            raise SearchError(f"SampleOptions: top_k is {self.top_k}, wanted at least 1, or None for all.")
        if not 0 < self.top_p <= 1:
            raise SearchError(f"SampleOptions: top_p is {self.top_p}, wanted above 0 and at most 1.")


def line_keys(seed: ArrayLike, lines: ArrayLike) -> Key:
    """The key of each line, (batch,): `fold_in(key(seed), line number)`, whatever the batch that it comes in.

    Args:
        seed: one for all lines, or (batch,) one for each, 0 to 2 ** 32 - 1.
        lines: (batch,) the numbers of the lines.

    Example:
        >>> bool(line_keys(1, [5, 6])[1] == line_keys([1], [6])[0])
        True
    """
    numbers = jnp.asarray(lines, jnp.uint32)
    seeds = jnp.broadcast_to(jnp.asarray(seed, jnp.uint32), numbers.shape)
    return jax.vmap(lambda own, line: jax.random.fold_in(jax.random.key(own), line))(seeds, numbers)


def sample(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    limit: ArrayLike,
    keys: Key,
    options: SampleOptions | None = None,
    rules: Sequence[Rule] = (),
) -> Hypotheses:
    """Hypotheses drawn token by token: `y_t ~ p(y | y_<t, x)`, narrowed as the options say.

    The noise of sample i at step t of a row comes from `fold_in(fold_in(its key, i), t)`: batch mates, padding and
    the number of samples change nothing. Samples stand in the order drawn, so that each alone is a fair draw; their
    score is their log-probability in nats under the model itself, not under what the options made of it.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        limit: (batch,) the most target tokens of each row, END counted; at most `options.max_length`.
        keys: (batch,) typed random keys, one for each row: `line_keys(seed, line numbers)`.
        options: how to draw; compiled once for all temperatures, and for all values of top_p below 1.
        rules: what may be generated, all but required phrases; they come before the temperature.

    Raises:
        ShapeError: arrays that do not fit each other.
        SearchError: rules that nothing can keep, or required phrases.

    Example:
        >>> from seq2seq.core.seams import END, Prediction
        >>> @jax.tree_util.register_static
        ... class Coin:  # 4 or END, evenly
        ...     def start(self, source, lengths):
        ...         return (), lengths
        ...     def step(self, memory, state, token):
        ...         return state, Prediction(jnp.log(jnp.array([0, 0, 0, 0.5, 0.5])) + 0 * state[:, None])
        >>> drawn = sample(Coin(), [[7]], [1], [9], line_keys(1, [0]), SampleOptions(samples=1000, max_length=9))
        >>> bool(abs(drawn.lengths.mean() - 2) < 0.2)  # a fair coin falls twice before the first END is through
        True
    """
    source, lengths, limit, keys = check_rows("sample", source, lengths=lengths, limit=limit, keys=keys)
    options = options or SampleOptions()
    refuse_required("sample", rules)
    check_rules("sample", rules, lengths, limit, options.max_length, options.banned)
    return roll_out(model, (source, lengths, limit), Draw(options), tuple(rules), keys)


class Draw(NamedTuple):
    """Draws as the options say."""

    options: SampleOptions

    @property
    def width(self) -> int:
        """The samples of each row."""
        return self.options.samples

    def __call__(self, logits: Array, time: Array, keys: Key) -> Array:
        """The ids, (batch, width)."""
        fold = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(0, None))
        kept, ids = narrow(logits, self.options)
        drawn = fold(keys, jnp.arange(self.options.samples))
        own = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(0, None)))(drawn, time)
        at = jax.vmap(jax.vmap(jax.random.categorical))(own, kept)
        return jnp.take_along_axis(ids, at[..., None], axis=-1)[..., 0].astype(jnp.int32)


def narrow(logits: Array, options: SampleOptions) -> tuple[Array, Array]:
    """What to draw from, (..., kept) logits and their ids: the likeliest first with top-k, else the whole vocabulary.

    Example:
        >>> logits, ids = narrow(jnp.log(jnp.array([0.1, 0.4, 0.3, 0.2])), SampleOptions(top_p=0.5, banned=(0,)))
        >>> ids[jnp.isfinite(logits)].tolist()  # 0.4 / 0.9 is below a half, 0.7 / 0.9 above
        [1, 2]
    """
    logits = ban(logits, options.banned) / options.temperature
    if options.top_k is None:
        kept, ids = logits, jnp.broadcast_to(jnp.arange(logits.shape[-1]), logits.shape)
    else:
        kept, ids = top_k(logits, min(options.top_k, logits.shape[-1]))
    if options.turned("top_p"):
        probabilities = jax.nn.softmax(kept.astype(jnp.float32), axis=-1)
        kept = jnp.where(probabilities >= _least(probabilities, options.top_p)[..., None], kept, -jnp.inf)
    return kept, ids


def _least(probabilities: Array, mass: float | Array) -> Array:
    """The highest number such that the probabilities from there on have this mass together: (...) of (..., vocabulary).

    It is found bit by bit, exactly, since floats of one sign are ordered as their bits are: 30 sums of the vocabulary
    instead of sorting it. The likeliest always has the mass, also where that is so small that it counts as zero.
    """

    def with_bit(n: Array, bits: Array) -> Array:
        more = bits | (1 << (29 - n))  # bit 29 is the highest of any number below 2
        above = jnp.where(probabilities >= lax.bitcast_convert_type(more, jnp.float32)[..., None], probabilities, 0.0)
        return jnp.where(jnp.sum(above, axis=-1) >= mass, more, bits)

    bits = lax.fori_loop(0, 30, with_bit, jnp.zeros(probabilities.shape[:-1], jnp.int32))
    return jnp.minimum(lax.bitcast_convert_type(bits, jnp.float32), probabilities.max(axis=-1))
