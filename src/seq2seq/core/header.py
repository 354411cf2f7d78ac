"""What the JSON header of an archive must hold, whoever wrote and signed it; checked once, where a file is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LARGEST = 2**22
"""The most bytes of a header, which holds 20,000 leaves: JSON takes twenty times its size in memory."""

_ALWAYS = {"leaves": {...: {"dtype": str, "shape": [int], "sha256": str}}, "texts": {...: str}}


def parse(data: bytes) -> dict[str, Any]:
    """The object with a format that the bytes of a header hold; what else is in it is for `check`.

    Raises:
        ValueError: they hold none, or one that we could not have written.

    Example:
        >>> parse(b'{"format": 1}')
        {'format': 1}
    """
    if len(data) > LARGEST:
        raise ValueError(f"{len(data):,} bytes, of which {LARGEST:,} are the most")
    try:
        header = json.loads(data)
        json.dumps(header, ensure_ascii=False).encode()  # a lone surrogate could not be printed
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if wrong := misfit(header, {"format": int}):
        raise ValueError(wrong)
    return header


def check(header: Mapping[str, Any]) -> None:
    """Whether what every header must hold is there.

    Raises:
        ValueError: it is not; says where.
    """
    if wrong := misfit(header, _ALWAYS):
        raise ValueError(wrong)


def misfit(value: Any, wanted: Any, name: str = "") -> str:
    """Where JSON is not as wanted: a type, a list of one kind, or a dict of kinds by key, `...` for any other key.

    Keys beside those wanted may be there. "" if everything fits.

    Example:
        >>> misfit({"shape": [2, "x"], "more": 1}, {"shape": [int]})
        'shape/1 is no int'
        >>> misfit({"w": {}}, {...: {"sha256": str}})
        'w/sha256 is missing'
    """
    kind = wanted if isinstance(wanted, type) else type(wanted)
    if type(value) is not kind:  # a bool is no int
        return f"{name or 'it'} is no {kind.__name__}"
    inside = f"{name}/" if name else ""
    if isinstance(wanted, list):
        return next(filter(None, (misfit(item, wanted[0], f"{inside}{i}") for i, item in enumerate(value))), "")
    if not isinstance(wanted, dict):
        return ""
    if missing := [key for key in wanted if key is not ... and key not in value]:
        return f"{inside}{missing[0]} is missing"
    known = {key: wanted.get(key, wanted.get(...)) for key in value}
    return next(filter(None, (misfit(value[key], k, inside + key) for key, k in known.items() if k is not None)), "")
