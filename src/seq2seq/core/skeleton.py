"""A tree of modules as JSON, and back: its classes, its static fields, and where its leaves are.

With the leaves of the archive this is the whole model, and nothing of it is code. Classes of seq2seq are imported by
name; a class of the user's is handed in, and matched by its name.
"""

from __future__ import annotations

import enum
import hashlib
import importlib
import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from seq2seq.core.module import is_module, restore
from seq2seq.errors import ArchiveError, CorruptArchiveError, LeafError, UnknownClassError

_OURS = "seq2seq."
_FUNCTIONS = ("jax.nn.", "seq2seq.nn.")


def describe(tree: Any, *, defaults: bool = True) -> Any:
    """The JSON of a tree of modules, tuples, lists, dicts, None and arrays.

    Without `defaults`, static fields that are as their class has them by default are left out: a field that a class
    gets later changes nothing then.

    Raises:
        ArchiveError: a static value that JSON cannot hold, or a leaf that is no array.

    Example:
        >>> import jax.numpy as jnp
        >>> describe({"weights": (jnp.ones(3), None)})
        {'dict': {'weights': {'tuple': ['leaf', None]}}}
    """
    if tree is None:
        return None
    if is_module(tree):
        cls = type(tree)
        default = {f.name: f.default for f in fields(cls)}
        return {
            **_class_name(cls),
            "static": {
                name: _static(cls, name, getattr(tree, name))
                for name in cls.__module_statics__
                if defaults or getattr(tree, name) != default.get(name, MISSING)
            },
            "fields": {name: describe(getattr(tree, name), defaults=defaults) for name in cls.__module_leaves__},
        }
    if type(tree) is dict:
        if odd := [name for name in tree if not isinstance(name, str)]:
            raise ArchiveError(f"the key {odd[0]!r} of a dict cannot be saved: keys are str.")
        return {"dict": {name: describe(value, defaults=defaults) for name, value in tree.items()}}
    if type(tree) in (tuple, list):
        return {"list" if isinstance(tree, list) else "tuple": [describe(value, defaults=defaults) for value in tree]}
    if not hasattr(tree, "dtype"):
        raise ArchiveError(
            f"{type(tree).__name__} is no array, module, tuple, list or dict and cannot be saved; use @module."
        )
    return "leaf"


def rebuild(skeleton: Any, arrays: Mapping[str, Any], types: Sequence[type] = (), name: str = "") -> Any:
    """The tree that `describe` saw, with these arrays (by leaf name) as its leaves.

    Raises:
        UnknownClassError: the tree holds a class that is neither ours nor in `types`.
        LeafError: an array is missing, or one has no place.
        CorruptArchiveError: `describe` never wrote this.
    """
    used: set[str] = set()

    def build(node: Any, name: str) -> Any:
        inside = f"{name}/" if name else ""
        match node:
            case None:
                return None
            case "leaf":
                if name not in arrays:
                    raise LeafError(f"leaf {name} is missing from the archive.")
                used.add(name)
                return arrays[name]
            case {"tuple": list(children)}:
                return tuple(build(child, f"{inside}{i}") for i, child in enumerate(children))
            case {"list": list(children)}:
                return [build(child, f"{inside}{i}") for i, child in enumerate(children)]
            case {"dict": dict(children)}:
                return {key: build(child, inside + key) for key, child in children.items()}
            case {"fields": dict(children)}:
                cls, statics = class_and_statics(node, types)
                values = {key: build(child, inside + key) for key, child in children.items()}
                return restore(cls, _completed(cls, values | statics))
            case _:
                raise _strange(name or "the model", node)

    tree = build(skeleton, name)
    if extra := sorted(set(arrays) - used):
        raise LeafError(f"leaf {extra[0]} of the archive has no place in the model ({len(extra)} extra in all).")
    return tree


