"""The optimiser: one of five of optax's, a schedule, clipping, and what each module of the model gets of it.

The 2015 program added `module.getUpdates(cost, lr)` module by module, so that each could have its own rate or none.
Here a module is named by its field: `freeze=("encoder",)`, `scale={"decoder.cell": 0.1}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.tree_util import KeyPath

from seq2seq.core.module import leaf_name, named_leaves
from seq2seq.errors import ConfigError, check_literals, did_you_mean

_RATES = {"adam": 1e-3, "adamw": 1e-3, "sgd": 1.0, "momentum": 0.1, "adadelta": 1.0}
_DIRECTIONS = {
    "adam": optax.scale_by_adam,
    "adamw": optax.scale_by_adam,
    "sgd": optax.identity,
    "momentum": lambda: optax.trace(decay=0.9),
    "adadelta": lambda: optax.scale_by_adadelta(rho=0.95, eps=1e-6),  # Zeiler 2012; Cho and Bahdanau used these
}


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters follow gradients. The loss is a mean (see `per`), so rates do not depend on the batch size.

    Raises:
        ConfigError: a value out of its range.

    Example:
        >>> OptimizerConfig(name="sgd").rate
        1.0
        >>> OptimizerConfig(clip=-1.0)
        Traceback (most recent call last):
        seq2seq.errors.ConfigError: optimizer.clip is -1.0; wanted 0 (off) or more.
    """

    name: Literal["adam", "adamw", "sgd", "momentum", "adadelta"] = "adam"
    """The optimiser; momentum is SGD with momentum 0.9."""
    learning_rate: float | None = None
    """The highest learning rate. None: 0.001 for adam and adamw, 1 for sgd and adadelta, 0.1 for momentum."""
    schedule: Literal["constant", "warmup", "cosine", "halving", "plateau"] = "constant"
    """How the rate falls: not at all (constant); as 1/sqrt(update) after warming up; along a cosine to the end of the
    run, which --updates or --epochs must give; halved at fixed updates; or when the dev score is on a plateau."""
    warmup_updates: int | None = None
    """Updates over which the rate first rises from 0, in any schedule. None: 1000 for warmup, otherwise 0."""
    halve_after: int = 10_000
    """Halving: the first update at half the rate is the one after this."""
    halve_every: int = 1_000
    """Halving: updates from one halving to the next."""
    halve_after_epochs: float | None = None
    """Halving: the same as halve_after, in passes over the training data."""
    halve_every_epochs: float | None = None
    """Halving: the same as halve_every, in passes over the training data."""
    plateau_factor: float = 0.5
    """Plateau: what the rate is multiplied by."""
    plateau_patience: int = 3
    """Plateau: the rate falls after each so many evaluations in a row that were not the best so far."""
    minimum_rate: float = 0.0
    """No schedule lowers the rate below this."""
    clip: float = 1.0
    """Gradients with a larger norm (over all trained parameters together) are shortened to it. 0: off."""
    per: Literal["token", "sentence"] = "token"
    """What the loss is a mean over, whose gradient this is: target tokens, or sentences, whose tokens are then summed
    (Sutskever et al. 2014, section 3.4, and the other papers' presets). Rates and clip are for one of the two. A batch
    of short sentences has more of them, and counts for as many."""
    weight_decay: float | None = None
    """Weight decay, not on biases: decoupled for adamw (None: 0.01), added to the gradient otherwise (None: 0)."""
    freeze: tuple[str, ...] = ()
    """Fields of the model that stay as they are: encoder, or decoder.cell."""
    scale: dict[str, float] = field(default_factory=dict)
    """Fields of the model whose learning rate is multiplied: encoder=0.1. The longest name that fits a field counts."""

    def __post_init__(self) -> None:
        check_literals(self, "optimizer.")
        _check("learning_rate", self.rate, 0 < self.rate < math.inf, "more than 0")
        _check("warmup_updates", self.warmup, self.warmup >= 0, "0 or more")
        _check("halve_after", self.halve_after, self.halve_after >= 0, "0 or more")
        _check("halve_every", self.halve_every, self.halve_every >= 1, "1 or more")
        for name in ("halve_after_epochs", "halve_every_epochs"):
            value = getattr(self, name)
            _check(name, value, value is None or 0 <= value < math.inf, "0 or more")
        _check("plateau_factor", self.plateau_factor, 0 < self.plateau_factor < 1, "a number between 0 and 1")
        _check("plateau_patience", self.plateau_patience, self.plateau_patience >= 1, "1 or more")
        _check("minimum_rate", self.minimum_rate, 0 <= self.minimum_rate <= self.rate, f"0 to {self.rate}")
        for name, factor in self.scale.items():
            _check(f"scale {name}", factor, math.isfinite(factor), "a number")
        _check("clip", self.clip, self.clip >= 0, "0 (off) or more")
        _check("weight_decay", self.decay, self.decay >= 0, "0 or more")

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return _RATES[self.name] if self.learning_rate is None else self.learning_rate

    @property
    def warmup(self) -> int:
        """The number of updates that warm up."""
        if self.warmup_updates is None:
            return 1_000 if self.schedule == "warmup" else 0
        return self.warmup_updates

    @property
    def decay(self) -> float:
        """The weight decay."""
        if self.weight_decay is None:
            return 0.01 if self.name == "adamw" else 0.0
        return self.weight_decay

    def in_updates(self, epoch: int) -> OptimizerConfig:
        """The same with what was given in epochs, of so many updates, given in updates.

        Example:
            >>> config = OptimizerConfig(schedule="halving", halve_after_epochs=5.0, halve_every_epochs=0.5)
            >>> config.in_updates(100).halve_after, config.in_updates(100).halve_every
            (500, 50)
        """
        after, every = self.halve_after_epochs, self.halve_every_epochs
        return replace(
            self,
            halve_after=self.halve_after if after is None else round(after * epoch),
            halve_every=self.halve_every if every is None else max(1, round(every * epoch)),
            halve_after_epochs=None,
            halve_every_epochs=None,
        )

    def lowered(self, scale: float) -> float:
        """The next factor on the rate when the dev score has stopped improving."""
        return max(scale * self.plateau_factor, self.minimum_rate / self.rate)


