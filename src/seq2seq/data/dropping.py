"""Batches that lack something, so that a model learns to do without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seq2seq.data.tokenizer import BEGIN, END, PAD, UNKNOWN
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.data.batches import Batch


@dataclass(frozen=True)
class Dropping:
    """What is left out of training batches by chance.

    A model that has met empty sources says an honest log p(target), which is what the source is measured against. A
    decoder that cannot rely on the tokens before must look at the source (word dropout: Bowman et al. 2016, section
    3.1).

    Attributes:
        source: probability that the source of a pair is replaced by the empty source, which is its end alone.
        target: probability that a token which the decoder reads becomes UNKNOWN; what it predicts stays.

    Raises:
        ConfigError: a probability that is none.

    Example:
        >>> Dropping(source=1.5)
        Traceback (most recent call last):
        seq2seq.errors.ConfigError: --source-dropout is 1.5; wanted 0 or more, and below 1.
    """

    source: float = 0.0
    target: float = 0.0

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"--{name}-dropout is {getattr(self, name)}; wanted 0 or more, and below 1.")

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The batch with less in it; its shapes, lengths of targets and what is to be predicted are as they were."""
        if self.source:
            gone = (rng.random(batch.size) < self.source) & (batch.source_lengths > 0)
            empty = np.full_like(batch.source, PAD)
            empty[0] = END
            lengths = np.where(gone, 1, batch.source_lengths).astype(np.int32)
            batch = batch._replace(source=np.where(gone, empty, batch.source), source_lengths=lengths)
        if self.target:
            words = (batch.target_in != PAD) & (batch.target_in != BEGIN)
            gone = (rng.random(words.shape) < self.target) & words
            batch = batch._replace(target_in=np.where(gone, np.int32(UNKNOWN), batch.target_in))
        return batch
