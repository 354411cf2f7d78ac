"""The bodies of requests, as dataclasses; `shapes` checks and describes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from seq2seq.app.decoding import Decoding
from seq2seq.app.pictures.projection import LEAST_TEXTS, Method
from seq2seq.app.serving.shapes import Number, Schema, Several, Shape, Table, Text, table

_Texts: TypeAlias = Annotated[tuple[str, ...], Several(Text(), least=1)]
_Pair = Several(Text(), least=2, most=2)
_Pairs: TypeAlias = Annotated[tuple[tuple[str, str], ...], Several(_Pair, least=1)]


class _OneEach(Several):
    """As many as there are inputs, of which there is one; who sees both says if they are not."""

    def schema(self) -> Schema:
        """An array."""
        return super().schema() | {"minItems": 1}


_OF_THE_SERVER = frozenset({"batch", "precision", "int8", "shortlist"})
_PHRASES = Several(Text(200), most=8)
_LIMITS: dict[str, Shape] = {
    "beam": Number(1, 64, whole=True),
    "nbest": Number(1, 64, whole=True),
    "candidates": Number(1, 64, whole=True),
    "length_penalty": Number(0, 10),
    "coverage_penalty": Number(0, 100),
    "min_length": Number(0, 1000, whole=True),
    "max_length": Number(1, 1000, whole=True),
    "no_repeat_ngram": Number(1, 20, whole=True),
    "groups": Number(1, 64, whole=True),
    "diversity": Number(0, 100),
    "temperature": Number(0.01, 100),
    "top_k": Number(1, 1_000_000, whole=True),
    "top_p": Number(0, 1, above=True),
    "seed": Number(0, 2**32 - 1, whole=True),
    "ban": _PHRASES,
    "require": _PHRASES,
}
_OF_A_SAMPLE = {"temperature": {"const": 1}, "top_k": False, "top_p": {"const": 1}}
_OF_A_BEAM = {
    "length_norm": {"const": "power"},
    "length_penalty": {"const": 1},
    "coverage_penalty": {"const": 0},
    "groups": {"const": 1},
    "diversity": {"const": 0},
    "require": {"maxItems": 0},
}
_SAMPLED = {"properties": {"sample": {"const": True}}, "required": ["sample"]}


def _options(without: frozenset[str]) -> Table:
    """Options of a search; what is of a sample has its default without one, what is of a beam with one."""
    found = table(Decoding, without=without, limits=_LIMITS)
    beam = {name: default for name, default in _OF_A_BEAM.items() if name in found.shapes}
    return replace(found, together={"if": _SAMPLED, "then": {"properties": beam}, "else": {"properties": _OF_A_SAMPLE}})


OPTIONS = _options(_OF_THE_SERVER)
"""The fields of `Decoding` that a request may set; the rest is the server's."""


@dataclass(frozen=True)
class Generate:
    """Outputs for each input, best first."""

    inputs: _Texts
    model: str | None = None
    prefixes: Annotated[tuple[str, ...], _OneEach(Text())] | None = None
    options: Annotated[Decoding, OPTIONS] = Decoding()  # noqa: RUF009 (frozen)
    attention: bool = False


_WHOLE = frozenset({"beam", "nbest", "mbr", "candidates", "groups", "diversity", "require", "replace_unknown"})
_WHOLE |= {"length_penalty", "length_norm", "coverage_penalty"}
GROWING = _options(_OF_THE_SERVER | _WHOLE)
"""The fields that a request may set of an output that is streamed: those that need no whole output."""


@dataclass(frozen=True)
class Stream:
    """The output for an input, token by token: greedy, or with the option `sample` drawn."""

    input: str
    prefix: str = ""
    model: str | None = None
    options: Annotated[Decoding, GROWING] = Decoding()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class Next:
    """The likeliest next tokens after a prefix of the output."""

    input: str
    prefix: str = ""
    count: Annotated[int, Number(1, 50, whole=True)] = 10
    model: str | None = None


@dataclass(frozen=True)
class Score:
    """log p(target | source) of each pair."""

    pairs: _Pairs
    model: str | None = None


@dataclass(frozen=True)
class Embed:
    """The encoder's vector of each input, and with `plane` its point on a map of them all."""

    inputs: _Texts
    plane: Method | None = None
    model: str | None = None


_MAPPED = {"properties": {"plane": {"type": "string"}}, "required": ["plane"]}
EMBED = replace(table(Embed), together={"if": _MAPPED, "then": {"properties": {"inputs": {"minItems": LEAST_TEXTS}}}})
"""A body of `Embed`: a map is of several texts."""


@dataclass(frozen=True)
class Alignments:
    """The attention of each target token, which is forced, over the tokens of its source."""

    pairs: _Pairs
    model: str | None = None


@dataclass(frozen=True)
class Listen:
    """What the sources of these pairs are worth, and whether targets and outputs are told by their source."""

    pairs: Annotated[tuple[tuple[str, str], ...], Several(_Pair, least=2, most=200)]
    model: str | None = None
