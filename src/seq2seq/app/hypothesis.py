"""What a search found for one input, as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.decoding import Decoding
from seq2seq.app.unknown import with_copies
from seq2seq.data import Tokenizer
from seq2seq.errors import SearchError
from seq2seq.search import Hypotheses


class Hypothesis(NamedTuple):
    """One output.

    Attributes:
        text: the output.
        score: what it was ranked by; with `Decoding(mbr=...)` its expected utility.
        log_probability: log p(output | input), in nats, the end counted.
        finished: false if it was cut off at the length limit.
        tokens: its pieces, as people read them, in the order in which they were written, the end included.
        token_log_probabilities: of each piece, in nats.
        attention: (tokens, source tokens) or None.
        language_log_probability: log p(output), in nats, if it was re-ranked by that.
        reverse_log_probability: log p(input | output), in nats, if it was re-ranked by that.
        second_log_probability: log p(output | input) of another model, in nats, if it was re-ranked by that.
        source_tokens: the columns of `attention`, as people read them, the end of the source included; or None.
    """

    text: str
    score: float
    log_probability: float
    finished: bool
    tokens: list[str]
    token_log_probabilities: list[float]
    attention: NDArray[np.float32] | None
    language_log_probability: float | None = None
    reverse_log_probability: float | None = None
    source_tokens: list[str] | None = None
    second_log_probability: float | None = None

    def _repr_html_(self) -> str:
        """How a notebook shows it: with the probability of each token, and the attention if that was asked for."""
        from seq2seq.app.pictures.html import as_html

        ended = "" if self.finished else ", cut off"
        said = f"log p {self.log_probability:.4g} nats, score {self.score:.4g}{ended}"
        look = None if self.attention is None or self.source_tokens is None else (self.source_tokens, self.attention)
        return as_html(self.text, said, self.tokens, self.token_log_probabilities, look)


def as_json(value: Any) -> Any:
    """What JSON can hold of a value, for programs: null for what is no number, named tuples as objects, and arrays,
    which are weights of attention, as lists of 4 decimals.

    Example:
        >>> as_json(EMPTY._replace(log_probability=-math.inf))["log_probability"] is None
        True
        >>> as_json({"loss": math.inf, "vectors": [[1.0]]})
        {'loss': None, 'vectors': [[1.0]]}
    """
    match value:
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case np.ndarray():
            return rounded(value)
        case tuple() if hasattr(value, "_asdict"):
            return as_json(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
        case dict():
            return {name: as_json(inner) for name, inner in value.items()}
        case list() | tuple():
            return [as_json(inner) for inner in value]
        case _:
            return value


def as_nbest(hypothesis: Hypothesis, number: int) -> str:
    r"""Its line of a Moses n-best list, of the input of this number; bars in the text would be columns.

    Example:
        >>> print(as_nbest(EMPTY._replace(text="a ||| b", log_probability=-1.5, score=-0.5), 7))
        7 ||| a \u007c\u007c\u007c b ||| -1.5 ||| -0.5
    """
    text = escaped(hypothesis.text).replace("|||", r"\u007c" * 3)
    return f"{number} ||| {text} ||| {hypothesis.log_probability:.9g} ||| {hypothesis.score:.9g}"


def rounded(attention: NDArray[np.float32]) -> list[list[float]]:
    """Weights as JSON has them.

    Example:
        >>> rounded(np.array([[1 / 3, 2 / 3]], np.float32))
        [[0.3333, 0.6667]]
    """
    return attention.astype(float).round(4).tolist()


def on_one_line(text: str) -> str:
    r"""The text as people read it: a TAB or a line break in it is written as `\t`, `\n` or `\r`.

    Example:
        >>> print(on_one_line("a\tb\\"))
        a\tb\
    """
    return text.translate(_BREAKS)


def escaped(text: str) -> str:
    r"""The text as a program can read it back: on one line, and a backslash in it is written as two.

    Example:
        >>> print(escaped("a\tb\\"))
        a\tb\\
    """
    return on_one_line(text.replace("\\", "\\\\"))


_BREAKS = {ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"} | {
    ord(character): f"\\u{ord(character):04x}" for character in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
}


TextOf: TypeAlias = Callable[[list[int], "NDArray[np.float32] | None"], str]
EMPTY = Hypothesis("", 0.0, 0.0, True, [], [], None)
"""The output of an empty input."""


def read(
    tokenizer: Tokenizer, found: Hypotheses, row: int, source_length: int, text_of: TextOf | None = None
) -> Iterator[Hypothesis]:
    """The hypotheses of a row, whose source has so many tokens; `tokenizer` is that of the target.

    The text of ids and their attention is what `text_of` says, or that of the tokenizer.
    """
    for place in range(found.tokens.shape[1]):
        log_probability = float(found.log_probabilities[row, place])
        if place and math.isinf(log_probability):
            continue  # fewer hypotheses than asked for
        length = int(found.lengths[row, place])
        ids = found.tokens[row, place, :length].tolist()
        weights = None if found.attention is None else found.attention[row, place, :length, :source_length]
        attention = None if weights is None else np.array(weights)  # a view would keep the whole batch
        yield Hypothesis(
            text=tokenizer.decode(ids) if text_of is None else text_of(ids, attention),
            score=float(found.scores[row, place]),
            log_probability=log_probability,
            finished=bool(found.finished[row, place]),
            tokens=[tokenizer.token(index) for index in ids],
            token_log_probabilities=found.token_log_probabilities[row, place, :length].astype(float).tolist(),
            attention=attention,
        )


def copying(tokenizer: Tokenizer, pieces: Sequence[str]) -> TextOf:
    """A text of ids in which unknown pieces are replaced by those of the source that were looked at.

    Args:
        tokenizer: of the target.
        pieces: the text of each source token.
    """

    def text_of(ids: list[int], attention: NDArray[np.float32] | None) -> str:
        if attention is None:
            raise SearchError("--replace-unknown: this model gives no attention to copy by; leave it out.")
        return with_copies(tokenizer, ids, attention, pieces)

    return text_of


def chosen(found: list[Hypothesis], decoding: Decoding) -> list[Hypothesis]:
    """The best as `decoding` says: those found, or those of the highest expected utility, which becomes their score.

    What was cut off comes after all that ended, and is no evidence for it: its log p is that of a beginning.
    """
    if decoding.mbr == "none":
        return found
    alive = [one for one in found if math.isfinite(one.log_probability)]  # a sample may come to where nothing follows
    best: list[Hypothesis] = []
    for finished in (True, False):
        said = {one.text for one in best}
        several = [one for one in alive if one.finished == finished and one.text not in said]
        if not decoding.sample:  # groups of a beam may find the same one, which is no more evidence for it
            first: dict[tuple[str, ...], Hypothesis] = {}
            for one in several:
                first.setdefault((one.text, *one.tokens), one)
            several = list(first.values())
        logs: NDArray[np.float64] = np.array([one.log_probability for one in several])
        ranked = decoding.ranked([one.text for one in several], logs, decoding.sample) if several else []
        best += [several[index]._replace(score=utility) for index, utility in ranked]
    return (best or found)[: decoding.nbest]
