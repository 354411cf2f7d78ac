"""From the words of the command line to typed options, by tyro; what several commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from seq2seq.app.names import class_name, named_class
from seq2seq.app.text_model import TextModel, model_file
from seq2seq.app.user_code import classes_of, trusted_classes
from seq2seq.data import BadLineError, Ledger, stream_lines
from seq2seq.data.lines import read_lines
from seq2seq.errors import ConfigError

T = TypeVar("T")
_MAX_LINE = 1_000_000


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and the classes of yours that it needs."""

    model: tyro.conf.Positional[str]
    """A model.npz, or the folder of a run."""
    types: tuple[str, ...] = ()
    """Classes of yours that the model holds: my_file.py:MyClass."""
    trust_code: bool = False
    """Import such classes from RUN/code, where train copied them. They are code, and they run."""

    def load(self) -> TextModel:
        """The model."""
        types = classes_of(self.types)
        if self.trust_code:
            types += trusted_classes(model_file(self.model).parent)
        return TextModel.load(self.model, types)


def parse(cls: type[T], command: str, arguments: Sequence[str], default: T | None = None) -> T:
    """The options of a command. An unknown one ends the program with exit code 2, naming the nearest known ones."""
    options: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(
        cls, prog=f"seq2seq {command}", args=list(arguments), registry=_REGISTRY, compact_help=False, **options
    )


def read_input(path: str | None) -> Iterator[tuple[int, str]]:
    """The lines of a file, or of standard input, numbered from 1.

    Raises:
        DataError: a line is not UTF-8, holds a NUL, or is longer than a million characters.
    """
    ledger = Ledger()
    name = "standard input" if path in (None, "-") else str(path)
    if path in (None, "-"):
        lines = stream_lines(sys.stdin.buffer, name, _MAX_LINE, ledger)
    else:
        lines = read_lines(Path(str(path)), _MAX_LINE, ledger)
    for number, line in lines:
        if isinstance(line, BadLineError):
            ledger.bad(line, name, number)
        else:
            yield number, line


def _class_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`--model.cell gru` and `--model.cell my_cell.py:MyCell`."""
    if get_origin(info.type) is not type:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME|FILE.py:CLASS",
        instance_from_str=lambda words: named_class(words[0]),
        is_instance=lambda value: isinstance(value, type),
        str_from_instance=lambda cls: [class_name(cls)],
    )


def _scale_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`--optimizer.scale encoder=0.1 decoder.cell=0.5`."""
    if get_origin(info.type) is not dict or get_args(info.type) != (str, float):
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=FACTOR",
        instance_from_str=lambda words: dict(map(_factor, words)),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda values: [f"{name}={factor}" for name, factor in values.items()],
    )


def _factor(word: str) -> tuple[str, float]:
    name, equals, factor = word.partition("=")
    try:
        if name and equals:
            return name, float(factor)
    except ValueError:
        pass
    raise ConfigError(f"{word!r}: wanted NAME=FACTOR, such as encoder=0.1.")


_REGISTRY = ConstructorRegistry()
_REGISTRY.primitive_rule(_class_rule)
_REGISTRY.primitive_rule(_scale_rule)