def build(config: OptimizerConfig, model: Any, total_updates: int | None = None) -> optax.GradientTransformation:
    """The optimiser of `config` for a model of the structure of `model`.

    Clipping comes first, so that the norm is that of the loss's own gradient; weight decay spares leaves of one
    dimension; frozen leaves have an update of exactly zero and no optimiser state.

    Raises:
        ConfigError: a name in `freeze` or `scale` that the model does not have, nothing left to train, or a cosine
            without an end.
    """
    _check_names("freeze", config.freeze, model)
    _check_names("scale", config.scale, model)
    decay = optax.add_decayed_weights(config.decay, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree))
    rate = schedule(config, total_updates)
    trained = optax.chain(
        _clip_by_global_norm(config.clip) if config.clip else optax.identity(),
        decay if config.decay and config.name != "adamw" else optax.identity(),
        _DIRECTIONS[config.name](),
        decay if config.decay and config.name == "adamw" else optax.identity(),
        _scale_by_name(config.scale) if config.scale else optax.identity(),
        optax.scale_by_learning_rate(lambda count: rate(count + 1)),
    )
    if not config.freeze:
        return trained
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "frozen" if is_under(path, config.freeze) else "trained", model
    )
    if "trained" not in jax.tree.leaves(labels):
        raise ConfigError("--optimizer.freeze names every parameter of the model: nothing is left to train.")
    return optax.partition({"trained": trained, "frozen": optax.set_to_zero()}, labels)


