"""What all tests share: strict dtypes, a random key, compiled code kept between runs, and the same examples always."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest
from hypothesis import HealthCheck, settings
from jax import Array

collect_ignore_glob = ["conftest.py", "*/conftest.py"]
"""They hold no examples, and `--doctest-modules` would stumble over several files of one name."""
STRICT = {"core", "nn", "search", "models", "contract"}
UNOPTIMISED = {"nn", "models", "contract", "serving"}

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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where much is compiled to run once, XLA need not optimise: that halves the time. Elsewhere it does.

    JAX does not ask of a program that it has how it was compiled: what the other kind of test left is forgotten, or a
    command of this process would differ in last digits from the same command of another. This comes before any
    fixture: those of the session compile too.
    """
    unoptimised = item.path.parent.name in UNOPTIMISED
    if unoptimised != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", unoptimised)


@pytest.fixture
def key() -> Array:
    return jax.random.key(7)
