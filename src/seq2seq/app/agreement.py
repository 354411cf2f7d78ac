"""Text models that decode as one, which need equal tokenizers and sources that are read alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.data import Tokenizer
from seq2seq.errors import ConfigError
from seq2seq.search import Ensemble
from seq2seq.search.ensemble import Mean

if TYPE_CHECKING:
    from seq2seq.app.text_model import TextModel


def joined(
    models: Sequence[TextModel], mean: Mean, weights: Sequence[float] | None, names: Sequence[str]
) -> tuple[Ensemble, dict[str, int]]:
    """The ensemble of the models, and the longest source and target of all; arguments as in `TextModel.ensemble`."""
    check_agreement(models, names or [f"model {number}" for number in range(1, len(models) + 1)])
    members = tuple(model.model for model in models)
    ensemble = Ensemble(models=members, mean=mean, weights=None if weights is None else tuple(weights))
    sides = ("source_longest", "target_longest")
    longest = {side: max(getattr(model.settings, side) for model in models) for side in sides}
    return ensemble, longest


def check_agreement(models: Sequence[TextModel], names: Sequence[str]) -> None:
    """Refuse models that do not cut text alike; `names` say in a message which is which.

    Raises:
        ConfigError: two of them have unlike tokenizers, or one alone reads lemma TAB features as symbols; names the
            first that differs from the first of all.
    """
    for name, model in list(zip(names, models, strict=True))[1:]:
        for side in ("source", "target"):
            ours, theirs = (getattr(one, f"{side}_tokenizer") for one in (models[0], model))
            if difference := tokenizer_difference(ours, theirs):
                raise ConfigError(
                    f"{names[0]} and {name} have unlike {side} tokenizers ({difference}): an ensemble needs equal "
                    "ones; train its members on the same pairs with the same --dev, without which each --seed holds "
                    "out others, or with --from one of them, whose tokenizers and weights they then begin with."
                )
        formats = models[0].settings.format, model.settings.format
        if (formats[0] == "sigmorphon") != (formats[1] == "sigmorphon"):  # no other format rewrites a source
            raise ConfigError(
                f"{names[0]} was trained on {formats[0]} and {name} on {formats[1]}: one reads lemma TAB features as "
                "symbols, the other a line as it is; train both on files of one --format."
            )


def tokenizer_difference(one: Tokenizer, other: Tokenizer) -> str:
    """How two tokenizers differ, the first difference found; empty if they are equal.

    Example:
        >>> tokenizer_difference(Tokenizer.train("character", ["ab"]), Tokenizer.train("character", ["ac"]))
        "token 5 is 'b' in one and 'c' in the other"
    """
    if one.to_json() == other.to_json():
        return ""
    if one.kind != other.kind:
        return f"{one.kind} and {other.kind}"
    if one.form != other.form:
        return f"Unicode forms {one.form} and {other.form}"
    if one.size != other.size:
        return f"{one.size:,} and {other.size:,} tokens"
    for index in range(one.size):
        if one.token(index) != other.token(index):
            return f"token {index} is {one.token(index)!r} in one and {other.token(index)!r} in the other"
    return "the same tokens, but other rules of cutting"
