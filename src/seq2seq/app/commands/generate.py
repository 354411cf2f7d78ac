"""`seq2seq generate MODEL [INPUT]`: one line in, one line out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import tyro

from seq2seq.app.arguments import Input, ModelOptions, parse, read_input
from seq2seq.app.decoding import Decoding
from seq2seq.app.rerank import RerankOptions
from seq2seq.app.text_model import Hypothesis

_LINES_AT_ONCE = 1024


@dataclass(frozen=True)
class GenerateOptions(RerankOptions, Decoding, ModelOptions):
    """Generate an output for each line of input: one line in, one line out; an empty line stays empty.

    With --nbest N, lines are those of a Moses n-best list: line number ||| output ||| log p ||| score.
    """

    input: Input = None
    """A file of inputs, one a line; standard input by default."""
    json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """One JSON object a line: hypotheses with tokens, log-probabilities and attention."""


def main(arguments: Sequence[str]) -> int:
    """Generate."""
    options = parse(GenerateOptions, "generate", arguments)
    reranker = options.reranker(options, options.types)
    if reranker is None:
        options.check()
    model = options.load()
    lines = iter(read_input(options.input))
    first = 0
    for chunk in _chunks(lines, 1 if _is_typed(options.input) else _LINES_AT_ONCE):
        if reranker is None:
            found = model.hypotheses(chunk, options, first_line=first, attention=options.json)
        else:
            found = reranker.hypotheses(model, chunk, options, first_line=first, attention=options.json)
        for number, (line, hypotheses) in enumerate(zip(chunk, found, strict=True), first):
            _write(number, line, hypotheses, options)
        sys.stdout.flush()
        first += len(chunk)
    return 0


def _is_typed(path: str | None) -> bool:
    return path in (None, "-") and sys.stdin.isatty()


def _chunks(lines: Iterator[tuple[int, str]], size: int) -> Iterator[list[str]]:
    while chunk := [line for _, line in islice(lines, size)]:
        yield chunk


def _write(number: int, line: str, hypotheses: list[Hypothesis], options: GenerateOptions) -> None:
    if options.json:
        print(json.dumps({"input": line, "outputs": [_as_json(h) for h in hypotheses]}, ensure_ascii=False))
    elif options.nbest == 1:
        print(escaped(hypotheses[0].text))
    else:
        for h in hypotheses:
            print(f"{number} ||| {escaped(h.text)} ||| {h.log_probability:.9g} ||| {h.score:.9g}")


def _as_json(hypothesis: Hypothesis) -> dict[str, object]:
    values = hypothesis._asdict()
    if hypothesis.attention is not None:
        values["attention"] = [[round(float(weight), 4) for weight in row] for row in hypothesis.attention]
    return values


def escaped(text: str) -> str:
    r"""The text on one line: a backslash, TAB or line break in it is written as `\\`, `\t`, `\n` or `\r`.

    Example:
        >>> escaped("a\tb")
        'a\\tb'
    """
    if not any(character in text for character in "\\\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        return text
    return "".join(_ESCAPES.get(character, character) for character in text)


_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"} | {
    character: f"\\u{ord(character):04x}" for character in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
}
