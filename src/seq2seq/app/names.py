"""Names of cells and models, as the command line and TOML write them: ours by a word, the user's by FILE.py:CLASS."""

from __future__ import annotations

from typing import Any

from seq2seq.app.user_code import find_class, name_of
from seq2seq.core.seams import Cell
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.hard_monotonic import HardMonotonic
from seq2seq.nn.attention import Additive, Attention, Dot, General
from seq2seq.nn.cells import GRU, LSTM, ChoGRU, Elman
from seq2seq.nn.normalised import NormGRU, NormLSTM
from seq2seq.nn.recurrent import Dropped, Stack

CELLS: dict[str, type] = {
    "lstm": LSTM,
    "gru": GRU,
    "cho-gru": ChoGRU,
    "elman": Elman,
    "norm-lstm": NormLSTM,
    "norm-gru": NormGRU,
}
MODELS: dict[str, type] = {"encoder-decoder": EncoderDecoder, "hard-monotonic": HardMonotonic}
_PARTS: dict[str, type] = {cls.__name__: cls for cls in (Stack, Dropped, Additive, Dot, General)}
"""What a model of the user's may have as the default of an option, by the names that its configuration has then."""
_OURS = CELLS | MODELS | _PARTS


def named_class(name: str, kind: Any = object) -> type:
    """The class of a name: one of ours that is a `kind`, or the one that FILE.py:CLASS is.

    Raises:
        ConfigError: there is none.

    Example:
        >>> named_class("gru").__name__
        'GRU'
    """
    if names_class(name, kind):
        found = find_class(name) if ":" in name else _OURS[name]
        if kind is Attention and (lacking := [part for part in ("init", "keys", "scores") if not hasattr(found, part)]):
            raise ConfigError(
                f"{name} is no attention: it has no {' and no '.join(lacking)}; see help(seq2seq.Attention)."
            )
        return found
    raise ConfigError(
        f"{name!r} is no cell or model; {did_you_mean(name, CELLS | MODELS)} Yours is my_file.py:MyClass."
    )


def names_class(name: str, kind: Any = object) -> bool:
    """Whether a word names a class (see `named_class`), where it may be another value of an option.

    Example:
        >>> [names_class(name, Attention) for name in ("Dot", "dot", "gru", "my_file.py:Mine")]
        [True, False, False, True]
    """
    known = kind if kind in (Cell, Attention) else object  # a protocol of the user's may tell of no class if it fits
    return ":" in name or (name in _OURS and issubclass(_OURS[name], known))


def is_ours(cls: type) -> bool:
    """Whether a class has a name of its own here, and needs no file of the user's."""
    return cls in _OURS.values()


def class_name(cls: type) -> str:
    """The name of a class: the inverse of `named_class`.

    Example:
        >>> class_name(LSTM), named_class(class_name(Additive)).__name__
        ('lstm', 'Additive')
    """
    return next((name for name, known in _OURS.items() if known is cls), None) or name_of(cls)
