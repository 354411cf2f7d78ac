"""The loop of every search: rows are decoded in slots, and a row that is done gives its slot to the next.

With as many slots as rows it is a plain loop, which goes on until the last row is done. With fewer (continuous
batching, as in Orca: Yu et al. 2022, section 3.1) no slot waits for the longest row of the batch: all rows are read
first, so that their Memory and State make a queue, and whenever a row is done, its results are put away and the next
row of the queue takes its slot. Everything is inside one compiled loop. Since a row's step reads nothing of any other
row, neither the number of slots nor the order changes what is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from seq2seq.search.hypotheses import Trail

Fixed: TypeAlias = Any
"""What of a row never changes: Memory, limit and the like; every leaf is batch first."""
Now: TypeAlias = Any
"""What of a row changes with each step: State, the last token and the like; every leaf is batch first."""
Step: TypeAlias = Callable[[Fixed, Now, Array], tuple[Now, Trail]]
"""(fixed, now, the steps that each row has already had (batch,)) -> now, and what the step leaves behind."""
Done: TypeAlias = Callable[[Fixed, Now], Array]
"""(fixed, now) -> rows that want no further step (batch,)."""


class Outcome(NamedTuple):
    """What the loop leaves.

    Attributes:
        now: of each row, after its last step.
        trail: of each row, its first step first; what stands after its last step is not to be read.
        steps: how often the loop went round.
    """

    now: Now
    trail: Trail
    steps: Array


class _Work(NamedTuple):
    """The loop's carry.

    Attributes:
        steps: how often the loop went round.
        following: the first row that has not begun.
        row: (slots,) which row is in each slot; at least `count` if none.
        began: (slots,) the value of `steps` when it came in.
        fixed, now: of the rows in the slots.
        trail: of the slots; step n of the loop is at n modulo its length.
        ended: (now, trail) of all rows: those that have not begun as they were given, those that are done as they are.
    """

    steps: Array
    following: Array
    row: Array
    began: Array
    fixed: Fixed
    now: Now
    trail: Trail
    ended: tuple[Now, Trail]


def run(step: Step, done: Done, rows: tuple[Fixed, Now], trail: Trail, count: Array, slots: int) -> Outcome:
    """Step each row until it is done.

    Args:
        step: one step of every row; it must not touch what is kept of a row that is done already.
        done: which rows are done; a row's step limit must not exceed the length of `trail`.
        rows: fixed and now, of all rows.
        trail: an empty one, of all rows.
        count: rows after the first `count` are only there to fill up, and done before they begin.
        slots: rows that are in work at once, if fewer than there are.
    """
    fixed, now = rows
    every = trail.tokens.shape[1]
    if slots >= every:
        return _together(step, done, rows, trail)
    zeros = jnp.zeros(slots, jnp.int32)
    here = jax.tree.map(lambda leaf: leaf[:slots], rows)
    work = _Work(
        steps=jnp.int32(0),
        following=jnp.int32(slots),
        row=jnp.arange(slots, dtype=jnp.int32),
        began=zeros,
        fixed=here[0],
        now=here[1],
        trail=jax.tree.map(lambda leaf: leaf[:, :slots], trail),
        ended=(now, trail),
    )

    def more(work: _Work) -> Array:
        return (work.row < count).any()

    def once(work: _Work) -> _Work:
        after, left = step(work.fixed, work.now, work.steps - work.began)
        written = work.trail.write(work.steps % len(trail.tokens), left)
        work = work._replace(steps=work.steps + 1, now=after, trail=written)
        ready = (work.row < count) & done(work.fixed, after)
        order = jnp.argsort(~ready)
        return lax.fori_loop(0, ready.sum(), lambda i, now: _next_row(now, order[i], fixed, count), work)

    last = lax.while_loop(more, once, work)
    return Outcome(*last.ended, last.steps)


def _together(step: Step, done: Done, rows: tuple[Fixed, Now], trail: Trail) -> Outcome:
    """All rows at once: all have had as many steps as the loop."""
    fixed, now = rows
    every = jnp.zeros(trail.tokens.shape[1], jnp.int32)

    def once(work: tuple[Outcome, Array]) -> tuple[Outcome, Array]:
        (now, trail, steps), ended = work
        now, left = step(fixed, now, every + steps)
        trail, steps = trail.write(steps, left), steps + 1
        return Outcome(now, trail, steps), ended | done(fixed, now)

    first = Outcome(now, trail, jnp.int32(0))
    return lax.while_loop(lambda work: ~work[1].all(), once, (first, done(fixed, now)))[0]


def _next_row(work: _Work, slot: Array, queue: Fixed, count: Array) -> _Work:
    """Put away what the row in `slot` found, and let the next row of the queue in."""
    row, length = work.row[slot], len(work.trail.tokens)
    # A ring that is turned so that the row's first step stands first.
    found = jax.tree.map(lambda leaf: jnp.roll(leaf[:, slot], -(work.began[slot] % length), axis=0), work.trail)
    ended = (_put(work.ended[0], row, _take(work.now, slot)), _put(work.ended[1], row, found, axis=1))
    incoming = jnp.minimum(work.following, count - 1)
    return work._replace(
        following=work.following + 1,
        row=work.row.at[slot].set(work.following),
        began=work.began.at[slot].set(work.steps),
        fixed=_put(work.fixed, slot, _take(queue, incoming)),
        now=_put(work.now, slot, _take(ended[0], incoming)),
        ended=ended,
    )


def _take(tree: Any, row: Array) -> Any:
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, row, keepdims=False), tree)


def _put(tree: Any, row: Array, value: Any, axis: int = 0) -> Any:
    return jax.tree.map(lambda leaf, x: lax.dynamic_update_index_in_dim(leaf, x, row, axis), tree, value)
