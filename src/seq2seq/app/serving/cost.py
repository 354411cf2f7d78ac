"""What a request may cost, known before anything is computed for it: target tokens, and weights of attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.demands import demands_of_lines, ids_of_prefix, limits
from seq2seq.app.listening import Listening
from seq2seq.app.serving import requests
from seq2seq.app.serving.refusals import RefusedError
from seq2seq.app.text_model import TextModel

LISTENING_ITEMS = 50
"""Items of a listening report whose candidates are scored."""
MOST_WEIGHTS = 1 << 22
"""Of attention in one answer: some seven bytes of JSON each."""


class Cost(NamedTuple):
    """What a request takes at most.

    Attributes:
        tokens: target tokens that are computed: hypotheses times the longest output, of all inputs together.
        weights: of attention, that the longest outputs would have.
        at: the JSON pointer of what asks for these.
    """

    tokens: int = 0
    weights: int = 0
    at: str = ""

    def check(self, most_tokens: int) -> None:
        """Refuse what costs too much.

        Raises:
            RefusedError: 422, more than `most_tokens`, or than an answer may hold of attention.

        Example:
            >>> Cost(tokens=2_000_000).check(1_000_000)  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            seq2seq.app.serving.refusals.RefusedError: the request may take 2,000,000 target tokens; this server ...
        """
        if self.tokens > most_tokens:
            raise RefusedError(
                422,
                f"the request may take {self.tokens:,} target tokens; this server gives {most_tokens:,}, or what "
                "--max-tokens says: send fewer or shorter texts, or ask for a smaller beam or max_length.",
                "",
            )
        if self.weights > MOST_WEIGHTS:
            raise RefusedError(
                422,
                f"the request may take {self.weights:,} weights of attention; wanted at most {MOST_WEIGHTS:,}: leave "
                "attention out, send fewer or shorter texts, or ask for a smaller beam or max_length.",
                self.at,
            )


def of_generate(text: TextModel, asked: requests.Generate) -> Cost:
    """That of a search."""
    options, tokenizer = asked.options, text.target_tokenizer
    lengths = _lengths(text, asked.inputs)
    demands = demands_of_lines(options, tokenizer, len(lengths), asked.prefixes)
    lines = np.flatnonzero(lengths).tolist()
    lengths = lengths[lines]
    room = limits(text.settings.limit(lengths), [demands[line] for line in lines], options, lines, tokenizer)
    width = max(options.found, 1 if options.sample else options.beam)
    tokens = width * int(room.sum(dtype=np.int64))
    look = (asked.attention or options.replace_unknown) and text.gives_attention
    at = "/attention" if asked.attention else "/options/replace_unknown"
    return Cost(tokens, width * int((room * lengths).sum()) if look else 0, at)


def of_next(text: TextModel, asked: requests.Next) -> Cost:
    """That of one token, which is little.

    Raises:
        SearchError: a prefix that no output has.
    """
    ids_of_prefix(text.target_tokenizer, asked.prefix, 1)
    return Cost()


def of_score(text: TextModel, asked: requests.Score) -> Cost:
    """That of forced targets."""
    return Cost(int(_targets(text, asked.pairs).sum()))


def of_alignments(text: TextModel, asked: requests.Alignments) -> Cost:
    """That of forced targets whose attention is told."""
    targets, sources = _targets(text, asked.pairs), _lengths(text, [source for source, _ in asked.pairs])
    return Cost(int(targets.sum()), int((targets * sources).sum()), "/pairs")


def of_listen(text: TextModel, asked: requests.Listen) -> Cost:
    """That of the report; outputs are taken to be as long as they may be."""
    outputs = text.settings.limit(_lengths(text, [source for source, _ in asked.pairs]))
    longest = np.maximum(outputs, _targets(text, asked.pairs))
    return Cost(round(Listening(LISTENING_ITEMS).pairs_to_score(len(longest)) * float(longest.mean())))


def _lengths(text: TextModel, inputs: Sequence[str]) -> NDArray[np.int64]:
    """Tokens of each source with its end; none of an empty one."""
    ids = text.source_tokenizer.encode_batch(text.sources(inputs))
    return np.array([len(tokens) + 1 if tokens else 0 for tokens in ids], np.int64)


def _targets(text: TextModel, pairs: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    ids = text.target_tokenizer.encode_batch(target for _, target in pairs)
    return np.array([len(tokens) + 1 for tokens in ids], np.int64)
