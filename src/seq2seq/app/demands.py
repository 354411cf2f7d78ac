"""From the words of the options to the rules of a search: lengths, phrases and prefixes, as ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.decoding import QUEUE, Decoding
from seq2seq.core.seams import UNKNOWN
from seq2seq.data import Tokenizer
from seq2seq.errors import AttentionSizeError, SearchError
from seq2seq.search import BannedPhrases, MinimumLength, NoRepeat, Prefix, RequiredPhrases, Rule
from seq2seq.search.feasible import Demands, refuse

_MOST_WEIGHTS = 1 << 26  # of attention in one search: 256 MiB, and as much again for padding
_MOST_PLACES = 1 << 26  # of tokens in one search, some 16 bytes each
_MORE = 10
"""Tokens that an output may have beyond the fewest that do what is asked, if those are more than the limit."""


def demands_of_lines(
    decoding: Decoding, tokenizer: Tokenizer, count: int, prefixes: Sequence[str] | None = None, first_line: int = 0
) -> list[Demands]:
    """What the options ask of each of `count` lines.

    Raises:
        SearchError: a text that the model cannot write, or as many prefixes as there are no lines.

    Example:
        >>> letters = Tokenizer.train("character", ["abc"])
        >>> demands_of_lines(Decoding(ban=("ab",)), letters, 2, ["a", ""])[0]
        Demands(prefix=(4,), required=(), banned=((4, 5),), minimum=0, no_repeat=())
    """
    if prefixes is not None and len(prefixes) != count:
        raise SearchError(f"there are {len(prefixes)} prefixes for {count} inputs; wanted one each, '' for none.")
    known = min(tokenizer.size, decoding.shortlist or tokenizer.size)
    banned = [_ids(tokenizer, text, "--ban", tokenizer.size) for text in decoding.ban]
    required = [_ids(tokenizer, text, "--require", known) for text in decoding.require]
    every = Demands(
        required=tuple(required),
        banned=tuple(banned),
        minimum=decoding.min_length,
        no_repeat=() if decoding.no_repeat_ngram is None else (decoding.no_repeat_ngram,),
    )
    if prefixes is None:
        return [every] * count
    several = enumerate(prefixes, first_line + 1)
    return [every._replace(prefix=ids_of_prefix(tokenizer, prefix, line, known)) for line, prefix in several]


def limits(
    automatic: NDArray[np.int32],
    demands: Sequence[Demands],
    decoding: Decoding,
    lines: Sequence[int],
    tokenizer: Tokenizer,
) -> NDArray[np.int32]:
    """The most tokens of each row: --max-length, or what the source suggests, or what is asked for needs.

    Raises:
        SearchError: what is asked of a line is impossible.
    """
    found = automatic.copy()
    for row, (asked, line) in enumerate(zip(demands, lines, strict=True)):
        if decoding.max_length is not None:
            found[row] = decoding.max_length
        elif asked.least > 1:  # more than an end
            found[row] = max(found[row], asked.least + _MORE)
        refuse(f"line {line + 1}", asked, int(found[row]), tokenizer.decode)
    return found


def rows_with_tokens(places: int, most: int, batch: int) -> int:
    """How many rows may be searched at once, at most `batch`, where each has so many places of `most` tokens or fewer.

    Example:
        >>> rows_with_tokens(5, 100, 64), rows_with_tokens(5, 1_000_000, 64)
        (64, 1)
    """
    rows = max(1, _MOST_PLACES // (QUEUE * max(1, places * most)))
    return min(batch, 1 << (rows.bit_length() - 1))


def rows_with_attention(weights: Sequence[int], lines: Sequence[int], batch: int) -> int:
    """How many rows may be searched at once, at most `batch`, where the attention of each may be so many weights.

    Raises:
        AttentionSizeError: that of one row is more than memory should hold.

    Example:
        >>> rows_with_attention([100_000, 2_000_000], [0, 1], 64)
        4
    """
    most = max(weights, default=1)
    if most > _MOST_WEIGHTS:
        line = lines[max(range(len(weights)), key=weights.__getitem__)] + 1
        raise AttentionSizeError(
            f"line {line}: its attention could be {most:,} weights, which is more than {_MOST_WEIGHTS:,}; leave out "
            "what needs attention (--json, --replace-unknown), or give a smaller --beam or --max-length."
        )
    rows = max(1, _MOST_WEIGHTS // (QUEUE * max(1, most)))
    return min(batch, 1 << (rows.bit_length() - 1))


def rules_of(demands: Sequence[Demands], rows: int, prefixes: bool) -> tuple[Rule, ...]:
    """The rules that ask for this, of a batch whose rows after `demands` only fill it up."""
    if not demands or not any((*demands[0][1:], prefixes)):
        return ()
    every, rules = demands[0], list[Rule]()
    if every.minimum > 1:
        rules.append(MinimumLength(np.int32(every.minimum)))
    if prefixes:
        rules.append(Prefix.of([*(asked.prefix for asked in demands), *[()] * (rows - len(demands))]))
    if every.banned:
        rules.append(BannedPhrases.of(every.banned))
    if every.required:
        rules.append(RequiredPhrases.of(every.required))
    return (*rules, *map(NoRepeat, every.no_repeat))


def ids_of_prefix(tokenizer: Tokenizer, text: str, line: int, known: int | None = None) -> tuple[int, ...]:
    """The ids that the outputs of a line begin with, none for "" or, where they are no tokens, spaces; `known` as many
    as may be generated.

    Raises:
        SearchError: the model cannot write it, or writes the beginning last.

    Example:
        >>> ids_of_prefix(Tokenizer.train("character", ["a b"]), " a", 1)
        (4, 5)
        >>> ids_of_prefix(Tokenizer.train("word", ["a b"]), " ", 1)
        ()
    """
    if text and tokenizer.right_to_left:
        raise SearchError(
            f"the prefix of line {line}: this model writes from right to left and has no beginning to go on from; "
            "leave it out, or ask for it anywhere by --require.",
            line,
        )

    if not text.strip() and not tokenizer.encode(text):
        return ()
    try:
        return _ids(tokenizer, text, f"the prefix of line {line}", known or tokenizer.size)
    except SearchError as error:
        raise SearchError(str(error), line) from None


def _ids(tokenizer: Tokenizer, text: str, where: str, known: int) -> tuple[int, ...]:
    ids: list[Any] = tokenizer.encode(text)
    if not ids:
        raise SearchError(f"{where} {text!r} has no piece of text in it; give it one, or leave it out.")
    for token in ids:
        if token == UNKNOWN:
            missing = next(piece for piece in tokenizer.pieces(text) if UNKNOWN in tokenizer.encode(piece))
            raise SearchError(f"{where} {text!r} has {missing!r}, which is not in the model's vocabulary.")
        if token >= known:
            raise SearchError(f"{where} {text!r} has {tokenizer.token(token)!r}, which is not in --shortlist {known}.")
    return tuple(ids)
