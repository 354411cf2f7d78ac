"""What all tests share: strict dtypes, a random key, compiled code kept between runs, and the same examples always."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, settings
from jax import Array

from seq2seq.app import prepare
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.training import loop, optimizer, state

collect_ignore_glob = ["conftest.py", "*/conftest.py"]
"""They hold no examples, and `--doctest-modules` would stumble over several files of one name."""
STRICT = {"core", "nn", "search", "models", "contract"}
UNOPTIMISED = {"nn", "models", "contract", "serving", "test_scan.py"}
SLOW = ("test_documents.py", "test_learns.py", "test_source_dropout.py", "test_train.py", "test_page_in_browser.py")

settings.register_profile(
    "seq2seq",
    max_examples=25,
    derandomize=True,
    deadline=None,  # a busy machine is not a defect
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("seq2seq")


def pytest_configure(config: pytest.Config) -> None:
    """Keep what XLA compiles beside pytest's own cache: a second run of the tests takes a third of the time."""
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache entry")
    if hasattr(config, "cache") and config.cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True)
def strict_dtypes(request: pytest.FixtureRequest) -> Iterator[None]:
    """No dtype is promoted behind our back. (optax does that, so not where it trains.)"""
    with jax.numpy_dtype_promotion("strict" if request.path.parent.name in STRICT else "standard"):
        yield


def is_unoptimised(item: pytest.Item) -> bool:
    """Whether XLA need not optimise what a test compiles."""
    return bool({item.path.parent.name, item.path.name} & UNOPTIMISED)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first, or a worker would be left alone with them; and what is not optimised in one piece."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        return is_unoptimised(item), SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW)

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def few_programs() -> None:
    """Each program has some of the 65,530 mappings that Linux lets a process have: XLA crashes where none is left."""
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def prepared_once() -> Iterator[None]:
    """One compilation for all runs of the same optimiser and model: it is most of what a run of a tiny model costs."""
    built, made, told = {}, {}, {}

    def build(config, model, total_updates=None):
        key = repr(config), jax.tree.structure(model), total_updates if config.schedule == "cosine" else None
        if key not in built:
            built[key] = optimizer.build(config, model, total_updates)
        return built[key]

    @functools.cache
    def compiled_begin(optimiser, averaged):
        return jax.jit(lambda model: state.begin(model, optimiser, averaged))

    @functools.wraps(real := prepare._fresh)
    def fresh(cls, options, source, target):
        if type(options.model) is not EncoderDecoderConfig:  # of the user's, perhaps with values that no hash takes
            return real(cls, options, source, target)
        key = cls, options.model, source.size, target.size, target.matching(source), options.seed
        if key not in made:
            made[key] = real(cls, options, source, target)
        return made[key]

    def cost_lines(model, batches, training, real=prepare.cost_lines):
        leaves, structure = jax.tree.flatten(model)
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        key = structure, shapes, tuple(batches.shapes), batches.count, batches.padding_waste
        key = *key, training.precision, training.moving_average
        if key not in told:
            told[key] = real(model, batches, training)
        return told[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build", build)
        patch.setattr(loop, "make_update", functools.cache(state.make_update))
        patch.setattr(
            loop, "begin", lambda model, optimiser, averaged=False: compiled_begin(optimiser, averaged)(model)
        )
        patch.setattr(prepare, "_fresh", fresh)
        patch.setattr(prepare, "cost_lines", cost_lines)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where much is compiled to run once, XLA need not optimise: that halves the time. Elsewhere it does.

    JAX does not ask of a program that it has how it was compiled: what the other kind of test left is forgotten, or a
    command of this process would differ in last digits from the same command of another. This comes before any
    fixture: those of the session compile too.
    """
    unoptimised = is_unoptimised(item)
    if unoptimised != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", unoptimised)


@pytest.fixture
def key() -> Array:
    return jax.random.key(7)
