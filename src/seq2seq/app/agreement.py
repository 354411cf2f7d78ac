"""Text models that decode as one, which need the same tokens and sources that are read alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.core.seams import BEGIN, PAD, Searchable
from seq2seq.data import Tokenizer
from seq2seq.errors import ConfigError
from seq2seq.search import Ensemble, Renumbered
from seq2seq.search.ensemble import Mean

if TYPE_CHECKING:
    from seq2seq.app.text_model import TextModel


def joined(
    models: Sequence[TextModel], mean: Mean, weights: Sequence[float] | None, names: Sequence[str]
) -> tuple[Ensemble, dict[str, int]]:
    """The ensemble of the models, and the longest source and target of all; arguments as in `TextModel.ensemble`."""
    names = names or [f"model {number}" for number in range(1, len(models) + 1)]
    members = tuple(_member(models[0], model, names[0], name) for model, name in zip(models, names, strict=True))
    ensemble = Ensemble(models=members, mean=mean, weights=None if weights is None else tuple(weights))
    sides = ("source_longest", "target_longest")
    longest = {side: max(getattr(model.settings, side) for model in models) for side in sides}
    return ensemble, longest


def _member(first: TextModel, model: TextModel, first_name: str, name: str) -> Searchable:
    """The model, spoken to in the numbers of the first one's tokens; the names are for a message.

    Raises:
        ConfigError: they have unlike tokenizers, or one alone reads lemma TAB features as symbols.
    """
    check_read_alike(first, model, first_name, name)
    numbers: dict[str, tuple[int, ...]] = {}
    for side in ("source", "target"):
        ours, theirs = (getattr(one, f"{side}_tokenizer") for one in (first, model))
        if ours.right_to_left != theirs.right_to_left:
            raise ConfigError(
                f"{first_name} and {name} write in unlike orders: an ensemble cannot; in generate, evaluate and chat "
                f"{name} may choose among the outputs of the other (--second-model)."
            )
        found = theirs.renumbering(ours)
        if found is None:
            raise ConfigError(
                f"{first_name} and {name} have unlike {side} tokenizers ({tokenizer_difference(ours, theirs)}): an "
                "ensemble needs the same tokens; train its members on the same pairs with the same --dev, without "
                "which each --seed holds out others, or with --from one of them, whose tokenizers and weights they "
                "then begin with."
            )
        numbers[side] = found
    if all(ids == tuple(range(len(ids))) for ids in numbers.values()):
        return model.model
    return Renumbered(model=model.model, source=numbers["source"], target=numbers["target"])


def check_read_alike(first: TextModel, model: TextModel, first_name: str, name: str) -> None:
    """Refuse models of which one alone rewrites a source; the names are for the message.

    Raises:
        ConfigError: one reads lemma TAB features as symbols.
    """
    formats = first.settings.format, model.settings.format
    if (formats[0] == "sigmorphon") != (formats[1] == "sigmorphon"):  # no other format rewrites a source
        raise ConfigError(
            f"{first_name} was trained on {formats[0]} and {name} on {formats[1]}: one reads lemma TAB features as "
            "symbols, the other a line as it is; train both on files of one --format."
        )


def tokenizer_difference(one: Tokenizer, other: Tokenizer) -> str:
    """How two tokenizers that cut text otherwise differ, the first difference found.

    Example:
        >>> tokenizer_difference(Tokenizer.train("character", ["ab"]), Tokenizer.train("character", ["ac"]))
        "'b' is in one only"
    """
    if one.kind != other.kind:
        return f"{one.kind} and {other.kind}"
    if one.form != other.form:
        return f"Unicode forms {one.form} and {other.form}"
    if one.size != other.size:
        return f"{one.size:,} and {other.size:,} tokens"
    pieces = enumerate(other.matching(one))
    lacking = (one.token(index) for index, same in pieces if same < 0 and index not in (PAD, BEGIN))
    return next((f"{token!r} is in one only" for token in lacking), "the same tokens, but other rules of cutting")
