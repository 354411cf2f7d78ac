"""One compilation for all runs with the same optimiser: it is most of what a run of the tiny model costs."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from seq2seq.training import loop, optimizer, state


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    built = {}

    def build(config, model, total_updates=None):
        key = (repr(config), type(model), total_updates if config.schedule == "cosine" else None)
        if key not in built:
            built[key] = optimizer.build(config, model, total_updates)
        return built[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build", build)
        patch.setattr(loop, "make_update", functools.cache(state.make_update))
        yield
