"""Which continuations fill a beam: the likeliest, group by group, and bank by bank where phrases are required."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from seq2seq.core.seams import END, Memory, State
from seq2seq.search.hypotheses import pick
from seq2seq.search.options import BeamOptions
from seq2seq.search.phrases import RequiredPhrases
from seq2seq.search.stepping import normaliser, top_k


class Chosen(NamedTuple):
    """The best continuations over all places, best first in each group, each (batch, beam)."""

    log_probabilities: Array
    tokens: Array
    gains: Array
    parents: Array


class Banks(NamedTuple):
    """Required phrases on their way: the rule with its Memory and its State (batch, beam, ...)."""

    rule: RequiredPhrases
    memory: Memory
    state: State

    def of(self, part: slice) -> Banks:
        """Those of a part of the places."""
        return self._replace(state=jax.tree.map(lambda leaf: leaf[:, part], self.state))

    def wanted(self) -> Array:
        """The tokens that each place wants next, (batch, beam, phrases), -1 for none."""
        return jax.vmap(self.rule.wanted, in_axes=(None, 1), out_axes=1)(self.memory, self.state)

    def number(self, ids: Array) -> Array:
        """The bank of each continuation `ids` (batch, beam, offered): required tokens that it would hold.

        END, possible only after all of them, counts as one more where a phrase is asked for: a hypothesis that could
        end is then tried as one that does. (Not in a beam of one place, which would never go on.)
        """

        def one(state: State, token: Array) -> Array:
            return self.rule.progress(self.memory, self.rule.step(self.memory, state, token))

        places = jax.vmap(one, in_axes=(1, 1), out_axes=1)
        there = jax.vmap(places, in_axes=(None, 2), out_axes=2)(self.state, ids)
        if ids.shape[1] == 1:
            return there
        return there + ((ids == END) & self.rule.asks(self.memory)[:, None, None]).astype(jnp.int32)


class _Offered(NamedTuple):
    """Continuations of each place, (batch, beam, offered)."""

    ids: Array
    gains: Array


def choose(
    logits: Array, possible: Array, log_probabilities: Array, options: BeamOptions, banks: Banks | None
) -> Chosen:
    """The `size` best of all continuations, in groups that keep away from those before them.

    A group chooses by log p - diversity * (how often groups before it chose this token at this step); what it chose
    is then known by its log p alone.

    Args:
        logits: (batch, beam, vocabulary) as the model gave them.
        possible: the same after all rules.
        log_probabilities: (batch, beam) of what is continued.
        options: how.
        banks: required phrases, if any.
    """
    width = options.size // options.groups
    penalty, found = None, []
    for first in range(0, options.size, width):
        part = slice(first, first + width)
        offered = _offer(logits[:, part], possible[:, part], penalty, options, banks and banks.of(part))
        chosen = _best(offered, log_probabilities[:, part], penalty, width, banks and banks.of(part))
        found.append(chosen._replace(parents=chosen.parents + first))
        if options.turned("diversity"):
            lost = jnp.where(jnp.isneginf(chosen.log_probabilities), 0.0, options.diversity)
            penalty = jnp.zeros_like(logits[:, 0]) if penalty is None else penalty
            penalty = jax.vmap(lambda row, ids, lost: row.at[ids].add(lost))(penalty, chosen.tokens, lost)
    return found[0] if len(found) == 1 else jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *found)


def _offer(
    logits: Array, possible: Array, penalty: Array | None, options: BeamOptions, banks: Banks | None
) -> _Offered:
    """The best of each place, by logit, and the tokens that required phrases want.

    Only what may be chosen is ever normalised. Each place offers as many more as there are banned ids, so that
    enough remain when those are struck out.
    """
    vocabulary = logits.shape[-1]
    ranked = possible if penalty is None else possible - penalty[:, None]
    count = min(options.size // options.groups + len(options.banned), vocabulary)
    values, ids = top_k(ranked, count)
    if penalty is not None:
        values = jnp.take_along_axis(possible, ids, axis=-1)
    if banks is not None:
        wanted = banks.wanted()
        known = (wanted >= 0) & (wanted < vocabulary)
        twice = jnp.tril(wanted[..., :, None] == wanted[..., None, :], -1).any(axis=-1)
        twice |= (wanted[..., :, None] == ids[..., None, :]).any(axis=-1)
        wanted = jnp.where(known, wanted, 0)
        more = jnp.where(known & ~twice, jnp.take_along_axis(possible, wanted, axis=-1), -jnp.inf)
        values, ids = jnp.concatenate([values, more], axis=-1), jnp.concatenate([ids, wanted], axis=-1)
    gains = values - normaliser(logits)[..., None]
    return _Offered(ids, jnp.where(jnp.isin(ids, jnp.array(options.banned, jnp.int32)), -jnp.inf, gains))


def _best(
    offered: _Offered, log_probabilities: Array, penalty: Array | None, width: int, banks: Banks | None
) -> Chosen:
    """The `width` best over all places: by what is left after the penalty, or in turns from each bank by that."""
    totals = log_probabilities[..., None] + offered.gains  # (batch, beam, offered)
    flat, each = (len(totals), -1), totals.shape[-1]
    ids, gains, totals = offered.ids.reshape(flat), offered.gains.reshape(flat), totals.reshape(flat)
    ranked = totals
    if penalty is not None:
        ranked = totals - jnp.take_along_axis(penalty, ids, axis=-1)
    if banks is None:
        _, at = lax.top_k(ranked, width)
    else:
        at = _in_turns(ranked, banks.number(offered.ids).reshape(flat))[:, :width]
    return Chosen(pick(totals, at), pick(ids, at), pick(gains, at), at // each)


def _in_turns(ranked: Array, bank: Array) -> Array:
    """(batch, all) where the best of each bank stand, then the second best of each, ...; fuller banks first.

    So each bank has as many places as any other, as long as it can fill them; what it cannot fill goes to the others,
    and the fullest bank always has one, so that required phrases come in time whatever the beam's size (but for a beam
    of less than four, which two phrases may keep busy that each begin anew with what goes on with the other).
    """
    bank = jnp.where(jnp.isneginf(ranked), -1, bank)  # the impossible comes last of all
    places = jnp.broadcast_to(jnp.arange(bank.shape[1]), bank.shape)
    minus_bank, _, places = lax.sort((-bank, -ranked, places), num_keys=2)
    first = jnp.concatenate([jnp.ones_like(bank[:, :1], bool), minus_bank[:, 1:] != minus_bank[:, :-1]], axis=1)
    here = jnp.arange(bank.shape[1])
    turn = here - lax.cummax(jnp.where(first, here, 0), axis=1)
    turn = jnp.where(minus_bank == 1, bank.shape[1] + here, turn)
    return lax.sort((turn, minus_bank, places), num_keys=2)[2]
