"""`TextSettings`: what a text model remembers of the text it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.errors import ConfigError, CorruptArchiveError

LONGEST = 100_000
"""The most tokens of a text that is trained on or generated: a hundred times what --max-length lets through by itself,
and beyond what a run can unroll. A search makes room for as many as the settings say before its first step."""


@dataclass(frozen=True)
class TextSettings:
    """What a text model remembers of the text it was trained on.

    Attributes:
        format: how the lines were written; "sigmorphon" input is rewritten as in training.
        source_longest: tokens of the longest training source, its end counted.
        target_longest: tokens of the longest training target, its end counted.

    Raises:
        ConfigError: a length is not 1 to `LONGEST`.
    """

    format: str = "tsv"
    source_longest: int = 50
    target_longest: int = 50

    def __post_init__(self) -> None:
        for side, length in (("source", self.source_longest), ("target", self.target_longest)):
            if not 1 <= length <= LONGEST:
                raise ConfigError(f"the longest {side} has {length:,} tokens; wanted 1 to {LONGEST:,}: --max-length.")

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> TextSettings:
        """The settings in a model file; what an older one does not say is as by default.

        Raises:
            CorruptArchiveError: they are none that could have been written.
        """
        kinds = {f.name: type(f.default) for f in fields(cls)}
        for name, value in values.items():
            if type(value) is not kinds.get(name):  # a bool is no length
                raise CorruptArchiveError(f"the text setting {name} is {value!r:.60}, which seq2seq never writes.")
        try:
            return cls(**values)
        except ConfigError as error:
            raise CorruptArchiveError(f"text settings that seq2seq never writes: {error}") from None

    def limit(self, lengths: NDArray[Any]) -> NDArray[np.int32]:
        """The most tokens to generate for sources of these lengths: 10 more than ever seen, more for longer sources.

        A function of the one source alone, so that batch mates change nothing; never more than `LONGEST`.

        Example:
            >>> TextSettings(source_longest=10, target_longest=20).limit(np.array([0, 5, 10, 20])).tolist()
            [0, 30, 30, 60]
        """
        times = np.maximum(1.0, lengths / self.source_longest)
        room = np.minimum(np.ceil((self.target_longest + 10) * times), LONGEST)
        return np.where(lengths > 0, room, 0).astype(np.int32)
