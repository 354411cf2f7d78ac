"""Pairs of text scored in batches of few shapes, each source read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.meter import told
from seq2seq.app.runtime import give_back_memory
from seq2seq.core.seams import Searchable
from seq2seq.data import Tokenizer, grouped_batches
from seq2seq.data.grouped import Targets
from seq2seq.errors import ModuleError
from seq2seq.search import Forced, force_started, start
from seq2seq.search.checking import name_of


def forced(
    model: Searchable, tokenizers: tuple[Tokenizer, Tokenizer], pairs: Sequence[tuple[str, str]], look: bool
) -> Iterator[tuple[Targets, NDArray[np.int32], Forced]]:
    """Batches of the pairs, how many tokens the source of each has, its end counted, and what the model says.

    Args:
        model: what scores.
        tokenizers: of source and target.
        pairs: (source, target), as the tokenizers are to read them.
        look: with attention.

    Raises:
        ModuleError: to `look`, and the model gives none.
    """
    rows = {source: row for row, source in enumerate(dict.fromkeys(source for source, _ in pairs))}
    sources = tokenizers[0].encode_batch(rows)
    targets = tokenizers[1].encode_batch(target for _, target in pairs)
    of = np.array([rows[source] for source, _ in pairs], np.int64)
    for block in grouped_batches(sources, of, targets):
        started = start(model, block.source, block.lengths)
        for batch in told("pairs", block.targets, lambda batch: len(batch.indices)):
            found = force_started(model, started, *batch[1:], look=look)
            if look and found.attention is None:
                blind = f"this {name_of(model)} gives no attention"
                raise ModuleError(f"{blind}; --model.attention additive trains one that does.")
            yield batch, block.lengths[batch.of], found
        give_back_memory()  # or the holes that batches of many shapes leave add up
