"""The table of what can be asked: paths, bodies, answers and what computes them. The server and OpenAPI read it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from seq2seq.app.pictures.projection import LEAST_TEXTS
from seq2seq.app.serving import answers, cost, requests
from seq2seq.app.serving.cost import Cost
from seq2seq.app.serving.refusals import RefusedError
from seq2seq.app.serving.shapes import Table, table
from seq2seq.app.serving.work import Served
from seq2seq.app.streaming import Streamed
from seq2seq.app.text_model import TextModel
from seq2seq.errors import SearchError


def _little(text: TextModel, asked: Any) -> Cost:
    """What the bounds of its texts keep small enough."""
    return Cost()


def _one_group(asked: Any) -> Hashable:
    return ()


def _how(asked: requests.Generate) -> Hashable:
    """Requests of one such value share a call: equal options; the seed is each row's own."""
    return replace(asked.options, seed=0), asked.attention, asked.prefixes is not None


def _what(asked: requests.Listen) -> Hashable:
    """The report is scored in shapes of its very pairs."""
    return asked.pairs


def _anything(asked: Any) -> None:
    """Whatever has the right shape will do."""


def _check_generate(asked: requests.Generate) -> None:
    if asked.prefixes is not None and len(asked.prefixes) != len(asked.inputs):
        message = (
            f"/prefixes has {len(asked.prefixes)} items for {len(asked.inputs)} inputs; wanted one each, '' for any."
        )
        raise RefusedError(422, message, "/prefixes")
    try:
        asked.options.check()
    except SearchError as error:
        raise RefusedError(422, str(error), "/options") from None


def _check_embed(asked: requests.Embed) -> None:
    if asked.plane and len(asked.inputs) < LEAST_TEXTS:
        message = f"/inputs has {len(asked.inputs)} items; a map needs {LEAST_TEXTS} or more."
        raise RefusedError(422, message, "/inputs")
    blank = next((n for n, text in enumerate(asked.inputs) if not text.strip()), None)
    if asked.plane and blank is not None:
        raise RefusedError(422, f"/inputs/{blank} is blank; a map has no place for it.", f"/inputs/{blank}")
    if asked.plane == "tsne" and find_spec("sklearn") is None:
        message = (
            "/plane tsne needs scikit-learn where the server runs: pip install 'seq2seq-jax[plot]'; pca does without."
        )
        raise RefusedError(422, message, "/plane")


class Operation(NamedTuple):
    """One path.

    Attributes:
        path: where to post.
        body: what to post.
        answer: what comes back, beside the model's name.
        work: what computes it: `Work`, but for `STREAM`.
        size: inputs in a request.
        cost: what it takes at most.
        group: requests of equal groups share a call.
        check: refuses what has the right shape and makes no sense.
        media: of the answer.
    """

    path: str
    body: Table
    answer: type
    work: Callable[[Served], Callable[[Any], Any]]
    size: Callable[[Any], int]
    cost: Callable[[TextModel, Any], Cost] = _little
    group: Callable[[Any], Hashable] = _one_group
    check: Callable[[Any], None] = _anything
    media: str = "application/json"


def _pairs(asked: Any) -> int:
    return len(asked.pairs)


def _inputs(asked: Any) -> int:
    return len(asked.inputs)


OPERATIONS = (
    Operation(
        "/generate",
        table(requests.Generate),
        answers.Generated,
        lambda m: m.generate,
        _inputs,
        cost.of_generate,
        _how,
        _check_generate,
    ),
    Operation("/next", table(requests.Next), answers.Nexts, lambda m: m.next, lambda _: 1, cost.of_next),
    Operation("/score", table(requests.Score), answers.Scores, lambda m: m.score, _pairs, cost.of_score),
    Operation("/embed", requests.EMBED, answers.Vectors, lambda m: m.embed, _inputs, check=_check_embed),
    Operation(
        "/alignments", table(requests.Alignments), answers.Alignment, lambda m: m.align, _pairs, cost.of_alignments
    ),
    Operation("/listening", table(requests.Listen), answers.Heard, lambda m: m.listen, _pairs, cost.of_listen, _what),
)
STREAM = Operation(
    "/stream",
    table(requests.Stream),
    Streamed,
    lambda m: m.stream,
    lambda _: 1,
    media="text/event-stream",
)
"""Its answer comes in parts, each an event; `work` takes one request, and gives them one after the other."""
