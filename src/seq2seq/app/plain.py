"""Configuration dataclasses <-> plain values, as TOML holds them; unknown names and wrong types are one clear line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli_w

from seq2seq.app.names import class_name, named_class, names_class
from seq2seq.errors import ConfigError, did_you_mean

T = TypeVar("T")
_NONE = "None"
"""As on the command line: --patience None."""


_KINDS: dict[Any, str] = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a list",
    list: "a list",
    Sequence: "a list",
    dict: "a table",
    Mapping: "a table",
}


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration as nested dicts. TOML has no null: a None that is the default is left out, another is "None".

    Example:
        >>> from seq2seq.models.config import EncoderDecoderConfig
        >>> to_plain(EncoderDecoderConfig())["cell"]
        'lstm'
    """
    values = [(f, getattr(config, f.name)) for f in fields(config) if f.init]
    return {f.name: _plain(value) for f, value in values if value is not None or f.default is not None}


def of_plain(cls: type[T], values: Mapping[str, Any], where: str, default: T | None = None, check: bool = True) -> T:
    """A configuration from nested dicts, over `default` or the class's own defaults. `where` begins each message.

    Without `check` it is made as by `unchecked`: names and types are looked at all the same.

    Raises:
        ConfigError: an unknown name, a value of the wrong type, or what the class refuses.

    Example:
        >>> from seq2seq.training.optimizer import OptimizerConfig
        >>> of_plain(OptimizerConfig, {"clip": 5, "freeze": ["encoder"]}, "my.toml").clip
        5.0
        >>> of_plain(OptimizerConfig, {"clipp": 5}, "my.toml")
        Traceback (most recent call last):
        seq2seq.errors.ConfigError: my.toml: no option is called clipp; did you mean clip?
    """
    hints = get_type_hints(cls)
    known = [f.name for f in fields(cls) if f.init]  # pyright: ignore[reportArgumentType]
    made: dict[str, Any] = {} if default is None else {name: getattr(default, name) for name in known}
    for name, value in values.items():
        field_name = name.replace("-", "_")
        if field_name not in known:
            raise ConfigError(f"{where}: no option is called {name}; {did_you_mean(field_name, known)}")
        hint, before = hints[field_name], made.get(field_name)
        if isinstance(hint, TypeVar):  # the model's own options: whatever class the default has
            hint = type(before)
        made[field_name] = _value(hint, value, f"{where}: {name}", before, check)
    missing = [
        f.name
        for f in fields(cls)  # pyright: ignore[reportArgumentType]
        if f.init and f.name not in made and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: {missing[0]} is missing.")
    if not check:
        return unchecked(cls, made)
    try:
        return cls(**made)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def unchecked(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a dataclass that `__post_init__` has not seen: what will be laid over it may make it right.

    Example:
        >>> from seq2seq.training.optimizer import OptimizerConfig
        >>> half_way = unchecked(OptimizerConfig, {"clip": -1.0})
        >>> half_way.clip, half_way.name
        (-1.0, 'adam')
    """
    if unknown := values.keys() - {f.name for f in fields(cls)}:  # pyright: ignore[reportArgumentType]
        raise TypeError(f"{cls.__name__} has no {min(unknown)}")
    made = object.__new__(cls)
    for f in fields(cls):  # pyright: ignore[reportArgumentType]
        if f.name in values:
            object.__setattr__(made, f.name, values[f.name])
        elif f.default_factory is not MISSING:
            object.__setattr__(made, f.name, f.default_factory())
        elif f.default is not MISSING:
            object.__setattr__(made, f.name, f.default)
    return made


def changed(config: T, **values: Any) -> T:
    """As `dataclasses.replace`, unchecked."""
    own = {f.name: getattr(config, f.name) for f in fields(config) if f.init}  # pyright: ignore[reportArgumentType]
    return unchecked(type(config), own | values)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The values in a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}.") from None


def to_toml(values: Mapping[str, Any]) -> str:
    """Nested dicts as the text of a TOML file."""
    return tomli_w.dumps(values)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(value)
    if isinstance(value, type):
        return class_name(value)
    if value is None:
        return _NONE
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple | list) else value


def _value(hint: Any, value: Any, where: str, default: Any, check: bool = True) -> Any:
    """`value`, checked against its annotation."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if NoneType in args and value == _NONE:
            return None
        inner = [arg for arg in args if arg is not NoneType]
        for kind in [arg for arg in inner if get_origin(arg) is type]:  # a class, or a word or something else
            is_class = names_class(str(value), get_args(kind)[0])
            inner = [arg for arg in inner if (arg is kind) == is_class] or inner
        *others, last = sorted(inner, key=lambda kind: type(value) is not kind)  # 3 is no float where it may be an int
        for kind in others:
            with suppress(ConfigError):
                return _value(kind, value, where, default, check)
        return _value(last, value, where, default, check)
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; wanted a table.")
        return of_plain(hint, value, where, default, check)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} is {value!r}; {did_you_mean(str(value), map(str, args))}")
        return value
    if origin is type:
        try:
            return named_class(str(value), args[0])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    if origin is tuple and isinstance(value, list | tuple):
        kinds = args[:1] * len(value) if args[1:] == (Ellipsis,) else args
        if len(kinds) != len(value):
            raise ConfigError(f"{where} has {len(value)} values; wanted {len(kinds)}.")
        return tuple(_value(kind, item, where, None) for kind, item in zip(kinds, value, strict=True))
    if (origin or hint) in (list, tuple, Sequence) and isinstance(value, list | tuple):
        kind = args[0] if args else Any
        several = [_value(kind, item, where, None) for item in value]
        return several if (origin or hint) is list else tuple(several)
    if hint is Any:
        return value
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _value(args[1], item, where, None) for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        if not isinstance(value, str) or value not in hint.__members__:
            raise ConfigError(f"{where} is {value!r}; {did_you_mean(str(value), hint.__members__)}")
        return hint[value]
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type) and origin not in _KINDS:
        raise ConfigError(f"{where} is of {hint}, which no config.toml can hold; take a text or a number in its place.")
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r}; wanted {_KINDS.get(origin or hint, hint)}.")
    return value
