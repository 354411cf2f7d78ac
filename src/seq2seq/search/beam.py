"""Beam search: batched, compiled, equal to brute force when the beam is wide enough.

What is searched for. A hypothesis with log-probability `log p` and `length` tokens, END counted, has the score

    score = log p / norm(length) + coverage        (Wu et al. 2016, equation 14)
    norm(length) = length ** alpha   or   ((5 + length) / 6) ** alpha
    coverage = beta * sum over source tokens i of log(clip(sum over t of attention[t, i], 1e-30, 1))

and a finished hypothesis (one that ends with END) ranks before every one that was cut off at its row's limit;
otherwise the higher score ranks first. Rules say what may be generated at all.

How. At each step the `size` likeliest continuations of all places of the beam are chosen by log p, END among them.
Those that end leave the beam and compete, by score, for the n-best list; the others fill the next beam. A row stops at
its limit, when nothing is left to continue, or when it is certain that nothing to come can enter its n-best list.
Since that stop only ever spares steps that could change nothing, neither n-best nor batch mates change the best
hypothesis. `choosing` tells how required phrases share out the places, and how groups keep away from each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from seq2seq.core.seams import END, Memory, Searchable, State
from seq2seq.errors import SearchError
from seq2seq.search import slots
from seq2seq.search.checking import name_of
from seq2seq.search.choosing import Banks, choose
from seq2seq.search.ended import Ended, settled, take_in
from seq2seq.search.feasible import check_rules
from seq2seq.search.hypotheses import Hypotheses, Trail, pick
from seq2seq.search.options import BeamOptions
from seq2seq.search.phrases import RequiredPhrases
from seq2seq.search.rules import Rule, Work, after, begin_rules, masked
from seq2seq.search.stepping import advance, begin, check_rows, room, used


class Fixed(NamedTuple):
    """What never changes: Memory of the model and of the rules; limit (batch,); on (batch, source), or None."""

    memory: Memory
    rules: Work
    limit: Array
    on: Array | None


class Beams(NamedTuple):
    """What changes with each step. State leaves are (batch, beam, ...).

    Attributes:
        token: (batch, beam) the last token of each place.
        log_probabilities: (batch, beam) of each hypothesis that goes on; minus infinity in an empty place.
        ended: what has ended.
        done: (batch,) rows whose answer is settled; what their places do from then on is never read.
        rules: the States of the rules, leaves (batch, beam, ...).
        coverage: (batch, beam, source) attention summed over the steps; None where it does not count.
    """

    state: State
    token: Array
    log_probabilities: Array
    ended: Ended
    done: Array
    rules: Work
    coverage: Array | None


def beam(
    model: Searchable,
    source: ArrayLike,
    lengths: ArrayLike,
    limit: ArrayLike,
    options: BeamOptions | None = None,
    rules: Sequence[Rule] = (),
) -> Hypotheses:
    """The hypotheses with the highest `log p / norm(length) + coverage` that the beam finds, best first.

    Finished hypotheses come first; where a row has fewer than nbest, those cut off at its limit follow, by score.

    Args:
        model: anything with `start` and `step`.
        source: (source, batch) ids, 0 on padding.
        lengths: (batch,) tokens in each source; 0 for a row that only fills the batch up.
        limit: (batch,) the most target tokens of each row, END counted; at most `options.max_length`.
        options: how to search; compiled once for all values of a penalty or of the diversity but the default.
        rules: what may be generated; compiled once for each shape. Only finished hypotheses are sure to have all that
            is required; none has what is banned.

    Raises:
        ShapeError: arrays that do not fit each other, or a model's step that does not keep its state's shapes.
        SearchError: rules that nothing can keep, or a coverage penalty for a model without attention.

    Example:
        >>> from seq2seq.core.seams import Prediction
        >>> from seq2seq.search import MinimumLength
        >>> @jax.tree_util.register_static
        ... class Spell:  # 4, then 5, then END, most likely
        ...     def start(self, source, lengths):
        ...         return (), jnp.zeros_like(lengths)
        ...     def step(self, memory, state, token):
        ...         return state + 1, Prediction(9.0 * jax.nn.one_hot(jnp.array([4, 5, END])[state], 6))
        >>> options = BeamOptions(size=4, nbest=2, length_penalty=0.0, max_length=5)
        >>> found = beam(Spell(), [[7]], [1], [4], options)
        >>> found.tokens.tolist()
        [[[4, 5, 3, 0, 0], [3, 0, 0, 0, 0]]]
        >>> found.lengths.tolist(), found.finished.tolist()
        ([[3, 1]], [[True, True]])
        >>> beam(Spell(), [[7]], [1], [4], options, [MinimumLength(2)]).lengths.tolist()
        [[3, 2]]
    """
    options = options or BeamOptions()
    rows = check_rows("beam", source, lengths=lengths, limit=limit)
    check_rules("beam", rules, rows[1], rows[2], options.max_length, options.banned)
    return _beam(model, *rows, options, tuple(rules))


@jax.jit
def _beam(
    model: Searchable, source: Array, lengths: Array, limit: Array, options: BeamOptions, rules: tuple[Rule, ...]
) -> Hypotheses:
    limit = room(lengths, limit, options.max_length)
    found, on = _explore(model, (source, lengths, limit), options, rules)
    return _read_back(found, limit, on, options)


def _explore(
    model: Searchable, rows: tuple[Array, Array, Array], options: BeamOptions, rules: tuple[Rule, ...]
) -> tuple[slots.Outcome, Array | None]:
    """What the loop leaves, and where real source tokens are, if coverage counts."""
    fixed, first, trail = _first(model, rows, options, rules)

    def step(fixed: Fixed, now: Beams, time: Array) -> tuple[Beams, Trail]:
        return _extend((model, rules), fixed, options, now, time)

    lengths = rows[1]
    at_once = options.slots or len(lengths)
    found = slots.run(step, lambda _, now: now.done, (fixed, first), trail, used(lengths), at_once)
    return found, fixed.on


def _first(
    model: Searchable, rows: tuple[Array, Array, Array], options: BeamOptions, rules: tuple[Rule, ...]
) -> tuple[Fixed, Beams, Trail]:
    """What is fixed, and beams in which the first place of each group holds the empty hypothesis of log p 0."""
    source, lengths, limit = rows
    memory, state, token, positions = begin(model, source, lengths, options.size, options.slots or len(lengths))
    given, states = begin_rules(rules, len(lengths), options.size, options.max_length)
    on = coverage = None
    if options.turned("coverage_penalty"):
        if positions is None:
            found = f"{name_of(model)} gives no attention"
            raise SearchError(f"beam: the coverage penalty is above 0, but {found}; leave it at 0.")
        on = jnp.arange(positions) < lengths[:, None]
        coverage = jnp.zeros((*token.shape, positions), jnp.float32)
    first = jnp.arange(options.size) % (options.size // options.groups) == 0
    only = jnp.arange(options.size) == 0  # a row that has nothing to say says so once
    empty = jnp.where(limit[:, None] > 0, first, only)
    ended = Ended.none(len(limit), options)
    beams = Beams(state, token, jnp.where(empty, 0.0, -jnp.inf), ended, limit <= 0, states, coverage)
    trail = Trail.empty(options.max_length, token.shape, positions if options.attention else None)
    return Fixed(memory, given, limit, on), beams, trail


def _extend(
    how: tuple[Searchable, tuple[Rule, ...]], fixed: Fixed, options: BeamOptions, now: Beams, time: Array
) -> tuple[Beams, Trail]:
    """One step of every row: predict, choose, take out what ended, see which rows are done."""
    model, rules = how
    state, prediction = advance(model, fixed.memory, now.state, now.token)
    possible = masked(rules, fixed.rules, now.rules, prediction.logits)
    banks = _banks(rules, fixed, now)
    chosen = choose(prediction.logits, possible, now.log_probabilities, options, banks)
    open_rows = ~now.done[:, None]
    coverage = None
    if now.coverage is not None and prediction.attention is not None:
        coverage = pick(now.coverage + prediction.attention, chosen.parents)
        coverage = jnp.where(open_rows[..., None], coverage, now.coverage)
    ends = chosen.tokens == END
    ended = take_in(now.ended, chosen, ends & open_rows, (time[:, None] + 1, coverage, fixed.on), options)
    going = jnp.where(ends, -jnp.inf, chosen.log_probabilities)
    going = jnp.where(open_rows, going, now.log_probabilities)
    at_limit, certain = time + 1 >= fixed.limit, settled(going, ended, fixed.limit, options)
    # What still goes on in a row that stops early has no whole length: it is nobody's cut-off hypothesis.
    going = jnp.where((open_rows[:, 0] & certain & ~at_limit)[:, None], -jnp.inf, going)
    done = now.done | at_limit | certain
    state, states = jax.tree.map(lambda leaf: pick(leaf, chosen.parents), (state, now.rules))
    states = after(rules, fixed.rules, states, chosen.tokens)
    beams = Beams(state, chosen.tokens, going, ended, done, states, coverage)
    attention = prediction.attention if options.attention else None
    return beams, Trail(chosen.tokens, chosen.gains, chosen.parents, attention)


def _banks(rules: tuple[Rule, ...], fixed: Fixed, now: Beams) -> Banks | None:
    """Required phrases, if there are any."""
    for rule, memory, state in zip(rules, fixed.rules, now.rules, strict=True):
        if isinstance(rule, RequiredPhrases):
            return Banks(rule, memory, state)
    return None


def _read_back(found: slots.Outcome, limit: Array, on: Array | None, options: BeamOptions) -> Hypotheses:
    """The n best finished hypotheses, then those cut off, followed back from their last tokens to their first."""
    last: Beams = found.now
    _, best = lax.top_k(last.ended.scores, options.nbest)
    ended = jax.tree.map(lambda leaf: pick(leaf, best), last.ended)
    missed = options.coverage(last.coverage, on)
    scores = last.log_probabilities / options.divisors()[limit][:, None] + jnp.where(limit[:, None] > 0, missed, 0.0)
    scores, places = lax.top_k(scores, options.nbest)
    lengths = jnp.where(jnp.isneginf(scores), 0, limit[:, None])
    unfinished = Ended(scores, pick(last.log_probabilities, places), lengths, places)
    both = jax.tree.map(lambda old, now: jnp.concatenate([old, now], axis=1), ended, unfinished)
    have = (ended.scores > -jnp.inf).sum(axis=1, keepdims=True)
    rank = jnp.arange(options.nbest)
    finished = rank < have
    best = jax.tree.map(lambda leaf: pick(leaf, jnp.where(finished, rank, options.nbest + rank - have)), both)
    trail = found.trail.follow(best.lengths, best.places)
    return trail.hypotheses(best.lengths, finished, best.scores, best.log_probabilities)
