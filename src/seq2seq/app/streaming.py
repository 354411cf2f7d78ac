"""An output as it grows: greedy search or a sample, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.decoding import Decoding
from seq2seq.app.demands import demands_of_lines, limits, rules_of
from seq2seq.app.text_model import TextModel
from seq2seq.core.seams import Searchable
from seq2seq.data import SourceBatch, inference_batches
from seq2seq.errors import SearchError
from seq2seq.search import Rule, Step, line_keys, stepwise
from seq2seq.search.greedy import Likeliest
from seq2seq.search.sampling import Draw


class Streamed(NamedTuple):
    """An output so far.

    Attributes:
        text: all of it; of a letter that is not whole yet, a replacement character.
        token: the last token, as people read it.
        log_probability: of the last token, in nats, under the model itself.
        ends: whether this is the end.
    """

    text: str
    token: str
    log_probability: float
    ends: bool


def stream(
    model: TextModel, text: str, decoding: Decoding, prefix: str = "", *, line: int = 0, reads: int = 1
) -> Iterator[Streamed]:
    """The output that `model.hypotheses` finds for one text with `--beam 1` or `--sample`, token by token.

    An empty text has an empty output: one item that ends. An output that is cut off at its limit ends without the
    end's own token; one that comes to where no token is possible ends with none, of log-probability -inf.

    Args:
        model: what generates.
        text: the input.
        decoding: how; one output, by a beam of 1 or a sample.
        prefix: what the output begins with.
        line: the number of the line, on which what is drawn depends.
        reads: texts that the model will read, as for `TextModel.searchable`.

    Raises:
        SearchError: options that need all of an output at once, or that nothing can keep.

    Example:
        ```
        for so_far in stream(seq2seq.load("run"), "so abram departed", Decoding(beam=1)):
            print(so_far.text, end="\\r")
        ```
    """
    _check(decoding)
    [source] = model.sources([text], line)
    if not source:
        yield Streamed("", "", 0.0, True)
        return
    tokenizer = model.target_tokenizer
    ids = model.source_tokenizer.encode_batch([source])
    demands = demands_of_lines(decoding, tokenizer, 1, [prefix] if prefix else None, line)
    room = limits(model.settings.limit(np.array([len(ids[0]) + 1], np.int32)), demands, decoding, [line], tokenizer)
    [batch] = inference_batches(ids, batch=1)
    searched = model.searchable(decoding, decoding.shortlist, reads=reads)
    written: list[int] = []
    for step in _steps(searched, batch, room, decoding, rules_of(demands, 1, bool(prefix)), line):
        token, gain = int(step.tokens[0]), float(step.log_probabilities[0])
        possible = gain > -np.inf
        written += [token] * possible
        yield Streamed(tokenizer.decode(written), tokenizer.token(token) * possible, gain, not step.going[0])


def _steps(
    model: Searchable, batch: SourceBatch, room: NDArray[np.int32], decoding: Decoding, rules: Sequence[Rule], line: int
) -> Iterator[Step]:
    rows = (model, batch.source, batch.lengths, room)
    if not decoding.sample:
        return stepwise(*rows, Likeliest(decoding.greedily(1, False)), rules=rules)
    keys = line_keys(decoding.seed, np.array([line], np.uint32))
    return stepwise(*rows, Draw(decoding.sampling(1, attention=False)), keys, rules)


def _check(decoding: Decoding) -> None:
    """Refuse what needs all of an output at once."""
    decoding.check()
    whole = {
        "nbest": decoding.nbest > 1,
        "beam": decoding.beam > 1 and not decoding.sample,
        "mbr": decoding.mbr != "none",
        "require": bool(decoding.require),
        "replace-unknown": decoding.replace_unknown,
    }
    for name, asked in whole.items():
        if asked:
            raise SearchError(f"--{name} needs whole outputs; what is streamed is one of --beam 1, or of --sample.")
