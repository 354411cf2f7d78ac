"""What every search promises for every model with `start` and `step`, in one call: `check_search_contract`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from contract.toy_models import rules_of
from jax import Array

from seq2seq.core.seams import BEGIN, END, PAD, Searchable
from seq2seq.search import BeamOptions, Hypotheses, SampleOptions, SearchOptions, beam, greedy, line_keys, sample, score
from seq2seq.search.feasible import Demands

LENGTH = 7
Search = Callable[..., Hypotheses]
"""(source, lengths, limit, line numbers, slots=None) -> hypotheses, the model being given."""


def searches(model: Searchable) -> dict[str, Search]:
    """Every search over `model`, with attention asked for."""
    wide = BeamOptions(size=4, nbest=4, max_length=LENGTH, attention=True)
    ruled = BeamOptions(size=4, nbest=2, groups=2, diversity=0.3, max_length=LENGTH, attention=True)
    drawn = SampleOptions(samples=3, temperature=0.9, top_k=5, top_p=0.95, max_length=LENGTH, attention=True)

    def search_greedily(s: Array, n: Array, limit: Array, lines: Array, slots: int | None = None) -> Hypotheses:
        return greedy(model, s, n, limit, SearchOptions(max_length=LENGTH, attention=True, slots=slots))

    def search_beam(s: Array, n: Array, limit: Array, lines: Array, slots: int | None = None) -> Hypotheses:
        return beam(model, s, n, limit, replace(wide, slots=slots))

    def draw(s: Array, n: Array, limit: Array, lines: Array, slots: int | None = None) -> Hypotheses:
        return sample(model, s, n, limit, line_keys(3, lines), replace(drawn, slots=slots))

    def search_under_rules(s: Array, n: Array, limit: Array, lines: Array, slots: int | None = None) -> Hypotheses:
        rules = rules_of([demands_of_line(*row) for row in zip(lines.tolist(), limit.tolist(), strict=True)], 3)
        return beam(model, s, n, limit, replace(ruled, slots=slots), rules)

    return {"greedy": search_greedily, "beam": search_beam, "sample": draw, "rules": search_under_rules}


def demands_of_line(line: int, limit: int) -> Demands:
    """What is asked of a line: now this and now that, if there is room for it."""
    return Demands(
        minimum=min(limit, 2 + line % 3),
        prefix=((5,), (), ())[line % 3] if limit > 2 else (),
        banned=((4, 5), (5,))[line % 2 :][: line % 3] if line % 3 else (),
        required=((4, 4),) if line % 2 and limit > 4 else (),
    )


def check_search_contract(model: Searchable, source: Array, lengths: Array, *names: str) -> None:
    """Check all promises that need no knowledge of the model, of the searches `names` or of all.

    At least three sources, of length 1 or more.
    """
    source, lengths = jnp.asarray(source, jnp.int32), jnp.asarray(lengths, jnp.int32)
    limit = jnp.asarray([LENGTH - i % 3 for i in range(len(lengths))])
    for name, search in searches(model).items():
        if names and name not in names:
            continue
        found = search(source, lengths, limit, jnp.arange(len(lengths)))
        check_well_formed(found, lengths, limit)
        check_forced_scores(model, source, lengths, found)
        check_company_changes_nothing(search, source, lengths, limit, found)
        if name == "beam" and not names:
            check_beams_agree(model, source, lengths, limit, found)


def check_well_formed(found: Hypotheses, lengths: Array, limit: Array) -> None:
    """Shapes, END and PAD where they belong, limits, sums, order, attention."""
    tokens, size = np.asarray(found.tokens), np.asarray(found.lengths)
    on = np.arange(tokens.shape[-1]) < size[..., None]
    assert (tokens[~on] == PAD).all() and (np.asarray(found.token_log_probabilities)[~on] == 0).all()
    assert not np.isin(tokens[on], (PAD, BEGIN)).any()
    last = np.take_along_axis(tokens, np.maximum(size - 1, 0)[..., None], -1)[..., 0]
    assert ((last == END) == np.asarray(found.finished)).all()
    assert ((tokens == END).sum(-1) == np.asarray(found.finished)).all()
    real = np.isfinite(found.log_probabilities)
    assert real[:, 0].all() and (size <= np.asarray(limit)[:, None]).all()
    assert (np.asarray(found.finished) | ~real | (size == np.asarray(limit)[:, None])).all()
    sums = np.asarray(found.token_log_probabilities).sum(-1)
    np.testing.assert_allclose(sums[real], np.asarray(found.log_probabilities)[real], atol=1e-5)
    if found.attention is not None:
        mass = np.asarray(found.attention).sum(-1)
        np.testing.assert_allclose(mass, on, atol=1e-5)
        beyond = np.arange(found.attention.shape[-1]) >= np.asarray(lengths)[:, None]
        assert (np.moveaxis(np.asarray(found.attention), -1, 1)[beyond] == 0).all()


def check_forced_scores(model: Searchable, source: Array, lengths: Array, found: Hypotheses) -> None:
    """What a search says of its tokens is what forced decoding says of them."""
    for place in range(found.tokens.shape[1]):
        out = found.tokens[:, place].T
        given = jnp.concatenate([jnp.full((1, out.shape[1]), BEGIN, out.dtype), out[:-1]])
        mask = jnp.arange(len(out))[:, None] < found.lengths[:, place]
        forced = score(model, source, lengths, given, out, mask)
        np.testing.assert_allclose(forced.T, found.token_log_probabilities[:, place], atol=1e-5)


def check_company_changes_nothing(
    search: Search, source: Array, lengths: Array, limit: Array, found: Hypotheses
) -> None:
    """Another order, padding columns, filler rows, two slots, no batch mates at all: each line's answer stays."""
    rows = jnp.arange(len(lengths))[::-1]
    padding, fillers = jnp.zeros((2, len(rows)), jnp.int32), jnp.zeros((len(source) + 2, 2), jnp.int32)
    crowd = jnp.concatenate([jnp.concatenate([source[:, rows], padding]), fillers], axis=1)
    more = jnp.zeros(2, jnp.int32)
    among = search(
        crowd,
        jnp.concatenate([lengths[rows], more]),
        jnp.concatenate([limit[rows], more + LENGTH]),
        jnp.concatenate([rows, more + 99]),
        slots=2,
    )
    for here, there in enumerate(rows.tolist()):
        same_row(among, here, found, there)
    for filler in (-2, -1):
        nothing_said(among, filler)
    only = jnp.arange(len(lengths)) == 1
    alone = search(jnp.where(only, source, 0), jnp.where(only, lengths, 0), limit, jnp.arange(len(lengths)))
    same_row(alone, 1, found, 1)
    nothing_said(alone, 0)
    silent = search(source * 0, lengths * 0, limit, jnp.arange(len(lengths)))
    nothing_said(silent, 1)


