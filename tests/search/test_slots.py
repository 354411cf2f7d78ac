"""Rows in slots: every row has exactly the steps it wants, no slot waits, and nothing of what is found changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.search_contract import LENGTH, nothing_said, same_row, searches
from contract.toy_models import TableModel

from seq2seq.core.module import as_node
from seq2seq.errors import SearchError
from seq2seq.search import BeamOptions, SampleOptions, SearchOptions
from seq2seq.search.hypotheses import Trail
from seq2seq.search.slots import Outcome, run
from seq2seq.search.stepping import begin

WANTED = np.array([3, 0, 5, 1, 1, 0, 0, 4, 2, 5, 1, 3, 0])
LONGEST = 5


compiled_run = jax.jit(run, static_argnums=(0, 1, 5))


def step(fixed, now, time):
    wanted, number = fixed
    left = (100 * number + time)[:, None]
    return now + (time < wanted).astype(jnp.int32), Trail(left, left.astype(jnp.float32), left, None)


def done(fixed, now):
    return now >= fixed[0]


def counted(count: int, slots: int) -> Outcome:
    """Rows that want as many steps as `WANTED` says, and leave behind 100 times their number plus the step's."""
    fixed = (jnp.asarray(WANTED), jnp.arange(len(WANTED)))
    trail = Trail.empty(LONGEST, (len(WANTED), 1), None)
    now = jnp.zeros(len(WANTED), jnp.int32)
    return jax.tree.map(np.asarray, compiled_run(step, done, (fixed, now), trail, jnp.int32(count), slots))


def steps_of_a_list_schedule(wanted: list[int], slots: int) -> int:
    """How long `slots` workers take who each turn to the next row as soon as they are done with one.

    That a row wants nothing at all is only found after a step.
    """
    free = [0] * slots
    for steps in wanted:
        first = free.index(min(free))
        free[first] += max(1, steps)
    return max(free)


@pytest.mark.parametrize("count", [len(WANTED), 9, 3, 0])
@pytest.mark.parametrize("slots", [1, 2, 4, 20])
def test_every_row_has_its_steps_and_no_slot_waits(count, slots):
    found = counted(count, slots)
    begun = np.arange(len(WANTED)) < (count if slots < len(WANTED) else len(WANTED))
    np.testing.assert_array_equal(found.now, np.where(begun, WANTED, 0))
    for row in np.flatnonzero(begun):
        left = found.trail.tokens[: WANTED[row], row, 0]
        np.testing.assert_array_equal(left, 100 * row + np.arange(WANTED[row]))
        np.testing.assert_array_equal(found.trail.token_log_probabilities[: WANTED[row], row, 0], left)
    if slots >= len(WANTED):
        assert found.steps == WANTED.max()
    else:
        assert found.steps == steps_of_a_list_schedule(WANTED[:count].tolist(), slots)


def mixed(rows: int) -> tuple[np.ndarray, ...]:
    """Sources of all lengths, some empty, and limits down to 0: (source, lengths, limit, line numbers)."""
    draw = np.random.default_rng(7)
    lengths = draw.integers(0, 6, rows)
    source = np.where(np.arange(6)[:, None] < lengths, draw.integers(4, 9, (6, rows)), 0)
    return source, lengths, draw.integers(0, LENGTH + 1, rows), np.arange(rows)


@pytest.mark.parametrize("name", ["greedy", "beam", "sample", "rules"])
def test_slots_change_nothing(name):
    search, rows = searches(TableModel.random(0, scale=1.5))[name], mixed(13)
    alone = [search(*(array[..., i : i + 1] for array in rows)) for i in range(13)]
    order = np.random.default_rng(1).permutation(13)
    ways = ((4, order[::-1]),) if name == "rules" else ((1, order), (4, order[::-1]))  # it takes long to compile
    for slots, chosen in ways:
        found = search(*(array[..., chosen] for array in rows), slots=slots)
        for here, there in enumerate(chosen):
            same_row(found, here, alone[there], 0)
            if rows[1][there] == 0 or rows[2][there] == 0:
                nothing_said(found, here)
    assert len({int(a.lengths[0, 0]) for a in alone}) > 3  # else no row would ever be ahead of another


def test_sources_are_read_in_parts_and_only_where_there_are_any():
    read = []

    class Noted(TableModel):
        def start(self, source, lengths):
            jax.debug.callback(lambda n: read.append(n.tolist()), lengths, ordered=True)
            return super().start(source, lengths)

    as_node(Noted, ["table", "transition", "focus"], ["gives_attention"])
    lengths = jnp.array([1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    model = Noted.random(0)
    memory, *_ = jax.jit(lambda m: begin(m, jnp.full((1, 11), 4), lengths, 2, 3)[:2])(model)
    jax.effects_barrier()
    assert read == [[1, 0, 1], [1, 1, 0]]
    assert memory["kind"].tolist() == [4, 0, 4, 4, 4, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: BeamOptions(slots=0),
        lambda: SampleOptions(slots=0),
        lambda: SearchOptions(slots=-1),
    ],
)
def test_no_slot_at_all_is_refused(wrong):
    with pytest.raises(SearchError, match=r"slots is (0|-1), wanted at least 1"):
        wrong()
