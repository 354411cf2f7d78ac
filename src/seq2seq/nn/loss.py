"""The loss: token cross-entropy as a sum and a count, in blocks that never hold all logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.typing import DTypeLike
from numpy.typing import ArrayLike

from seq2seq.core.seams import Loss
from seq2seq.errors import ShapeError

_BLOCK = 2**23
"""Logits that may stand in memory at once (32 MiB of float32)."""


class Copied(NamedTuple):
    """What a pointer adds to a prediction: p(y) = exp(kept) * softmax(a)_y + copied.

    Attributes:
        kept: log of the share of the probability that stays with the readout, at most 0.
        copied: the probability of the target by copying, 0 where it cannot be copied.
    """

    kept: Array
    copied: Array


def cross_entropy(
    readout: Callable[[Array], Array],
    states: Array,
    targets: ArrayLike,
    mask: ArrayLike,
    *,
    smoothing: float = 0.0,
    copied: Copied | None = None,
) -> Loss:
    """The cross-entropy of `softmax(readout(states))` against the targets, in nats, summed over tokens.

    With V words, logits a, target y and smoothing e (Szegedy et al. 2016, section 7):

    sum over tokens of  logsumexp(a) - (1 - e) * a_y - e * mean(a)

    Many tokens times a large vocabulary go through in blocks of tokens, without padding, and the gradient of a block is
    formed while its logits are there: all logits never stand in memory at once, and none is computed twice.

    Args:
        readout: states to logits, (..., hidden) -> (..., vocabulary); a module such as `FF`, or any function.
        states: (target, batch, hidden).
        targets: (target, batch) ids.
        mask: (target, batch) 1 on tokens, or the weight of each, and 0 on padding.
        smoothing: how much of the probability is spread over all words; 0 for none.
        copied: (target, batch) each, what a `Pointer` adds to the prediction; the smoothing is the readout's alone.

    Raises:
        ShapeError: states, targets and mask are not of one (target, batch).

    Example:
        >>> loss = cross_entropy(lambda x: x, jnp.zeros((5, 2, 4)), jnp.zeros((5, 2), int), jnp.ones((5, 2)))
        >>> round(float(loss.mean), 4), float(loss.count)                     # log 4
        (1.3863, 10.0)
    """
    targets, mask = jnp.asarray(targets), jnp.asarray(mask, wide(states.dtype))
    if not states.shape[:-1] == targets.shape == mask.shape:
        raise ShapeError(
            f"cross_entropy: states {states.shape}, targets {targets.shape} and mask {mask.shape} "
            "should be (target, batch, hidden), (target, batch) and (target, batch)."
        )

    tokens, vocabulary = targets.size, jax.eval_shape(readout, states).shape[-1]
    blocks = -(-tokens * vocabulary // _BLOCK)
    if blocks <= 1:
        return Loss(_summed(readout(states), targets, mask, smoothing, copied), mask.sum())
    rows = _in_eights(-(-tokens // blocks))
    shape = jax.ShapeDtypeStruct((rows, states.shape[-1]), states.dtype)
    opened = jax.make_jaxpr(readout)(shape)  # a function, and the arrays that it has closed over

    def block(weights: list[Array], states: Array, targets: Array, *rest: Array) -> Array:
        (logits,) = jaxpr_as_fun(ClosedJaxpr(opened.jaxpr, weights))(states)
        *added, mask = rest
        return _summed(logits, targets, mask, smoothing, Copied(*added) if added else None)

    flat = (x.reshape(tokens) for x in (targets, *(copied or ()), mask))
    return Loss(_blockwise(block, rows)(opened.consts, states.reshape(tokens, -1), *flat), mask.sum())


def wide(kind: DTypeLike) -> DTypeLike:
    """What losses are summed in: float32, or a wider type that it is already."""
    return jnp.float32 if jnp.finfo(kind).bits < 32 else kind


def masked(losses: Array, mask: Array) -> Array:
    """The losses of tokens, each by its weight in the mask, and 0 on padding.

    Not a product with the mask alone: of what a readout forbids, padding perhaps, it says -inf, and inf * 0 is NaN.

    Example:
        >>> masked(jnp.array([2.0, jnp.inf, 3.0]), jnp.array([1.0, 0.0, -0.5])).tolist()
        [2.0, 0.0, -1.5]
    """
    return jnp.where(mask != 0, losses * mask, 0)


def _summed(logits: Array, targets: Array, mask: Array, smoothing: float, copied: Copied | None) -> Array:
    logits = logits.astype(wide(logits.dtype))
    return masked(token_cross_entropy(logits, targets, smoothing, copied), mask).sum()


def _blockwise(block: Callable[..., Array], rows: int) -> Callable[..., Array]:
    """The sum of `block(weights, *tokens)` over blocks of so many tokens, with its gradient formed on the way forward.

    Logits are computed once: while those of a block stand in memory, so is their gradient, and only what it is summed
    into is kept. Tokens come before padding, and blocks of padding alone are passed over. As the derivative is the
    rule of a `jax.custom_jvp`, forward mode and second derivatives work too.
    """

    @jax.custom_jvp
    def total(weights: list[Array], *tokens: Array) -> Array:
        return _over_blocks(lambda now: (block(weights, *now), [], []), tokens, rows, [])[0]

    def rule(primals: Any, tangents: Any) -> tuple[Array, Array]:
        weights, *tokens = primals
        moves = [_moves(t) for t in tangents[0]], [_moves(t) for t in tangents[1:]]

        def gradients(now: Sequence[Array]) -> tuple[Array, list[Array], list[Array]]:
            def moved(some_weights: list[Array], some_tokens: list[Array]) -> Array:
                return block(_filled(weights, moves[0], some_weights), *_filled(now, moves[1], some_tokens))

            value, found = jax.value_and_grad(moved, (0, 1))(_taken(weights, moves[0]), _taken(now, moves[1]))
            return value, *found

        value, *found = _over_blocks(gradients, tokens, rows, _taken(weights, moves[0]))
        moving = filter(_moves, (*tangents[0], *tangents[1:]))
        dots = [(gradient * t).sum() for gradient, t in zip([*found[0], *found[1]], moving, strict=True)]
        return value, sum(dots, jnp.zeros_like(value))

    total.defjvp(rule, symbolic_zeros=True)
    return total


def _over_blocks(
    f: Callable[[list[Array]], tuple[Array, list[Array], list[Array]]],
    tokens: Sequence[Array],
    rows: int,
    like: Sequence[Array],
) -> tuple[Array, list[Array], list[Array]]:
    """What `f` gives, over blocks of `rows` tokens: a value and terms like `like`, summed, and what is each token's."""
    *_, mask = tokens
    order = jnp.argsort(mask == 0, stable=True)
    blocks = -(-len(mask) // rows)

    def packed(x: Array) -> Array:
        x = jnp.pad(x[order], [(0, blocks * rows - len(mask))] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(blocks, rows, *x.shape[1:])

    def step(sums: tuple[Array, list[Array]], now: list[Array]) -> Any:
        def some() -> Any:
            value, terms, each = f(now)
            return (sums[0] + value, [a + b for a, b in zip(sums[1], terms, strict=True)]), each

        nothing = [jnp.zeros(x.shape, x.dtype) for x in jax.eval_shape(f, now)[2]]
        return jax.lax.cond((now[-1] != 0).any(), some, lambda: (sums, nothing))

    first = (jnp.zeros((), mask.dtype), [jnp.zeros_like(x) for x in like])
    (value, terms), each = jax.lax.scan(step, first, [packed(x) for x in tokens])
    back = jnp.argsort(order)
    return value, terms, [x.reshape(blocks * rows, *x.shape[2:])[back] for x in each]


def _moves(tangent: Any) -> bool:
    return not isinstance(tangent, SymbolicZero)


def _taken(values: Sequence[Array], which: Sequence[bool]) -> list[Array]:
    return [x for x, taken in zip(values, which, strict=True) if taken]


def _filled(values: Sequence[Array], which: Sequence[bool], others: Sequence[Array]) -> list[Array]:
    """`values`, with `others` in the places `which`."""
    rest = iter(others)
    return [next(rest) if other else x for x, other in zip(values, which, strict=True)]


def _in_eights(rows: int) -> int:
    return -(-rows // 8) * 8 if rows > 64 else rows


def token_cross_entropy(logits: Array, targets: Array, smoothing: float = 0.0, copied: Copied | None = None) -> Array:
    """logsumexp(a) - (1 - e) * a_y - e * mean(a) of each token: (..., vocabulary), (...) -> (...), in nats.

    With `copied`, (...) each, log softmax(a)_y = a_y - logsumexp(a) makes room for the log of what `Copied` says.
    Smoothing spreads over all: where a logit is -inf, it makes the loss infinite.

    Example:
        >>> round(float(token_cross_entropy(jnp.array([0.0, jnp.log(3.0)]), jnp.array(1))), 4)     # -log 3/4
        0.2877
    """
    chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    normaliser = jax.nn.logsumexp(logits, -1)
    if copied is not None:
        alone = chosen - normaliser + copied.kept
        some = copied.copied > 0
        both = jnp.logaddexp(alone, jnp.log(jnp.where(some, copied.copied, 1)))
        chosen = jnp.where(some, both, alone) + normaliser
    loss = normaliser - (1 - smoothing) * chosen
    return loss - smoothing * logits.mean(-1) if smoothing else loss
