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
    path = Path(file)
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{cls.__name__}"


def classes_of(names: Sequence[str]) -> list[type]:
    """All that `--types` names."""
    return [find_class(name) for name in names]


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
        imported = _import(file)
        values: list[Any] = [value for value in vars(imported).values() if isinstance(value, type)]
        found += [value for value in values if is_module(value) and value.__module__ == imported.__name__]
    return found


def copy_code(classes: Iterable[type], run: Path) -> None:
    """Copy the files of the user's classes to RUN/code, so that the run tells its whole story."""
    for cls in classes:
        path, _, _ = name_of(cls).rpartition(":")
        if path and not (run / "code" / Path(path).name).exists():
            (run / "code").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, run / "code")


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
    sys.modules[name] = imported  # annotations are resolved in it while it is being imported
    try:
        spec.loader.exec_module(imported)
    except SyntaxError as error:
        del sys.modules[name]
        raise ConfigError(f"{path}:{error.lineno}: {error.msg}.") from error
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{path}: importing it raised {type(error).__name__}: {error}") from error
    return imported
