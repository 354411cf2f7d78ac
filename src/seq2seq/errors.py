"""Every error that seq2seq raises on purpose.

```
Seq2SeqError
├── ConfigError            an option or a configuration value that cannot be used
├── DataError              text that cannot be used; says file and line
├── ModuleError            a @module class that is not well made
├── ShapeError             arrays whose shapes do not fit
├── ArchiveError           a file that cannot be read as an archive
│   ├── CorruptArchiveError    the bytes are not those that were written
│   ├── UnreadableArchiveError the file is not there, or cannot be read now
│   ├── NewerFormatError       a newer version wrote the file
│   ├── LeafError              a leaf is missing, extra or mis-shaped
│   └── UnknownClassError      the file holds a class that was not handed in
├── SearchError            a search that cannot give an answer
│   └── AttentionSizeError     it could, without its attention
└── TrainingError          training cannot go on
    ├── NonFiniteLossError     the loss became NaN or infinite
    └── ResumeError            the run in the folder is not the one asked for
```

A message says what, where, what was wanted and the likely cure, in one line.
The command line prints that line and ends with exit code 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class Seq2SeqError(Exception):
    """The root: catch this to catch everything that seq2seq raises on purpose."""


class ConfigError(Seq2SeqError, ValueError):
    """An option or configuration value that cannot be used."""


class DataError(Seq2SeqError, ValueError):
    """Text that cannot be used. `path` and `line` (counted from 1) say where, if known.

    Example:
        >>> print(DataError("no TAB between source and target", "pairs.tsv", 3))
        pairs.tsv:3: no TAB between source and target
    """

    def __init__(self, message: str, path: object = None, line: int | None = None):
        self.path, self.line = path, line
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)


class ModuleError(Seq2SeqError, TypeError):
    """A `@module` class, or a value put in one of its fields, that is not well made."""


class ShapeError(Seq2SeqError, ValueError):
    """Arrays whose shapes do not fit."""


class ArchiveError(Seq2SeqError, ValueError):
    """A file that cannot be read as an archive of ours."""


class CorruptArchiveError(ArchiveError):
    """The bytes are not those that were written."""


class NewerFormatError(ArchiveError):
    """The file is of a format that only a newer version of seq2seq can read."""


class UnreadableArchiveError(ArchiveError):
    """The file cannot be read now: it is not there, is not ours to read, or the disk fails. It may be sound."""


class LeafError(ArchiveError):
    """A leaf of a tree is missing, extra or mis-shaped in the archive."""


class UnknownClassError(ArchiveError):
    """The archive holds a class of the user's that was not handed to `load`."""


class SearchError(Seq2SeqError, ValueError):
    """A search that cannot give an answer. `line` (counted from 1) says whose prefix it cannot keep, if it is that."""

    def __init__(self, message: str, line: int | None = None):
        self.line = line
        super().__init__(message)


class AttentionSizeError(SearchError):
    """The attention of an output could be more than memory should hold; without it there is an answer."""


class TrainingError(Seq2SeqError, RuntimeError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite."""


class ResumeError(TrainingError):
    """The run in the folder is not the one asked for."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: the nearest known ones, or all of them.

    Example:
        >>> did_you_mean("hiden", ["hidden", "layers"])
        'did you mean hidden?'
    """
    known = sorted(known)
    near = get_close_matches(word, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"known are: {', '.join(known)}."


def check_literals(config: Any, prefix: str = "") -> None:
    """Refuse a field of a dataclass that is none of the values of its `Literal`: Python looks at no annotation.

    Raises:
        ConfigError: names the field, behind `prefix`, and the nearest values.

    Example:
        >>> from seq2seq.training.optimizer import OptimizerConfig  # which asks this
        >>> OptimizerConfig(schedule="cosin")
        Traceback (most recent call last):
        seq2seq.errors.ConfigError: optimizer.schedule is 'cosin'; did you mean cosine?
    """
    try:
        hints = get_type_hints(type(config))
    except NameError:  # of a class of the user's, with a name that is there for type checkers only
        return
    for field in fields(config):
        known, value = hints[field.name], getattr(config, field.name)
        several = get_origin(known) in (Union, UnionType)  # a word or something else
        words = [word for kind in (get_args(known) if several else (known,)) for word in _words(kind)]
        if words and value not in words and (isinstance(value, str) or not several):
            raise ConfigError(f"{prefix}{field.name} is {value!r}; {did_you_mean(str(value), words)}")


def _words(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()
