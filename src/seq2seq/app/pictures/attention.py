"""Where a model looked: the attention of an output of its own, or of a target that is given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.decoding import Decoding
from seq2seq.app.text_model import TextModel
from seq2seq.core.seams import END
from seq2seq.errors import DataError, ModuleError


class Look(NamedTuple):
    """Where a model looked.

    Attributes:
        source: the source's tokens, its end last.
        target: the target's tokens, its end last.
        attention: (target, source) weights.
    """

    source: list[str]
    target: list[str]
    attention: NDArray[np.float32]


def look(model: TextModel, text: str, target: str | None = None, decoding: Decoding | None = None) -> Look:
    """Where a model looks in `text` for what it generates, or while it reads `target`.

    Raises:
        ModuleError: the model gives no attention, or cannot generate.
        DataError: the text is empty.

    Example:
        ```
        model = seq2seq.load("run")
        look(model, "cat").attention.shape           # (tokens of the output, tokens of the input)
        look(model, "cat", target="K AE T").target   # ['K', 'AE', 'T', '<end>']
        ```
    """
    if not text.strip():
        raise DataError("the text is empty, so there is nothing to look at; give it one.")
    if target is not None:
        return _given(model, text, target)
    found = model.hypotheses([text], decoding, attention=True)[0][0]
    if found.attention is None or found.source_tokens is None:
        raise ModuleError(f"this {type(model.model).__name__} gives no attention: there is nothing to draw.")
    return Look(found.source_tokens, found.tokens, found.attention)


def _given(model: TextModel, text: str, target: str) -> Look:
    [attention] = model.attention([(text, target)], Arithmetic(precision="float32"))
    [source] = model.sources([text])
    tokens = [*model.target_tokenizer.tokens(target), model.target_tokenizer.token(END)]
    return Look(model.source_names(source), tokens, attention)
