"""Classes of the user's, named on the command line as `my_file.py:MyClass`."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from seq2seq.core.module import is_module
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.models.model import Model

_GIVEN: dict[str, str] = {}
"""The path that each imported module was named by."""


def find_class(name: str) -> type:
    """The class that `my_file.py:MyClass` names. The file is imported: it is code, and it runs.

    Raises:
        ConfigError: the name is not FILE.py:CLASS, there is no such file or class, the file cannot be imported, or
            the class is not a `@module`.
    """
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py") or not attribute:
        raise ConfigError(f"{name!r} does not name a class; write it as my_file.py:MyClass.")
    imported = _import(Path(path))
    classes = {key: value for key, value in vars(imported).items() if isinstance(value, type)}
    if attribute not in classes:
        raise ConfigError(f"{path} has no class {attribute}; {did_you_mean(attribute, classes)}")
    found = classes[attribute]
    if "__module_leaves__" not in vars(found):  # of its own, not of a base that is a module
        raise ConfigError(f"{name}: decorate the class with @seq2seq.module, so that JAX knows its leaves.")
    if hasattr(found, "start") and hasattr(found, "step") and not hasattr(found, "loss"):
        found.loss = Model.loss  # pyright: ignore[reportAttributeAccessIssue]  # as if it had inherited it
    return found


def name_of(cls: type) -> str:
    """The `my_file.py:MyClass` under which `find_class` finds a class again; the bare name for one of ours."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.__module__.startswith("seq2seq.") or file is None:
        return cls.__name__
    return f"{_GIVEN.get(cls.__module__, file)}:{cls.__name__}"


def file_hash(cls: type) -> str:
    """The first 12 digits of the SHA-256 of the file that a class stands in, with all that it uses there."""
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] if path else "unknown"


def classes_of(names: Sequence[str]) -> list[type]:
    """All that `--types` names."""
    return [find_class(name) for name in names]


def known_classes(names: Sequence[str]) -> list[type]:
    """All that a model may hold where `--types` names some: the other `@module` classes of their files too, which were
    imported with them."""
    found = classes_of(names)
    files = dict.fromkeys(sys.modules[cls.__module__] for cls in found)
    return beside(found, [cls for file in files for cls in _modules_of(file)])


def beside(named: Sequence[type], others: Iterable[type]) -> list[type]:
    """Classes that were named, and others of other names: what is named goes before what only stands somewhere."""
    names = {cls.__name__ for cls in named}
    return [*named, *(cls for cls in others if cls.__name__ not in names)]


def trusted_classes(run: Path) -> list[type]:
    """The `@module` classes in RUN/code, where `train` copied the user's files. They are imported: they run.

    Raises:
        ConfigError: there is no such folder.
    """
    files = sorted((run / "code").glob("*.py"))
    if not files:
        raise ConfigError(f"--trust-code: there is no code in {run / 'code'}; name the class by --types FILE.py:CLASS.")
    found: list[type] = []
    for file in files:
        found += _modules_of(_import(file))
    return found


def _modules_of(imported: ModuleType) -> list[type]:
    """The `@module` classes that stand in a file of the user's."""
    values: list[Any] = [value for value in vars(imported).values() if isinstance(value, type)]
    return [value for value in values if is_module(value) and value.__module__ == imported.__name__]


def copy_code(classes: Iterable[type], run: Path) -> None:
    """Copy the files of the user's classes to RUN/code, so that the run tells its whole story."""
    for path, copy in copies(classes, run).items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def copies(classes: Iterable[type], run: Path) -> dict[Path, Path]:
    """The files of the user's classes, and where in RUN/code they are to be; of files of one name the second becomes
    name_2.py, and so on. What lies there already is left out."""
    paths = [Path(name_of(cls).rpartition(":")[0]).resolve() for cls in classes]
    taken: dict[str, int] = {}
    found: dict[Path, Path] = {}
    for path in dict.fromkeys(path for path in paths if path.is_file()):
        taken[path.name] = number = taken.get(path.name, 0) + 1
        copy = run / "code" / (path.name if number == 1 else f"{path.stem}_{number}{path.suffix}")
        if copy.resolve() != path:
            found[path] = copy
    return found


def _import(path: Path) -> ModuleType:
    """The module in a file, imported once. Its name is made of the whole path, so that no other can be taken for it."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file.")
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: cannot be imported.")
    imported = importlib.util.module_from_spec(spec)
    _GIVEN[name] = str(path)
    sys.modules[name] = imported  # annotations are resolved in it while it is being imported
    try:
        spec.loader.exec_module(imported)
    except SyntaxError as error:
        del sys.modules[name]
        raise ConfigError(f"{path}:{error.lineno}: {error.msg}.") from error
    except Exception as error:
        del sys.modules[name]
        beside = isinstance(error, ModuleNotFoundError) and (path.parent / f"{error.name}.py").is_file()
        cure = "; a run keeps this file alone: write what it needs into it, or install that" if beside else ""
        raise ConfigError(f"{path}: importing it raised {type(error).__name__}: {error}{cure}") from error
    return imported