def class_and_statics(node: Mapping[str, Any], types: Sequence[type] = ()) -> tuple[type, dict[str, Any]]:
    """The class of the module that `describe` saw, and its static fields; those that a class of ours has got more since
    have their defaults.

    Raises:
        UnknownClassError: it is neither ours nor in `types`.
        CorruptArchiveError: `describe` never wrote this.
    """
    match node:
        case {"class": str(), "static": dict(statics)}:
            cls: Any = _find(node, types)
            found = {name: _unstatic(name, value) for name, value in statics.items()}
            return cls, {name: value for name, value in _got_since(cls) if name in cls.__module_statics__} | found
        case _:
            raise _strange("the class of a module", node)


def source_hash(cls: type) -> str:
    """The first 12 digits of the SHA-256 of the class's source; `unknown` if there is none to read."""
    try:
        return hashlib.sha256(inspect.getsource(cls).encode()).hexdigest()[:12]
    except (OSError, TypeError):
        return "unknown"


def _class_name(cls: type) -> dict[str, str]:
    name = f"{cls.__module__}.{cls.__name__}"
    if name.startswith(_OURS) and _import(name) is cls:
        return {"class": name}
    return {"class": cls.__name__, "source": source_hash(cls)}


def _find(node: Mapping[str, Any], types: Sequence[type]) -> type:
    name: str = node["class"]
    if name.startswith(_OURS):
        found = _import(name)
        if isinstance(found, type) and is_module(found):
            return found
        raise UnknownClassError(f"this version of seq2seq has no module {name}; upgrade seq2seq-jax.")
    source = node.get("source", "unknown")
    if named := [cls for cls in types if cls.__name__ == name and is_module(cls)]:
        return next((cls for cls in named if source_hash(cls) == source), named[0])  # of several of one name
    raise UnknownClassError(
        f"the model holds the class {name} (source {source}), which is not part of seq2seq; hand it in: "
        f"load(path, types=[{name}]) or --types FILE.py:{name} (train copied the file to RUN/code)."
    )


def _import(name: str) -> Any:
    home, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(home), attribute, None)
    except ImportError:
        return None


def _got_since(cls: Any) -> list[tuple[str, Any]]:
    """The fields that a class of ours may have got since a file was written, with their defaults."""
    ours = cls.__module__.startswith(_OURS)
    return [(f.name, f.default) for f in fields(cls) if ours and f.default is not MISSING]


def _completed(cls: Any, found: dict[str, Any]) -> dict[str, Any]:
    """The fields that were found; where a class of ours has got more since, their defaults, which change nothing."""
    values = dict(_got_since(cls)) | found
    if odd := values.keys() ^ {*cls.__module_leaves__, *cls.__module_statics__}:
        name = min(odd)
        where = "is in the archive but not in" if name in found else "is not in the archive but in"
        raise LeafError(
            f"field {name} {where} the class {cls.__name__}: the class was changed since the model was saved; train "
            "copied its file to RUN/code, so say --types RUN/code/FILE.py:CLASS, or --trust-code and no --types."
        )
    return values


def _static(cls: type, name: str, value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str() if not isinstance(value, enum.Enum):
            return value
        case tuple() if type(value) is tuple:  # a named one would come back without its names
            return {"tuple": [_static(cls, name, item) for item in value]}
        case Callable() if _function_name(value):
            return {"function": _function_name(value)}
        case _:
            raise ArchiveError(
                f"{cls.__name__}.{name} = {value!r} cannot be saved: static values are None, bool, int, float, str, "
                "tuples of these, or functions of jax.nn."
            )


def _function_name(value: Any) -> str:
    """A name under which `value` can be imported from the modules that are allowed, else ''."""
    name = getattr(value, "__name__", "")
    for home in (*_FUNCTIONS, f"{getattr(value, '__module__', '')}."):
        if home.startswith(_FUNCTIONS) and _import(home + name) is value:
            return home + name
    return ""


def _unstatic(name: str, value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case {"tuple": list(items)}:
            return tuple(_unstatic(name, item) for item in items)
        case {"function": str(path)}:
            found = _import(path) if path.startswith(_FUNCTIONS) else None
            if not callable(found):
                raise ArchiveError(f"the archive names the function {path}, which cannot be found.")
            return found
        case _:
            raise _strange(name, value)


def _strange(name: str, found: Any) -> CorruptArchiveError:
    return CorruptArchiveError(f"{name} is {reprlib.repr(found)}, which seq2seq never writes.")
