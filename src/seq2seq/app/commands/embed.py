"""`seq2seq embed MODEL [INPUT] -o vectors.npz`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from seq2seq.app.arguments import Input, ModelOptions, parse, read_input, refuse_more_models
from seq2seq.app.meter import watched
from seq2seq.app.outputs import check_output
from seq2seq.app.pictures.figures import map_figure, map_labels
from seq2seq.app.pictures.files import check_picture, write_figure
from seq2seq.app.pictures.fonts import fonts_for
from seq2seq.app.pictures.projection import Method, plane, require_method
from seq2seq.app.text_model import model_file
from seq2seq.app.train import say
from seq2seq.core.files import atomic_write
from seq2seq.errors import ConfigError

_PADDED = 1 << 26  # bytes of texts of one width


@dataclass(frozen=True)
class EmbedOptions(ModelOptions):
    """One vector for each line of input: `vectors` (lines, hidden) and, unless one is far longer than others, `texts`
    in an .npz."""

    input: Input = None
    """A file of inputs, one a line; standard input by default."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="FILE.npz")] = "vectors.npz"
    """The file to write."""
    batch: int = 64
    """Inputs that are encoded together."""
    plot: Annotated[str | None, tyro.conf.arg(metavar="FILE.png|FILE.svg")] = None
    """Also draw the vectors as a map: texts that the encoder finds alike lie together."""
    method: Method = "pca"
    """--plot: principal components, or t-SNE."""


def main(arguments: Sequence[str]) -> int:
    """Embed."""
    options = parse(EmbedOptions, "embed", arguments)
    refuse_more_models("embed", [options.input])
    if options.batch < 1:
        raise ConfigError(f"--batch is {options.batch}; wanted 1 or more.")
    read = (model_file(options.model), options.input)
    check_output("--output", options.output, read)
    if options.plot is not None:
        check_picture(options.plot)
        check_output("--plot", options.plot, read)
        require_method(options.method)
    elif options.method != EmbedOptions.method:
        raise ConfigError("--method is how --plot draws the map: add --plot FILE.png.")
    model = options.load()
    texts = [line for _, line in read_input(options.input)]
    with watched("lines", len(texts)):
        vectors = model.embed(texts, options.batch)

    longest = max(map(len, texts), default=0)
    kept = 4 * longest * len(texts) <= max(_PADDED, 16 * sum(map(len, texts)))
    if not kept:
        say(f"note: texts are left out: one has {longest:,} characters, and NumPy would keep room for as many in each.")

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            if kept:
                np.savez(file, vectors=vectors, texts=np.array(texts, dtype=np.str_))
            else:
                np.savez(file, vectors=vectors)

    atomic_write(Path(options.output), fill)
    say(f"Wrote {options.output}: vectors of width {vectors.shape[1]} for {len(texts):,} lines.")
    if options.plot is not None:
        _draw(vectors, texts, options.plot, options.method)
    return 0


def _draw(vectors: NDArray[np.float32], texts: Sequence[str], path: str, method: Method) -> None:
    kept = [index for index, text in enumerate(texts) if text.strip()]  # an empty line is no place on a map
    named = [texts[index] for index in kept]
    points = plane(vectors[kept], method)
    fonts = fonts_for(map_labels(named).values())
    if fonts.note:
        say(f"note: {fonts.note}")
    title = {"pca": "principal components", "tsne": "t-SNE"}[method]
    write_figure(map_figure(points, named, title, fonts), path)
    say(f"Wrote {path}: a map of {len(named):,} lines.")
