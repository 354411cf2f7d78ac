"""`@module`: a frozen dataclass that is a JAX pytree, so that plain `jit`, `grad`, `scan` and optax take it as it is.

What is a leaf is read off the annotations. A field annotated as `Array`, as a `@module` class, as a `Protocol`, or as
a tuple, dict or union of these holds leaves (it is traced and trained). Every other field (int, float, bool, str,
enum, callable) is static: part of the tree's structure, and so it must be hashable. A `dropout: float` that was a
leaf would be trained: 0.3 became 0.2933 in five updates.

Two traps are avoided here. The class compares by identity (`eq=False`), so that bound methods such as `cell.step`
can be hashed and scanned; and unflattening never calls `__init__`, so that JAX may put tracers, None or shapes into
the fields while it transforms the tree.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, KeyPath, SequenceKey

from seq2seq.errors import ModuleError

T = TypeVar("T")
C = TypeVar("C", bound=type)


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True, field_specifiers=(field,))
def module(cls: C) -> C:
    """Make `cls` a frozen, keyword-only dataclass that is a pytree.

    Raises:
        ModuleError: an annotation cannot be resolved, or it mixes leaves with static values (`tuple[Array, int]`), or
            a base is a dataclass and no module; on construction, a static value that cannot be hashed or a leaf that
            is not floating.

    Example:
        >>> @module
        ... class Scale:
        ...     by: Array
        ...     power: int = 1
        ...     def __call__(self, x: Array) -> Array:
        ...         return (x * self.by) ** self.power
        >>> double = Scale(by=jnp.full((), 2.0))
        >>> float(jax.grad(lambda m: m(jnp.array(3.0)))(double).by)
        3.0
        >>> jax.tree.leaves(double)
        [Array(2., dtype=float32, weak_type=True)]
    """
    made: Any = dataclass(frozen=True, eq=False, kw_only=True, repr=False)(cls)
    made.__module_leaves__ = ()  # from here on it is known as a module, to its own annotations too
    hints = _hints(made, sys._getframe(1).f_locals)
    names = [f.name for f in fields(made)]
    leaves = tuple(name for name in names if _holds_leaves(made, name, hints[name]))
    statics = tuple(name for name in names if name not in leaves)
    made.__module_leaves__, made.__module_statics__, made.__module_hints__ = leaves, statics, hints
    made.__init__ = _checked(made.__init__, made)
    if "__repr__" not in cls.__dict__:
        made.__repr__ = pretty

    return as_node(made, leaves, statics)


def as_node(cls: C, leaves: Sequence[str], statics: Sequence[str] = ()) -> C:
    """Make a pytree of a class whose instances are the values of these fields and no more; a decorator by `partial`.

    (`jax.tree_util.register_dataclass` does so too, but two classes with fields of the same names are then one to
    `jax.jit`: their PyTreeDefs are equal, and where the hashes fall into one bucket, one runs with the program of the
    other.)

    Example:
        >>> class Point:
        ...     def __init__(self, x): self.x = x
        >>> jax.tree.map(lambda x: 2 * x, as_node(Point, ["x"])(3)).x
        6
    """

    def flatten(m: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values = m.__dict__
        return tuple(values[n] for n in leaves), tuple(values[n] for n in statics)

    def flatten_with_keys(m: Any) -> tuple[tuple[tuple[Any, Any], ...], tuple[Any, ...]]:
        values = m.__dict__
        return tuple((GetAttrKey(n), values[n]) for n in leaves), tuple(values[n] for n in statics)

    def unflatten(aux: tuple[Any, ...], children: Any) -> Any:
        m = object.__new__(cls)
        m.__dict__.update(zip(leaves, children, strict=True))
        m.__dict__.update(zip(statics, aux, strict=True))
        return m

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def is_module(value: object) -> bool:
    """Whether `value` is a `@module` class or an instance of one."""
    return hasattr(value, "__module_leaves__")


def restore(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the `@module` class from the values of its fields, without calling `__init__`."""
    made = object.__new__(cls)
    made.__dict__.update(values)
    return made


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of any pytree under the names they have in an archive.

    Example:
        >>> named_leaves({"encoder": [jnp.ones(2), None], "out": jnp.ones(3)}).keys()
        dict_keys(['encoder/0', 'out'])
    """
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def leaf_name(path: KeyPath) -> str:
    """A key path as a name: `encoder/cells/0/w`."""
    return "/".join(map(_key_name, path))


def count(tree: Any) -> int:
    """The number of parameters: numbers in all leaves."""
    return sum(math.prod(getattr(leaf, "shape", ())) for leaf in jax.tree.leaves(tree))


def pretty(tree: Any) -> str:
    """A tree of modules with its shapes and parameter counts, one field a line.

    Example:
        >>> @module
        ... class Affine:
        ...     w: Array
        ...     rate: float = 0.1
        >>> print(pretty(Affine(w=jnp.ones((2, 3)))))
        Affine (6 parameters)
          rate = 0.1
          w: float32[2, 3]
    """
    return "\n".join(_lines(tree, ""))


def _hints(cls: type, local: dict[str, Any]) -> dict[str, Any]:
    """The resolved annotations of all fields; names are looked up where the class that has them was written."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        if "__dataclass_fields__" in base.__dict__ and not is_module(base):
            raise ModuleError(f"{cls.__name__} inherits from the dataclass {base.__name__}; make that a @module too.")
        hints |= base.__dict__.get("__module_hints__", {})
    own = {"__annotations__": inspect.get_annotations(cls), "__module__": cls.__module__}
    try:
        return hints | get_type_hints(type(cls.__name__, (), own), localns={**local, cls.__name__: cls})
    except AttributeError as error:
        raise ModuleError(f"{cls.__name__}: there is no {error.name!r} in an annotation ({error}).") from None
    except NameError as error:
        raise ModuleError(
            f"{cls.__name__}: the annotation {error.name!r} cannot be found; import it for real, not only under "
            "TYPE_CHECKING: @module reads annotations to tell leaves from static fields."
        ) from None


