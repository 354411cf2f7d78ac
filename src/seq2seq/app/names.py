"""Names of cells and models, as the command line and TOML write them: ours by a word, the user's by FILE.py:CLASS."""

from __future__ import annotations

from seq2seq.app.user_code import find_class, name_of
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.models.hard_monotonic import HardMonotonic
from seq2seq.nn.cells import GRU, LSTM, ChoGRU, Elman
from seq2seq.nn.normalised import NormGRU, NormLSTM

CELLS: dict[str, type] = {
    "lstm": LSTM,
    "gru": GRU,
    "cho-gru": ChoGRU,
    "elman": Elman,
    "norm-lstm": NormLSTM,
    "norm-gru": NormGRU,
}
MODELS: dict[str, type] = {"encoder-decoder": EncoderDecoder, "hard-monotonic": HardMonotonic}
_OURS = CELLS | MODELS


def named_class(name: str) -> type:
    """The class of a name.

    Raises:
        ConfigError: there is none.

    Example:
        >>> named_class("gru").__name__
        'GRU'
    """
    if name in _OURS:
        return _OURS[name]
    if ":" in name:
        return find_class(name)
    raise ConfigError(f"{name!r} is no cell or model; {did_you_mean(name, _OURS)} Yours is my_file.py:MyClass.")


def class_name(cls: type) -> str:
    """The name of a class: the inverse of `named_class`.

    Example:
        >>> class_name(LSTM)
        'lstm'
    """
    return next((name for name, known in _OURS.items() if known is cls), None) or name_of(cls)
