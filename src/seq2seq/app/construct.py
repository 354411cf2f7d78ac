"""From the options to a model: any class whose `init` takes a key and its vocabularies.

A model's `vocabulary` (one for both sides) or `source_vocabulary` and `target_vocabulary` come from the tokenizers, and
so does `target_of_source`: for each id of the source that of the same token in the target, or -1.
The other typed arguments of `init` are the user's to choose: they are the `--model` options. A single argument that
is a dataclass stands for its fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass, replace
from typing import Any, get_origin, get_type_hints

import tyro

from seq2seq.app.names import MODELS, named_class
from seq2seq.app.plain import unchecked
from seq2seq.core.seams import Key
from seq2seq.errors import ConfigError

_GIVEN = ("vocabulary", "source_vocabulary", "target_vocabulary", "target_of_source")


def model_class(name: str) -> type:
    """The model that `--model.type` names.

    Raises:
        ConfigError: there is none, or it can neither train by `loss` nor by `start` and `step`.
    """
    cls = named_class(name)
    if cls not in MODELS.values() and not (hasattr(cls, "init") and (_can_search(cls) or hasattr(cls, "loss"))):
        raise ConfigError(f"{name}: a model needs `init(key, ...)` and either `loss`, or `start` and `step`.")
    return cls


def options_of(cls: Any) -> type:
    """A dataclass of the `--model` options of a model: the arguments of its `init` that are not given by the data."""
    parameters = _chosen(cls)
    hints = _hints(cls)
    if len(parameters) == 1 and is_dataclass(only := hints.get(next(iter(parameters)))):
        _refuse_taken(cls, [f.name for f in fields(only)])
        return only  # pyright: ignore[reportReturnType]
    _refuse_taken(cls, parameters)
    made = []
    for name, parameter in parameters.items():
        if name not in hints:
            raise ConfigError(f"{cls.__name__}.init: give the argument {name} a type, so that --model.{name} has one.")
        default = parameter.default
        if default is inspect.Parameter.empty:
            made.append((name, hints[name]))
        elif type(default).__hash__ is None:  # which a dataclass takes for one that several share
            made.append((name, hints[name], field(default_factory=lambda default=default: default)))
        else:
            made.append((name, hints[name], field(default=default)))
    told = {"__doc__": f"{cls.__name__}."}
    return make_dataclass(f"{cls.__name__}Options", made, frozen=True, kw_only=True, namespace=told)


def _refuse_taken(cls: Any, names: Iterable[str]) -> None:
    if "type" in names:
        raise ConfigError(f"{cls.__name__}.init: --model.type names the model; call the argument otherwise.")


def refuse_functions(cls: Any, made: Any) -> None:
    """Refuse options that are functions, before a fresh model is made of them.

    Raises:
        ConfigError: one is.
    """
    for name, hint in get_type_hints(made).items():
        if Callable in (hint, get_origin(hint)):
            raise ConfigError(
                f"{cls.__name__}.init: {name} is a function, which no config.toml can hold; take its name, a str."
            )


def default_options(name: str, made: Any) -> Any:
    """The `--model` options as the `init` of a model has them, of the class `made`; one without a default is missing
    still, as tyro marks it."""
    for parameter in _chosen(model_class(name)).values():
        if isinstance(parameter.default, made):  # the single argument that stands for its fields
            return parameter.default
    needed = [f.name for f in fields(made) if f.init and f.default is MISSING and f.default_factory is MISSING]
    return unchecked(made, dict.fromkeys(needed, tyro.MISSING))


def option_names(cls: Any) -> set[str]:
    """The names of the `--model` options of a model; of one that no command line could make there are none."""
    with suppress(ConfigError, AttributeError):
        return {f.name for f in fields(options_of(cls))}
    return set()


def settings_of(cls: Any, statics: Mapping[str, Any]) -> type:
    """A dataclass of the `--model` options that a finished model may be told anew: those that are `of_training`.

    By default each is what the static field of its name is.

    Example:
        >>> from seq2seq.models.encoder_decoder import EncoderDecoder
        >>> settings_of(EncoderDecoder, {"dropout": 0.1})()
        EncoderDecoderSettings(dropout=0.1)
    """
    names = option_names(cls) & set(getattr(cls, "of_training", ())) & set(statics)
    made = options_of(cls) if names else None
    hints = get_type_hints(made, include_extras=True) if made else {}
    several = [(name, hints[name], field(default=statics[name])) for name in hints if name in names]
    return make_dataclass(f"{cls.__name__}Settings", several, frozen=True, namespace={"__doc__": f"{cls.__name__}."})


def with_settings(model: Any, settings: Any) -> Any:
    """The model with `settings`, of the class that `settings_of` made.

    Raises:
        ConfigError: a value that the model's own options refuse.
    """
    told = {f.name: getattr(settings, f.name) for f in fields(settings)}
    if all(getattr(model, name) == value for name, value in told.items()):
        return model
    made: Any = options_of(type(model))
    if not any(f.default is MISSING and f.default_factory is MISSING for f in fields(made)):
        made(**told)  # which checks them
    return replace(model, **told)


def build_model(cls: Any, key: Key, given: Mapping[str, Any], options: Any) -> Any:
    """A fresh model of the class for what the tokenizers give ("source_vocabulary" and so on) and options."""
    sizes = {name: given[name] for name in _parameters(cls) if name in _GIVEN}
    chosen = _chosen(cls)
    if len(chosen) == 1 and is_dataclass(_hints(cls).get(next(iter(chosen)))):
        return cls.init(key, **sizes, **{next(iter(chosen)): options})
    return cls.init(key, **sizes, **{f.name: getattr(options, f.name) for f in fields(options)})


def shares_vocabulary(cls: Any) -> bool:
    """Whether the model has one vocabulary for source and target."""
    return "vocabulary" in _parameters(cls)


def _parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """The arguments of `init` after the key."""
    if not inspect.ismethod(cls.init):
        raise ConfigError(f"{cls.__name__}.init: make it a @classmethod, `init(cls, key, ...)`.")
    return dict(list(inspect.signature(cls.init).parameters.items())[1:])


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return get_type_hints(cls.init)
    except NameError as error:
        raise ConfigError(
            f"{cls.__name__}.init: the annotation {error.name!r} cannot be found; import it for real, not only under "
            "TYPE_CHECKING."
        ) from None


def _chosen(cls: Any) -> dict[str, inspect.Parameter]:
    return {name: parameter for name, parameter in _parameters(cls).items() if name not in _GIVEN}


def _can_search(cls: type) -> bool:
    return hasattr(cls, "start") and hasattr(cls, "step")
