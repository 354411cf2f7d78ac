"""What a command computes in."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.core.precision import Precision, resolve
from seq2seq.core.seams import Searchable
from seq2seq.search import InPrecision


@dataclass(frozen=True)
class Arithmetic:
    """How many bits matrix products are computed in; everything else is float32."""

    precision: Precision = "auto"
    """What matrix products are computed in; auto is bfloat16 where the processor multiplies it faster."""
    int8: bool = False
    """Multiply by the model's weights in 8 bits to generate or score: faster where the processor can, less exact.
    (A loss is always measured in --precision.)"""

    def of(self, model: Searchable) -> Searchable:
        """The model with its search steps computed so.

        Example:
            >>> from seq2seq import GRU
            >>> Arithmetic("float32").of(GRU) is GRU
            True
        """
        plain = resolve(self.precision) == "float32" and not self.int8
        return model if plain else InPrecision.of(model, self.precision, self.int8)