def same_row(a: Hypotheses, i: int, b: Hypotheses, j: int) -> None:
    """Row i of a and row j of b agree to 1e-5, whatever the width of the source."""
    np.testing.assert_array_equal(a.tokens[i], b.tokens[j])
    np.testing.assert_array_equal(a.finished[i], b.finished[j])
    for x, y in ((a.scores, b.scores), (a.token_log_probabilities, b.token_log_probabilities)):
        np.testing.assert_allclose(x[i], y[j], atol=1e-5)
    if a.attention is not None and b.attention is not None:
        width = min(a.attention.shape[-1], b.attention.shape[-1])
        np.testing.assert_allclose(a.attention[i][..., :width], b.attention[j][..., :width], atol=1e-5)


def nothing_said(found: Hypotheses, row: int) -> None:
    """A filler row has one empty hypothesis and no NaN."""
    assert not np.asarray(found.tokens[row]).any() and not np.asarray(found.lengths[row]).any()
    assert not np.asarray(found.finished[row]).any()
    assert found.scores[row][0] == 0 == found.log_probabilities[row][0]
    assert not np.isnan(found.scores[row]).any() and not np.asarray(found.token_log_probabilities[row]).any()


def check_beams_agree(model: Searchable, source: Array, lengths: Array, limit: Array, many: Hypotheses) -> None:
    """A beam of one is greedy search, and n-best (here `many`, of all places) changes nothing of the best."""
    options = BeamOptions(size=1, length_penalty=0.0, max_length=LENGTH, attention=True)
    narrow = beam(model, source, lengths, limit, options)
    one = greedy(model, source, lengths, limit, SearchOptions(max_length=LENGTH, attention=True))
    best = beam(model, source, lengths, limit, BeamOptions(size=many.tokens.shape[1], max_length=LENGTH))
    for row in range(len(lengths)):
        same_row(narrow, row, one, row)
        np.testing.assert_array_equal(best.tokens[row, 0], many.tokens[row, 0])
        np.testing.assert_array_equal(best.scores[row, 0], many.scores[row, 0])
        ranked = np.asarray(many.scores[row])
        for kind in (many.finished[row], ~many.finished[row]):
            assert (np.diff(ranked[np.asarray(kind) & np.isfinite(ranked)]) <= 0).all()
        assert (np.diff(np.asarray(many.finished[row]).astype(int)) <= 0).all()
