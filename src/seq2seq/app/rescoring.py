"""N-best lists with our score as one more feature, reordered by it (Sutskever et al. 2014, section 3.2).

    new total = total + weight * log p(hypothesis | source) / length ** length_penalty

With weight 1 and no length penalty the order is that of the even average of both scores, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.text_model import TextModel
from seq2seq.data import BadLineError, source_of_line
from seq2seq.data.lines import LONGEST_LINE, Ledger, clean_line, without_byte_order_mark
from seq2seq.data.moses import NBestLine
from seq2seq.data.raw_lines import RawLines, windows
from seq2seq.errors import ConfigError, DataError

_WINDOW = 16_384
_MOST_PENALTY = 10


@dataclass(frozen=True)
class Ranking:
    """How n-best lists are ranked."""

    feature: str = "Seq2Seq0"
    """The name of the new feature, whose value is log p(hypothesis | source): natural log, the end counted."""
    weight: float = 1.0
    """The total becomes total + weight * log p, and the best comes first; 1 ranks by the even average of both scores,
    0 only adds the feature and leaves order and totals."""
    length_penalty: float = 0.0
    """For the ranking, divide log p by the hypothesis's length in tokens, the end counted, to this power."""
    allow_gaps: bool = False
    """Take it that source lines have no list; otherwise a missing list is an error."""

    def check(self) -> None:
        """Refuse what cannot be written or ranked by.

        Raises:
            ConfigError: says which option.

        Example:
            >>> Ranking(feature="LM 0").check()
            Traceback (most recent call last):
            seq2seq.errors.ConfigError: --feature is 'LM 0'; wanted a name without spaces, = and |, such as Seq2Seq0.
        """
        if not self.feature or any(sign.isspace() or sign in "=|" for sign in self.feature):
            raise ConfigError(
                f"--feature is {self.feature!r}; wanted a name without spaces, = and |, such as Seq2Seq0."
            )
        if not 0 <= self.length_penalty <= _MOST_PENALTY:
            raise ConfigError(f"--length-penalty is {self.length_penalty}; wanted 0 to {_MOST_PENALTY}.")
        if not math.isfinite(self.weight):
            raise ConfigError(f"--weight is {self.weight}; wanted a number.")

    def ranked(self, lines: Sequence[NBestLine], scores: Sequence[float], lengths: Sequence[int]) -> list[bytes]:
        """One list with its new feature, the best first; equal ones stay in their order.

        Example:
            >>> raw = [b"0 ||| a ||| LM= -1 ||| -1\\n", b"0 ||| b ||| LM= -2 ||| -2\\n"]
            >>> lines = [NBestLine.parse(line) for line in raw]
            >>> for line in Ranking().ranked(lines, [-3.0, -0.5], [2, 2]):
            ...     print(line.decode(), end="")
            0 ||| b ||| LM= -2 Seq2Seq0= -0.5 ||| -2.5
            0 ||| a ||| LM= -1 Seq2Seq0= -3 ||| -4
        """
        if self.weight == 0:
            return [line.with_feature(self.feature, score) for line, score in zip(lines, scores, strict=True)]
        totals = [
            line.total + self.weight * score / length**self.length_penalty
            for line, score, length in zip(lines, scores, lengths, strict=True)
        ]
        order = sorted(range(len(lines)), key=lambda place: -totals[place])
        return [lines[place].with_feature(self.feature, scores[place], totals[place]) for place in order]


def rescore(
    model: TextModel, nbest: RawLines, sources: RawLines, ranking: Ranking, arithmetic: Arithmetic
) -> Iterator[tuple[bytes, int]]:
    """The lists with the new feature, some thousand lines at a time, as (bytes, hypotheses in them).

    Raises:
        DataError: a line is no hypothesis or no text, already has the feature, or the ids do not ascend one by one
            from 0 to the last line of the sources; says file and line.
    """
    texts = _Sources(sources, model.settings.format)
    first = 1
    for window in windows(iter(nbest), _WINDOW, None):
        lines = [_parsed(raw, nbest.name, number, ranking) for number, raw in enumerate(window, first)]
        lists = list(_lists(lines))
        pairs: list[tuple[str, str]] = []
        for begin, end in lists:
            source = texts.of(lines[begin].id, f"{nbest.name}:{first + begin}", ranking.allow_gaps)
            pairs += [(source, line.text) for line in lines[begin:end]]
        scores = model.pair_scores(pairs, arithmetic).tolist()
        lengths = [len(ids) + 1 for ids in model.target_tokenizer.encode_batch(line.text for line in lines)]
        ranked = [ranking.ranked(lines[a:b], scores[a:b], lengths[a:b]) for a, b in lists]
        yield b"".join(line for one in ranked for line in one), len(lines)
        first += len(window)
    if not ranking.allow_gaps:
        texts.check_end(nbest.name)


class _Sources:
    """The source file, read along with the lists; its lines are sources of a model of this format."""

    def __init__(self, lines: RawLines, model_format: str):
        self._lines, self._rest, self._format = lines, enumerate(lines), model_format
        self._last, self._raw = -1, b""

    def of(self, number: int, where: str, gaps: bool) -> str:
        """Line `number`, counted from 0: each time a later one."""
        if number <= self._last:
            raise DataError(f"list {number} comes after list {self._last}; sort the lists by their ids.", where)
        if number > self._last + 1 and not gaps:
            raise DataError(
                f"list {number} comes where list {self._last + 1} was wanted; was the file cut? If some sources have "
                "no list, say --allow-gaps.",
                where,
            )
        while self._last < number:
            try:
                self._last, self._raw = next(self._rest)
            except StopIteration:
                raise DataError(
                    f"list {number} has no source: {self._lines.name} has {self._last + 1:,} lines, counted from 0; "
                    "is it the file that was translated?",
                    where,
                ) from None
        try:
            raw = self._raw if number else without_byte_order_mark(self._raw, self._lines.name, Ledger())
            text = clean_line(raw, LONGEST_LINE)[0].strip()
            if text:
                source_of_line(text, self._format)  # which `pair_scores` does too, where the line has no number
            return text
        except BadLineError as error:
            raise DataError(f"{error}.", self._lines.name, number + 1) from None

    def check_end(self, name: str) -> None:
        """Refuse sources that are left over."""
        if next(self._rest, None) is not None:
            if self._last < 0:
                raise DataError("there is no list in it; was it written to the end?", name)
            raise DataError(
                f"the lists end with {self._last}, and {self._lines.name} has more lines; was the list cut? If the "
                "last sources have no list, say --allow-gaps.",
                name,
            )


def _parsed(raw: bytes, name: str, number: int, ranking: Ranking) -> NBestLine:
    if number == 1:
        raw = without_byte_order_mark(raw, name, Ledger())
    try:
        line = NBestLine.parse(raw if raw.endswith(b"\n") else raw + b"\n")  # the last may not stay the last
    except BadLineError as error:
        raise DataError(f"{error}.", name, number) from None
    if ranking.feature in line.features:
        raise DataError(
            f"there is a feature {ranking.feature} already; give ours another name by --feature.", name, number
        )
    return line


def _lists(lines: Sequence[NBestLine]) -> Iterable[tuple[int, int]]:
    """Where each list begins and ends."""
    begin = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or lines[end].id != lines[begin].id:
            yield begin, end
            begin = end