def schedule(config: OptimizerConfig, total_updates: int | None = None) -> Callable[[Any], Array]:
    """The learning rate of each update, counted from 1: `rate(u) = min(1, u/w) max(minimum, peak decay(u))`.

    With w the updates that warm up, `decay(u)` is 1 (constant, plateau), `min(1, sqrt(w/u))` (warmup),
    `(1 + cos(pi (u - w)/(total - w))) / 2` (cosine) or `0.5 ** ceil((u - after)/every)` after `after` (halving).
    The factor that a plateau puts on it is not in here: it belongs to the run's progress.

    Raises:
        ConfigError: a cosine without a number of updates at which to end, or with none after its warming up.

    Example:
        >>> rate = schedule(OptimizerConfig(learning_rate=0.5, schedule="halving", halve_after=10, halve_every=5))
        >>> [float(rate(update)) for update in (1, 10, 11, 15, 16)]
        [0.5, 0.5, 0.25, 0.25, 0.125]
    """
    warmup = config.warmup
    if config.schedule == "cosine":
        if total_updates is None:
            raise ConfigError("--optimizer.schedule cosine must know where to end; give --updates or --epochs.")
        if warmup and warmup >= total_updates:
            raise ConfigError(
                f"--optimizer.warmup-updates is {warmup}, and the cosine ends at update {total_updates}: wanted fewer."
            )
    span = max((total_updates or 0) - warmup, 1)

    def decay(update: Array) -> Array:
        match config.schedule:
            case "warmup":
                return jnp.sqrt(jnp.minimum(max(warmup, 1) / update, 1.0))
            case "cosine":
                return (1.0 + jnp.cos(jnp.pi * jnp.clip((update - warmup) / span, 0.0, 1.0))) / 2.0
            case "halving":
                # In whole numbers: XLA divides by 7 as by a rounded 1/7, and 21/7 came out above 3.
                halvings = -((config.halve_after - update) // config.halve_every)
                return 0.5 ** jnp.maximum(halvings, 0).astype(jnp.float32)
            case _:
                return jnp.ones(())

    def rate(update: Any) -> Array:
        update = jnp.asarray(update, jnp.int32)
        risen = jnp.minimum(update / warmup, 1.0) if warmup else 1.0
        return risen * jnp.maximum(config.minimum_rate, config.rate * decay(update))

    return rate


def is_under(path: KeyPath, names: Iterable[str]) -> bool:
    """Whether the leaf at `path` is a field of these dotted names, or lies within one."""
    return any(_fits(_dotted(path), name) for name in names)


def _clip_by_global_norm(most: float) -> optax.GradientTransformation:
    """g * min(1, most / |g|), |g| over all parameters together (Pascanu et al. 2013).

    One factor for all, where optax's own divides every element: XLA then writes no clipped copy of the gradient.
    """

    def clipped(updates: Any, _: Any) -> Any:
        factor = jnp.minimum(1.0, most / optax.tree.norm(updates))
        return jax.tree.map(lambda g: (g * factor).astype(g.dtype), updates)

    return optax.stateless(clipped)


def _scale_by_name(scale: dict[str, float]) -> optax.GradientTransformation:
    longest_first = sorted(scale, key=len, reverse=True)

    def scaled(path: KeyPath, update: Array) -> Array:
        found = next((name for name in longest_first if _fits(_dotted(path), name)), None)
        return update if found is None else update * scale[found]

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(scaled, updates))


def _check_names(option: str, names: Iterable[str], model: Any) -> None:
    leaves = [name.split("/") for name in named_leaves(model)]
    known = {".".join(parts[:depth]) for parts in leaves for depth in range(1, len(parts) + 1)}
    for name in names:
        if name not in known:
            raise ConfigError(f"--optimizer.{option} {name}: the model has no such field; {did_you_mean(name, known)}")


def _check(name: str, found: object, good: bool, wanted: str) -> None:
    if not good:
        raise ConfigError(f"optimizer.{name} is {found}; wanted {wanted}.")


def _dotted(path: KeyPath) -> str:
    return leaf_name(path).replace("/", ".")


def _fits(leaf: str, name: str) -> bool:
    return leaf == name or leaf.startswith(name + ".")