def _holds_leaves(cls: type, name: str, annotation: Any) -> bool:
    """Whether a field with this annotation holds leaves."""
    kinds = _kinds(annotation)
    if kinds == {True, False}:
        raise ModuleError(
            f"{cls.__name__}.{name}: {annotation} mixes arrays or modules with static values; make them two fields."
        )
    return True in kinds


def _kinds(annotation: Any) -> set[bool]:
    """{True} for leaves, {False} for static, {} for neutral (None), both when mixed."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in (None, NoneType, Ellipsis):
        return set()
    if origin in (Union, UnionType, tuple, list, Sequence):
        return set().union(*map(_kinds, args))
    if origin in (dict, Mapping):
        return _kinds(args[1]) if args else {False}
    if isinstance(annotation, TypeVar):
        return _kinds(annotation.__bound__) or {False}
    if isinstance(origin or annotation, type):
        kind = origin or annotation
        return {kind is Array or is_module(kind) or getattr(kind, "_is_protocol", False)}
    return {False}


def _checked(init: Any, cls: Any) -> Any:
    """`init` that refuses what would go wrong later, far from its cause."""

    def __init__(self: Any, *args: Any, **values: Any) -> None:  # noqa: N807
        init(self, *args, **values)
        if "__module_leaves__" not in type(self).__dict__:
            raise ModuleError(f"{type(self).__name__} inherits from the module {cls.__name__}; make it a @module too.")
        if type(self) is not cls:
            return
        for name in cls.__module_statics__:
            _check_static(cls, name, self.__dict__[name])
        for name in cls.__module_leaves__:
            for leaf in jax.tree.leaves(self.__dict__[name]):
                _check_leaf(cls, name, leaf)

    return functools.update_wrapper(__init__, init)


def _check_static(cls: type, name: str, value: object) -> None:
    held = jax.tree.leaves(value, is_leaf=_is_instance) if isinstance(value, tuple | list | dict) else [value]
    if found := [one for one in held if _is_instance(one)]:
        raise ModuleError(
            f"{cls.__name__}.{name}: a {type(found[0]).__name__} in a static field would never be trained; "
            "annotate the field as that module, as a Protocol, or as a tuple[...] of these."
        )
    try:
        hash(value)
    except TypeError:
        raise ModuleError(
            f"{cls.__name__}.{name}: a static value must be hashable, found {type(value).__name__}; "
            "annotate it as Array if it is to be trained, or make it a tuple."
        ) from None


def _is_instance(value: object) -> bool:
    return is_module(value) and not isinstance(value, type)


def _check_leaf(cls: type, name: str, leaf: Any) -> None:
    if isinstance(leaf, bool | int | float | complex | str):
        raise ModuleError(f"{cls.__name__}.{name}: wanted an array, found {leaf!r}; use jnp.asarray.")
    if not hasattr(leaf, "dtype"):
        raise ModuleError(
            f"{cls.__name__}.{name}: wanted arrays or modules, found {type(leaf).__name__}; make its class a @module."
        )
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        raise ModuleError(
            f"{cls.__name__}.{name}: an array of {leaf.dtype} cannot be a leaf, since leaves are trained; "
            "keep it as a static tuple, compute it where it is used, or, if it is a mask, cast it: "
            ".astype(jnp.float32)."
        )


def _key_name(key: Any) -> str:
    match key:
        case GetAttrKey(name=name):
            return name
        case SequenceKey(idx=index):
            return str(index)
        case DictKey(key=name) | FlattenedIndexKey(key=name):
            return str(name)
        case _:
            return str(key)


def _lines(value: Any, indent: str, label: str = "") -> Iterator[str]:
    head = f"{indent}{label}"
    if is_module(value) and not isinstance(value, type):
        yield f"{head}{': ' if label else ''}{type(value).__name__} ({count(value):,} parameters)"
        for name in type(value).__module_statics__:
            yield f"{indent}  {name} = {_static(getattr(value, name))}"
        for name in type(value).__module_leaves__:
            yield from _lines(getattr(value, name), indent + "  ", name)
    elif isinstance(value, tuple | list | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _lines(item, indent, f"{label}/{key}" if label else str(key))
    elif hasattr(value, "shape"):
        yield f"{head}: {value.dtype}{list(value.shape)}"
    else:
        yield f"{head} = {value!r}"


def _static(value: object) -> str:
    return getattr(value, "__qualname__", None) or repr(value)
