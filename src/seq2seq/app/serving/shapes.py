"""What a request may be: one table that checks JSON values, makes dataclasses of them and writes their JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from seq2seq.app.serving.refusals import RefusedError
from seq2seq.errors import did_you_mean

_SURROGATE = re.compile("[\ud800-\udfff]")
Schema = dict[str, Any]


class Shape(Protocol):
    """A kind of JSON value."""

    def read(self, value: Any, where: str) -> Any:
        """The value as Python wants it; `where` is its JSON pointer.

        Raises:
            RefusedError: 422, it is something else.
        """
        ...

    def schema(self) -> Schema:
        """Its JSON Schema, as OpenAPI 3.1 takes it."""
        ...


def refuse(where: str, found: Any, wanted: str) -> RefusedError:
    """What is wrong with a value, and where."""
    shown = repr(found) if isinstance(found, str | int | float | bool | None) else f"a {_name(found)}"
    return RefusedError(422, f"{where or '/'} is {shown[:60]}; wanted {wanted}.", where)


def _name(value: Any) -> str:
    return "list" if isinstance(value, list) else "table"


@dataclass(frozen=True)
class Text:
    """A text of whole Unicode characters, with nothing that a line of a file could not hold."""

    most: int = 2000

    def read(self, value: Any, where: str) -> str:
        """The text."""
        if not isinstance(value, str):
            raise refuse(where, value, "a text")
        if len(value) > self.most:
            raise RefusedError(422, f"{where} has {len(value)} characters; wanted at most {self.most}.", where)
        if _SURROGATE.search(value):
            raise RefusedError(422, f"{where} holds half a surrogate pair; was the text cut inside a character?", where)
        if "\0" in value or "\r" in value:
            raise RefusedError(422, f"{where} holds a NUL or a carriage return; leave it out.", where)
        return value

    def schema(self) -> Schema:
        """A string."""
        return {"type": "string", "maxLength": self.most, "pattern": r"^[^\u0000\r]*$"}


@dataclass(frozen=True)
class Number:
    """A number between two others; whole ones may be written as 3 or 3.0, as in JSON Schema."""

    least: float = -1e6
    most: float = 1e6
    whole: bool = False
    above: bool = False  # `least` itself is too little

    def read(self, value: Any, where: str) -> int | float:
        """The number."""
        kind = "a whole number" if self.whole else "a number"
        wanted = f"{kind} {'above' if self.above else 'from'} {self.least:.10g} to {self.most:.10g}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refuse(where, value, wanted)
        # An int may be too large for a float, so it is compared first.
        if not self.least <= value <= self.most or (self.above and value == self.least):
            raise RefusedError(422, f"{where} is out of range; wanted {wanted}.", where)
        if self.whole and value != math.floor(value):
            raise refuse(where, value, wanted)
        return int(value) if self.whole else float(value)

    def schema(self) -> Schema:
        """An integer or a number."""
        low = "exclusiveMinimum" if self.above else "minimum"
        return {"type": "integer" if self.whole else "number", low: self.least, "maximum": self.most}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def read(self, value: Any, where: str) -> bool:
        """The flag."""
        if not isinstance(value, bool):
            raise refuse(where, value, "true or false")
        return value

    def schema(self) -> Schema:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: Any, where: str) -> str:
        """The word."""
        if not isinstance(value, str):
            raise refuse(where, value, f"one of {', '.join(self.words)}")
        if value not in self.words:
            raise RefusedError(422, f"{where}: {did_you_mean(value[:60], self.words)}", where)
        return value

    def schema(self) -> Schema:
        """An enumeration."""
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True)
class Several:
    """A list of values of one kind."""

    item: Shape
    least: int = 0
    most: int = 256

    def read(self, value: Any, where: str) -> tuple[Any, ...]:
        """The items."""
        if not isinstance(value, list):
            raise refuse(where, value, "a list")
        if not self.least <= len(value) <= self.most:
            raise RefusedError(422, f"{where} has {len(value)} items; wanted {self.least} to {self.most}.", where)
        return tuple(self.item.read(item, f"{where}/{index}") for index, item in enumerate(value))

    def schema(self) -> Schema:
        """An array."""
        return {"type": "array", "items": self.item.schema(), "minItems": self.least, "maxItems": self.most}


@dataclass(frozen=True)
class Maybe:
    """Something, or null."""

    shape: Shape

    def read(self, value: Any, where: str) -> Any:
        """What it is, or None."""
        return None if value is None else self.shape.read(value, where)

    def schema(self) -> Schema:
        """Either of them."""
        return {"anyOf": [self.shape.schema(), {"type": "null"}]}


@dataclass(frozen=True)
class Table:
    """A JSON object with known names, made into a dataclass. `together` is what its schema says of values that go
    together; to refuse others is left to who takes the dataclass, and knows more of them."""

    make: Callable[..., Any]
    shapes: Mapping[str, Shape]
    required: tuple[str, ...] = ()
    together: Mapping[str, Any] = field(default_factory=dict)

    def read(self, value: Any, where: str) -> Any:
        """An instance."""
        if not isinstance(value, dict):
            raise refuse(where, value, f"a table with {', '.join(self.required) or 'options'}")
        for name in value:
            if name not in self.shapes:
                hint = did_you_mean(name[:60], self.shapes)
                raise RefusedError(422, f"{where or '/'}: nothing is called {name[:60]!a}; {hint}", where)
        for name in self.required:
            if name not in value:
                raise RefusedError(422, f"{where or '/'}: {name} is missing.", where)
        return self.make(**{name: self.shapes[name].read(inner, f"{where}/{name}") for name, inner in value.items()})

    def schema(self) -> Schema:
        """An object."""
        properties = {name: shape.schema() for name, shape in self.shapes.items()}
        found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return found | dict(self.together) | ({"required": list(self.required)} if self.required else {})


def table(cls: Any, without: frozenset[str] = frozenset(), limits: Mapping[str, Shape] | None = None) -> Table:
    """The table of a dataclass's fields, by their annotations; `limits` go before these.

    Example:
        >>> @dataclass(frozen=True)
        ... class Ask:
        ...     count: Annotated[int, Number(1, 9, whole=True)] = 5
        >>> table(Ask).read({"count": 7}, "")
        Ask(count=7)
        >>> table(Ask).read({"cuont": 7}, "")
        Traceback (most recent call last):
        seq2seq.app.serving.refusals.RefusedError: /: nothing is called 'cuont'; did you mean count?
    """
    hints = get_type_hints(cls, include_extras=True)
    kept = [f for f in fields(cls) if f.name not in without]
    shapes = {f.name: (limits or {}).get(f.name) or shape_of(hints[f.name]) for f in kept}
    required = tuple(f.name for f in kept if f.default is MISSING and f.default_factory is MISSING)
    return Table(cls, shapes, required)


def shape_of(hint: Any) -> Shape:
    """The shape that an annotation stands for: its own in `Annotated[...]`, or the widest of its type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        own = [extra for extra in args[1:] if hasattr(extra, "read") and hasattr(extra, "schema")]
        return own[0] if own else shape_of(args[0])
    if origin in (Union, UnionType):
        return Maybe(shape_of(next(arg for arg in args if arg is not NoneType)))
    if origin is Literal:
        return Choice(args)
    if origin is tuple:
        return Several(shape_of(args[0]), *(() if args[-1] is Ellipsis else (len(args), len(args))))
    if is_dataclass(hint):
        return table(hint)
    return {str: Text(), bool: Flag(), int: Number(whole=True), float: Number()}[hint]
