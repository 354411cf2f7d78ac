from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import Tiny

from seq2seq.errors import ConfigError
from seq2seq.training.optimizer import OptimizerConfig, build, schedule

REFERENCES = {
    "adam": optax.adam(1e-3),
    "adamw": optax.adamw(1e-3, weight_decay=0.01, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)),
    "sgd": optax.sgd(1.0),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adadelta": optax.adadelta(1.0, rho=0.95, eps=1e-6),
}


def gradients(scale: float = 1.0) -> Tiny:
    return jax.tree.map(lambda leaf: scale * (leaf + 0.1), Tiny.init(5))


def updates(optimizer: optax.GradientTransformation, gradient: Tiny, steps: int = 1) -> Tiny:
    """The last of a few updates, each applied to the model before the next."""
    model = Tiny.init()
    state = optimizer.init(model)
    step = jax.jit(optimizer.update)
    for _ in range(steps):
        with jax.numpy_dtype_promotion("standard"):
            update, state = step(gradient, state, model)
        model = optax.apply_updates(model, update)
    return update


def close(a: Tiny, b: Tiny) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_optax(name):
    built = build(OptimizerConfig(name=name, clip=0), Tiny.init())
    close(updates(built, gradients(), 3), updates(REFERENCES[name], gradients(), 3))


def test_clips_the_norm_over_what_is_trained():
    gradient = gradients(50.0)
    config = {"name": "sgd", "learning_rate": 1.0, "clip": 0.5}
    whole = updates(build(OptimizerConfig(**config), Tiny.init()), gradient)
    assert float(optax.tree.norm(whole)) == pytest.approx(0.5, rel=1e-5)
    half = updates(build(OptimizerConfig(**config, freeze=("encoder",)), Tiny.init()), gradient)
    assert float(optax.tree.norm(half.decoder)) == pytest.approx(0.5, rel=1e-5)
    assert not any(leaf.any() for leaf in jax.tree.leaves(half.encoder))
    small = gradients(1e-4)
    close(updates(build(OptimizerConfig(**config), Tiny.init()), small), jax.tree.map(lambda g: -g, small))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_spares_biases(name):
    zero = jax.tree.map(jnp.zeros_like, Tiny.init())
    update = updates(build(OptimizerConfig(name=name, learning_rate=0.5, weight_decay=0.1), Tiny.init()), zero)
    np.testing.assert_allclose(update.encoder.w, -0.05 * Tiny.init().encoder.w, rtol=1e-6)
    assert not update.decoder.b.any()


def test_scale_multiplies_and_the_longest_name_counts():
    plain = updates(build(OptimizerConfig(), Tiny.init()), gradients())
    scaled = updates(build(OptimizerConfig(scale={"encoder": 0.1, "encoder.w": 3.0}), Tiny.init()), gradients())
    np.testing.assert_allclose(scaled.encoder.w, 3.0 * plain.encoder.w, rtol=1e-6)
    np.testing.assert_allclose(scaled.encoder.b, 0.1 * plain.encoder.b, rtol=1e-6)
    close(scaled.decoder, plain.decoder)


def test_a_frozen_module_has_no_optimizer_state():
    whole = build(OptimizerConfig(), Tiny.init()).init(Tiny.init())
    half = build(OptimizerConfig(freeze=("encoder",)), Tiny.init()).init(Tiny.init())
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(state)) for state in (whole, half)]
    assert sizes[0] - sizes[1] == 2 * (16 + 4)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"freeze": ("encodr",)}, "--optimizer.freeze encodr: the model has no such field; did you mean encoder"),
        ({"scale": {"decoder.v": 0.1}}, "--optimizer.scale decoder.v.*did you mean decoder"),
        ({"freeze": ("enc",)}, "--optimizer.freeze enc:"),  # a name is a whole field, not its beginning
        ({"freeze": ("encoder", "decoder")}, "nothing is left to train"),
        ({"schedule": "cosine"}, "give --updates or --epochs"),
    ],
)
def test_what_does_not_fit_the_model_is_named(config, says):
    with pytest.raises(ConfigError, match=says):
        build(OptimizerConfig(**config), Tiny.init())


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"clip": -0.1},
        {"plateau_factor": 1.0},
        {"plateau_patience": 0},
        {"halve_every": 0},
        {"warmup_updates": -1},
        {"weight_decay": -1.0},
        {"minimum_rate": 2.0},
    ],
)
def test_a_value_out_of_range_is_named(values):
    with pytest.raises(ConfigError, match=f"optimizer.{next(iter(values))} is "):
        OptimizerConfig(**values)


def by_definition(kind: str, update: int, peak: float, warmup: int, total: int, lowest: float) -> float:
    rate = peak
    if kind == "warmup" and update > warmup:
        rate = peak * math.sqrt(warmup / update)
    if kind == "cosine" and update > warmup:
        rate = peak * (1 + math.cos(math.pi * (update - warmup) / (total - warmup))) / 2
    if kind == "halving":
        for begins in range(20, update, 7):  # 20 updates at the full rate, then halved before every 7
            assert begins < update
            rate /= 2
    return min(update / warmup, 1.0) * max(rate, lowest)


@pytest.mark.parametrize("kind", ["constant", "warmup", "cosine", "halving", "plateau"])
def test_schedules_are_as_defined(kind):
    config = OptimizerConfig(
        learning_rate=0.4, schedule=kind, warmup_updates=5, halve_after=20, halve_every=7, minimum_rate=0.03
    )
    rate = jax.jit(jax.vmap(schedule(config, 50)))
    found = rate(np.arange(1, 51))
    wanted = [by_definition(kind, update, 0.4, 5, 50, 0.03) for update in range(1, 51)]
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


def test_a_cosine_that_never_falls_is_refused():
    config = OptimizerConfig(schedule="cosine", warmup_updates=5)
    for total, told in ((None, "give --updates or --epochs"), (5, "the cosine ends at update 5: wanted fewer")):
        with pytest.raises(ConfigError, match=told):
            schedule(config, total)


def test_the_optimizer_follows_its_schedule_from_the_first_update():
    config = OptimizerConfig(name="sgd", learning_rate=0.5, warmup_updates=4, clip=0)
    optimizer, model, rate = build(config, Tiny.init()), Tiny.init(), schedule(config)
    state = optimizer.init(model)
    for update in range(1, 7):
        change, state = optimizer.update(gradients(), state, model)
        np.testing.assert_allclose(change.decoder.b, -rate(update) * gradients().decoder.b, rtol=1e-6)


def test_a_plateau_never_lowers_the_rate_below_the_minimum():
    config = OptimizerConfig(learning_rate=1.0, schedule="plateau", plateau_factor=0.5, minimum_rate=0.3)
    assert config.lowered(1.0) == 0.5
    assert config.lowered(0.5) == 0.3


@pytest.mark.parametrize(("name", "value"), [("schedule", "cosin"), ("per", "sentences"), ("name", "adamm")])
def test_a_misspelt_choice_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"optimizer.{name} is '{value}'; did you mean {value[:-1]}"):
        OptimizerConfig(**{name: value})
