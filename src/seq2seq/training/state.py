"""One update, as one pure function of the state, the batch and the run's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.tree_util import KeyPath

from seq2seq.core.precision import Precision, in_precision
from seq2seq.core.seams import BatchLike, Key, Loss
from seq2seq.errors import ModuleError
from seq2seq.training.optimizer import is_under

T = TypeVar("T")


class TrainState(NamedTuple):
    """Everything that an update reads and writes.

    Attributes:
        model: the model, a pytree with `loss`.
        optimizer: the state of the optax optimiser.
        update: () int32, the number of updates done.
        average: the exponential moving average of the model's parameters, or None.
    """

    model: Any
    optimizer: optax.OptState
    update: Array
    average: Any = None

    @property
    def best_guess(self) -> Any:
        """The model to score and to keep: the average where there is one."""
        return self.model if self.average is None else self.average


class Report(NamedTuple):
    """What an update tells: scalars still on the device, so that asking for them is what waits.

    Attributes:
        loss: nats, summed over the batch.
        count: target tokens in the batch.
        gradient_norm: of the objective, over the parameters that are trained, before clipping.
        weight_norm: of all parameters, after the update.
        finite: whether loss and gradient are; otherwise nothing was changed.
    """

    loss: Array
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]
    gradient_norm: Array
    weight_norm: Array
    finite: Array


Update: TypeAlias = Callable[[TrainState, BatchLike, Key, float], tuple[TrainState, Report]]
"""`update(state, batch, key, rate_scale) -> (state, report)`."""


def begin(model: Any, optimizer: optax.GradientTransformation, averaged: bool = False) -> TrainState:
    """The state before the first update. The model's arrays are copied, since an update reuses its state's memory."""

    def state(model: Any) -> TrainState:
        average = model if averaged else None
        return fresh(TrainState(model, optimizer.init(model), jnp.zeros((), jnp.int32), average))

    return jax.jit(state)(model)


@jax.jit
def fresh(tree: T) -> T:
    """A copy of every array, under its own dtype: one compilation then serves a new and a resumed state alike."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype=leaf.dtype, copy=True), tree)


def make_update(
    optimizer: optax.GradientTransformation,
    freeze: tuple[str, ...] = (),
    precision: Precision = "float32",
    decay: float = 0.0,
    sentences: float | None = None,
) -> Update:
    """The compiled `update`: the gradient once for each shape of batch, the optimiser once for all.

    The objective is the mean loss of the batch per token; or, with `sentences`, its sum over that number, the mean
    number of sentences in a batch: so each sentence weighs alike, in a batch of many or of few. Update u (from 0)
    draws from `fold_in(key, u)`, so that its randomness depends on the seed and on u alone. `rate_scale` multiplies
    the update of every parameter. The memory of the state that goes in is reused (donated): it cannot be read
    afterwards. `precision` is that of the products in loss and gradient; parameters, their gradients and the
    optimiser are float32. A loss or a gradient that is not finite leaves all of the state as it is, but for the
    number of the update. An average in the state follows the parameters p: average <- d average + (1 - d) p, with d
    = min(decay, (1 + u) / (10 + u)), so that the first updates do not weigh on it for long.

    Raises:
        ModuleError: the model's `loss` does not return a `Loss`; when first called.

    Example:
        >>> from seq2seq.core.module import module
        >>> @module
        ... class Mean:
        ...     value: Array
        ...     def loss(self, batch, key):
        ...         return Loss(((batch - self.value) ** 2).sum(), jnp.array(batch.size))
        >>> optimizer = optax.sgd(0.5)
        >>> update = make_update(optimizer)
        >>> state = begin(Mean(value=jnp.zeros(())), optimizer)
        >>> state, report = update(state, jnp.array([1.0, 3.0]), jax.random.key(0), 1.0)
        >>> float(state.model.value), float(report.loss), int(state.update)
        (2.0, 10.0, 1)
    """

    def gradient(model: Any, update: Array, batch: BatchLike, key: Key) -> tuple[Any, Loss]:
        def objective(model: Any) -> tuple[Array, Loss]:
            loss = _hold(model, freeze).loss(batch, jax.random.fold_in(key, update))
            if not isinstance(loss, Loss):
                kind = type(model).__name__
                raise ModuleError(f"{kind}.loss returned {type(loss).__name__}; wanted Loss(sum, count).")
            return loss.mean if sentences is None else loss.sum / sentences, loss

        return jax.grad(objective, has_aux=True)(model)

    def apply(state: TrainState, gradient: Any, loss: Loss, rate_scale: float) -> tuple[TrainState, Report]:
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(loss.sum) & jnp.isfinite(norm)

        def moved(state: TrainState) -> TrainState:
            with jax.numpy_dtype_promotion("standard"):  # optax needs it, also where the user's own code is strict
                updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.model)
            model = _move(state.model, updates, freeze, rate_scale)
            average = None if state.average is None else _followed(state.average, model, state.update, decay, freeze)
            return TrainState(model, optimizer_state, state.update, average)

        # Not a choice between two states, element by element: that would need room for both.
        kept = jax.lax.cond(finite, moved, lambda state: state, state)
        report = Report(loss.sum, loss.count, norm, optax.tree.norm(kept.model), finite)
        return kept._replace(update=state.update + 1), report

    # Two programs: the optimiser's, a third of what there is to compile, is then not compiled again for each shape.
    gradient_of, applied = jax.jit(in_precision(gradient, precision)), jax.jit(apply, donate_argnums=0)

    def update(state: TrainState, batch: BatchLike, key: Key, rate_scale: float) -> tuple[TrainState, Report]:
        return applied(state, *gradient_of(state.model, state.update, batch, key), rate_scale)

    return update


def _hold(model: Any, freeze: tuple[str, ...]) -> Any:
    """The model with no gradient into frozen fields: what leads only there is not computed at all."""
    if not freeze:
        return model
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.lax.stop_gradient(leaf) if is_under(path, freeze) else leaf, model
    )


def _move(model: Any, updates: Any, freeze: tuple[str, ...], rate_scale: float) -> Any:
    def moved(path: KeyPath, leaf: Array, update: Array) -> Array:
        # A frozen leaf is not even added to: -0.0 + 0.0 is 0.0, another bit.
        return leaf if is_under(path, freeze) else (leaf + rate_scale * update).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(moved, model, updates)


def _followed(average: Any, model: Any, update: Array, decay: float, freeze: tuple[str, ...]) -> Any:
    made = update.astype(jnp.float32)
    d = jnp.minimum(decay, (1 + made) / (10 + made))

    def followed(path: KeyPath, a: Array, p: Array) -> Array:
        return p if is_under(path, freeze) else (a + (1 - d) * (p - a)).astype(p.dtype)  # as _move leaves it

    return jax.tree_util.tree_map_with_path(followed, average, model)


def mean(models: tuple[Any, ...]) -> Any:
    """The model whose every parameter is the mean of theirs, summed in float64.

    Example:
        >>> mean(({"w": np.float32([1, 5])}, {"w": np.float32([2, 7])}))
        {'w': Array([1.5, 6. ], dtype=float32)}
    """

    def of(*leaves: Any) -> Array:
        average = np.mean([np.asarray(leaf, np.float64) for leaf in leaves], axis=0)
        return jnp.asarray(average.astype(leaves[0].dtype))

    return jax.tree.map(of, *models)
