"""Classes of the user's, named on the command line as `my_file.py:MyClass`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from seq2seq.core.module import is_module
from seq2seq.errors import ConfigError, did_you_mean


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
    if not is_module(found):
        raise ConfigError(f"{name}: decorate the class with @seq2seq.module, so that JAX knows its leaves.")
    return found


def name_of(cls: type) -> str:
    """The `my_file.py:MyClass` under which `find_class` finds a class again; the bare name for one of ours."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.__module__.startswith("seq2seq.") or file is None:
        return cls.__name__
    return f"{file}:{cls.__name__}"


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
        values: list[Any] = list(vars(_import(file)).values())
        found += [value for value in values if isinstance(value, type) and is_module(value)]
    return found


def copy_code(classes: Iterable[type], run: Path) -> None:
    """Copy the files of the user's classes to RUN/code, so that the run tells its whole story."""
    for cls in classes:
        path, _, _ = name_of(cls).rpartition(":")
        if path and not (run / "code" / Path(path).name).exists():
            (run / "code").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, run / "code")


def _import(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file.")
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    if known is not None or path.stem in sys.builtin_module_names:
        raise ConfigError(f"{path}: a module named {path.stem} is loaded already; give the file another name.")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: cannot be imported.")
    imported = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = imported  # annotations are resolved in it while it is being imported
    try:
        spec.loader.exec_module(imported)
    except SyntaxError as error:
        del sys.modules[path.stem]
        raise ConfigError(f"{path}:{error.lineno}: {error.msg}.") from error
    except Exception as error:
        del sys.modules[path.stem]
        raise ConfigError(f"{path}: importing it raised {type(error).__name__}: {error}") from error
    return imported
