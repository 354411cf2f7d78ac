"""Lemma and features as one line of symbols: the source of an inflection pair.

The rule, written once and reversible: every character of the lemma is a symbol, a space in it is `␣` and a `␣` is `␣␣`;
every feature is one symbol, a `+` before it. So `Fest` with `pos=N,num=PL` is `F e s t +pos=N +num=PL`.
"""

from __future__ import annotations

import re

from seq2seq.data.lines import BadLineError

_SPACE = "␣"
_SEPARATOR = re.compile("[,;]")


def inflection_source(lemma: str, features: str) -> str:
    """The symbols of a lemma and its features (separated by `,` or `;`), with a space between any two.

    Raises:
        BadLineError: a feature is empty or has a space in it.

    Example:
        >>> inflection_source("au fait", "pos=A;num=PL")
        'a u ␣ f a i t +pos=A +num=PL'
    """
    names = [name.strip() for name in _SEPARATOR.split(features)]
    if not all(names):
        raise BadLineError("empty feature", f"in {features!r}; separate features by one comma")
    if any(" " in name for name in names):
        raise BadLineError("space inside a feature", f"in {features!r}; separate features by commas")
    letters = [{" ": _SPACE, _SPACE: 2 * _SPACE}.get(character, character) for character in lemma]
    return " ".join(letters + ["+" + name for name in names])


def parse_inflection_source(text: str) -> tuple[str, str]:
    """The lemma and the features (joined by `,`) of a line of symbols: the inverse of `inflection_source`.

    Example:
        >>> parse_inflection_source("a u ␣ f a i t +pos=A +num=PL")
        ('au fait', 'pos=A,num=PL')
    """
    symbols = text.split(" ")
    features = [symbol[1:] for symbol in symbols if len(symbol) > 1 and symbol.startswith("+")]
    letters = symbols[: len(symbols) - len(features)]
    return "".join({_SPACE: " ", 2 * _SPACE: _SPACE}.get(letter, letter) for letter in letters), ",".join(features)
