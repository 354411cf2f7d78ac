"""What a model does not know: told, or replaced by the source tokens that it looked at (Jean et al. 2015, section 3.4;
Luong 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.core.seams import BEGIN, END, PAD, UNKNOWN
from seq2seq.data import Tokenizer
from seq2seq.data.tokenizer import OF_BYTES
from seq2seq.errors import SearchError


def check_replaceable(source: Tokenizer, target: Tokenizer) -> None:
    """Refuse tokenizers of bytes, to which no text is unknown.

    Raises:
        SearchError: one of them is bpe or unigram.
    """
    for side, tokenizer in (("source", source), ("target", target)):
        if tokenizer.kind in OF_BYTES:
            raise SearchError(
                f"--replace-unknown copies whole tokens, but the {side} is cut by {tokenizer.kind}, "
                "to which nothing is unknown; leave it out."
            )


def with_copies(tokenizer: Tokenizer, ids: Sequence[int], attention: NDArray[np.float32], pieces: Sequence[str]) -> str:
    """The text of `ids`, each `UNKNOWN` being the source piece with the largest attention, the first among equals.

    Args:
        tokenizer: of the target.
        ids: the output, END last or cut off.
        attention: (tokens, source): the source's own END, which is no text, may follow the pieces.
        pieces: the text of each source token.

    Example:
        >>> words = Tokenizer.train("word", ["in the land of"])
        >>> with_copies(words, [*words.encode("in"), UNKNOWN, END], np.eye(3, dtype=np.float32), ["to", "Ur"])
        'in Ur'
    """

    def text(token: int, weights: NDArray[Any]) -> str:
        if token == UNKNOWN and pieces:
            return pieces[int(weights[: len(pieces)].argmax())]
        return tokenizer.token(token)

    kept = [(token, row) for token, row in zip(ids, attention, strict=True) if token not in (PAD, BEGIN, END)]
    return tokenizer.join(tokenizer.in_order([text(token, row) for token, row in kept]))


def unlike_training(tokenizer: Tokenizer, sources: Sequence[str], longest: int) -> dict[str, tuple[int, str]]:
    """What a model cannot have learnt of sources: of each kind (`long`, `unknown`) the first, by its index, in words.

    Args:
        tokenizer: of the source.
        sources: as the model reads them.
        longest: tokens of the longest source in training, its end counted.

    Example:
        >>> unlike_training(Tokenizer.train("character", ["abc"]), ["abc", "xab"], 4)
        {'unknown': (1, "'x', which the model does not know")}
    """
    found: dict[str, tuple[int, str]] = {}
    for index, ids in enumerate(tokenizer.encode_batch(sources)):
        if len(ids) >= longest and "long" not in found:
            found["long"] = index, f"more tokens ({len(ids):,}) than any source in training ({longest - 1:,})"
        if UNKNOWN in ids and "unknown" not in found:
            piece = tokenizer.pieces(sources[index])[ids.index(UNKNOWN)]
            found["unknown"] = index, f"{piece!r}, which the model does not know"
    return found
