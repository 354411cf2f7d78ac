"""One token at a time, never taken back: the loop that greedy search and sampling share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seq2seq.core.seams import END, PAD, Key, Memory, Searchable, State
from seq2seq.search.hypotheses import Hypotheses, Trail
from seq2seq.search.rules import Rule, Work, after, begin_rules, masked
from seq2seq.search.slots import run
from seq2seq.search.stepping import advance, ban, begin, normaliser, room, used

if TYPE_CHECKING:  # they import this
    from seq2seq.search.greedy import Likeliest
    from seq2seq.search.sampling import Draw


class Fixed(NamedTuple):
    """What never changes: Memory of the model and of the rules, and (batch,) limits and keys, if any."""

    memory: Memory
    rules: Work
    limit: Array
    keys: Any  # None where nothing is drawn


class Rollout(NamedTuple):
    """What changes with each step: State leaves, also of the rules, (batch, width, ...), the rest (batch, width)."""

    state: State
    rules: Work
    token: Array
    lengths: Array
    finished: Array

    def going(self, limit: Array) -> Array:
        """Which places still want a token, (batch, width)."""
        return ~self.finished & (self.lengths < limit[:, None])


@jax.jit
def roll_out(
    model: Searchable,
    rows: tuple[Array, Array, Array],
    choose: Likeliest | Draw,
    rules: tuple[Rule, ...],
    keys: Key | None = None,
) -> Hypotheses:
    """Let `choose` write hypotheses for each row.

    It is given (batch, width, vocabulary) logits, those of banned ids -inf, the (batch,) times, and the rows' keys or
    None, and answers with the (batch, width) ids; where all logits are -inf, with any. `rows` is (source, lengths,
    limit).
    """
    source, lengths, limit = rows
    options, width = choose.options, choose.width
    limit = room(lengths, limit, options.max_length)
    slots = options.slots or len(lengths)
    memory, state, token, positions = begin(model, source, lengths, width, slots)
    trail = Trail.empty(options.max_length, token.shape, positions if options.attention else None)
    trail = trail._replace(parents=None)
    given, states = begin_rules(rules, len(lengths), width, options.max_length)
    first = Rollout(state, states, token, jnp.zeros_like(token), jnp.zeros(token.shape, bool))

    def done(fixed: Fixed, now: Rollout) -> Array:
        return ~now.going(fixed.limit).any(axis=1)

    write = partial(written, model, choose, rules)
    last = run(write, done, (Fixed(memory, given, limit, keys), first), trail, used(lengths), slots)
    return _result(last.now, last.trail)


def written(
    model: Searchable,
    choose: Likeliest | Draw,
    rules: tuple[Rule, ...],
    fixed: Fixed,
    now: Rollout,
    time: Array,
) -> tuple[Rollout, Trail]:
    """One token more in every place that wants one; `time` is that of each row, (batch,).

    A place where no token is possible ends, with a PAD of log-probability -inf.
    """
    going = now.going(fixed.limit)
    state, prediction = advance(model, fixed.memory, now.state, now.token)
    possible = ban(masked(rules, fixed.rules, now.rules, prediction.logits), choose.options.banned)
    chosen = choose(possible, time, fixed.keys)
    logit = jnp.take_along_axis(possible, chosen[..., None], axis=-1)[..., 0]
    dead = jnp.isneginf(logit)
    token = jnp.where(going & ~dead, chosen, PAD)
    gains = jnp.where(going, logit - normaliser(prediction.logits), 0.0)
    ended = now.finished | (going & ((token == END) | dead))
    states = after(rules, fixed.rules, now.rules, token)
    return Rollout(state, states, token, now.lengths + going.astype(jnp.int32), ended), Trail(
        token, gains, None, prediction.attention if choose.options.attention else None
    )


def _result(last: Rollout, trail: Trail) -> Hypotheses:
    """Every place is its own parent, so that the trail is already along its hypotheses; only the ends are cut.

    A place that came to where no token was possible is empty, as in a beam.
    """
    times = jnp.arange(len(trail.tokens))[:, None, None]
    total = jnp.where(times < last.lengths, trail.token_log_probabilities, 0.0).sum(0)
    lengths = jnp.where(jnp.isneginf(total), 0, last.lengths)
    on = times < lengths
    tokens = jnp.where(on, trail.tokens, PAD)
    gains = jnp.where(on, trail.token_log_probabilities, 0.0)
    attention = None if trail.attention is None else jnp.where(on[..., None], trail.attention, 0.0)
    finished = last.finished & (lengths > 0)
    return Trail(tokens, gains, None, attention).hypotheses(lengths, finished, total, total)
