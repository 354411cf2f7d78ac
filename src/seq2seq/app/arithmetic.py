"""What a command computes in."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.core.precision import Precision
from seq2seq.core.seams import Searchable
from seq2seq.search import PreparedModel


@dataclass(frozen=True)
class Arithmetic:
    """How many bits matrix products are computed in; everything else is float32."""

    precision: Precision = "auto"
    """What matrix products are computed in; auto is bfloat16 where the processor multiplies it faster."""
    int8: bool = False
    """Multiply by the model's weights in 8 bits to generate or score: faster where the processor can, less exact.
    (A loss is always measured in --precision.)"""

    def of(self, model: Searchable, tokens: float = 0) -> Searchable:
        """The model with its search steps computed so, and prepared for about so many target tokens.

        Example:
            >>> import jax
            >>> from seq2seq.core.seams import Prediction
            >>> @jax.tree_util.register_static
            ... class Echo:  # with nothing to prepare
            ...     def start(self, source, lengths):
            ...         return (), lengths
            ...     def step(self, memory, state, token):
            ...         return state, Prediction(jax.nn.one_hot(token, 9))
            >>> type(Arithmetic("float32").of(Echo())).__name__
            'Echo'
        """
        prepared = PreparedModel.of(model, self.precision, self.int8, tokens)
        return prepared if prepared.ready or prepared.how.products.bfloat16 else model
