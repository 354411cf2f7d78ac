"""`seq2seq embed MODEL [INPUT] -o vectors.npz`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from seq2seq.app.arguments import Input, ModelOptions, parse, read_input, refuse_more_models
from seq2seq.app.train import say
from seq2seq.core.archive import atomic_write


@dataclass(frozen=True)
class EmbedOptions(ModelOptions):
    """One vector for each line of input: `vectors` (lines, hidden) and `texts` in an .npz."""

    input: Input = None
    """A file of inputs, one a line; standard input by default."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="FILE.npz")] = "vectors.npz"
    """The file to write."""
    batch: int = 64
    """Inputs that are encoded together."""


def main(arguments: Sequence[str]) -> int:
    """Embed."""
    options = parse(EmbedOptions, "embed", arguments)
    refuse_more_models("embed", [options.input])
    model = options.load()
    texts = [line for _, line in read_input(options.input)]
    vectors = model.embed(texts, options.batch)

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, vectors=vectors, texts=np.array(texts, dtype=np.str_))

    atomic_write(Path(options.output), fill)
    say(f"Wrote {options.output}: vectors of width {vectors.shape[1]} for {len(texts):,} lines.")
    return 0
