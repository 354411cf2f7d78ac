"""Pairs that may be more than memory holds: a list, or a file that is read again each time."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, compress, islice
from pathlib import Path
from typing import Protocol

from seq2seq.data.formats import Pair
from seq2seq.errors import DataError

MOST_CHARACTERS = 16 << 20
"""Of pairs that a list holds; more are spooled."""
_BLOCK = 1 << 20  # bytes read at a time
_ROWS = 4096  # pairs written at a time


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What goes wrong with the file or the folder is said with its name.

    Raises:
        DataError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror or error}).", path) from None


class Pairs(Protocol):
    """What may be gone through again and again, and has a length."""

    def __iter__(self) -> Iterator[Pair]: ...
    def __len__(self) -> int: ...


class Spooled:
    """Pairs in a file: fields of UTF-8, each with a NUL behind it (no text of a pair holds one).

    Attributes:
        path: the file.
        sha256: of what it holds, in hexadecimal.
    """

    def __init__(self, path: Path, count: int, sha256: str):
        self.path, self.sha256, self._count = path, sha256, count

    @classmethod
    def write(cls, pairs: Iterable[Pair], path: Path) -> Spooled:
        """Write all of them; what was there is overwritten.

        Raises:
            DataError: the file cannot be written.
        """
        with writing(path):
            return cls._write(pairs, path)

    @classmethod
    def _write(cls, pairs: Iterable[Pair], path: Path) -> Spooled:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, count = hashlib.sha256(), 0
        rest = iter(pairs)
        with path.open("wb") as file:
            while rows := [f"{pair[0]}\0{pair[1]}\0{pair[2]}\0" for pair in islice(rest, _ROWS)]:
                content = "".join(rows).encode()
                file.write(content)
                digest.update(content)
                count += len(rows)
            file.flush()
            os.fsync(file.fileno())  # its note, which a resume believes, must not outlive it
        return cls(path, count, digest.hexdigest())

    def __len__(self) -> int:
        return self._count

    def is_whole(self, size: int) -> bool:
        """Whether the file holds what was written, of so many bytes; reads it once."""
        with self.path.open("rb") as file:
            return (
                os.fstat(file.fileno()).st_size == size
                and hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
            )

    def __iter__(self) -> Iterator[Pair]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        rest = ""
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                *fields, rest = (rest + decoder.decode(block)).split("\0")
                if over := len(fields) % 3:
                    rest = "\0".join([*fields[-over:], rest])
                    del fields[-over:]
                each = iter(fields)
                yield from map(Pair, each, each, each)


class Selected:
    """Those pairs of others that `keep` wants; it is asked once of each, with the number of the pair."""

    def __init__(self, pairs: Pairs, keep: Callable[[int, Pair], bool]):
        self._pairs, self._keep = pairs, keep
        self._kept: bytearray | None = None  # of each pair whether it is wanted, once all were gone through

    def __iter__(self) -> Iterator[Pair]:
        if self._kept is not None:
            yield from compress(self._pairs, self._kept)
            return
        kept = bytearray()
        for number, pair in enumerate(self._pairs):
            kept.append(self._keep(number, pair))
            if kept[-1]:
                yield pair
        self._kept = kept

    def __len__(self) -> int:
        if self._kept is None:
            return sum(1 for _ in self)
        return sum(self._kept)


def select(pairs: Pairs, keep: Callable[[int, Pair], bool]) -> Pairs:
    """As `Selected`; of a list a list.

    Example:
        >>> select([Pair("a", "x"), Pair("b", "y")], lambda number, pair: number == 1)
        [Pair(source='b', target='y', document='')]
    """
    chosen = Selected(pairs, keep)
    return list(chosen) if isinstance(pairs, list) else chosen


class Texts:
    """One side of pairs: 0 for the sources, 1 for the targets; of both the sources first."""

    def __init__(self, pairs: Pairs, *sides: int):
        self._pairs, self._sides = pairs, sides

    def __iter__(self) -> Iterator[str]:
        return (pair[side] for side in self._sides for pair in self._pairs)

    def __len__(self) -> int:
        return len(self._sides) * len(self._pairs)


def spooled(pairs: Iterable[Pair], path: Path | None) -> list[Pair] | Spooled:
    """The pairs in a list; where they have more than `MOST_CHARACTERS` and there is a path, in a file there."""
    rest = iter(pairs)
    held: list[Pair] = []
    size = 0
    for pair in rest:
        held.append(pair)
        size += len(pair[0]) + len(pair[1])
        if path is not None and size > MOST_CHARACTERS:
            return Spooled.write(chain(_drained(held), rest), path)
    return held


def _drained(pairs: list[Pair]) -> Iterator[Pair]:
    """The pairs, which the list then no longer holds."""
    pairs.reverse()
    while pairs:
        yield pairs.pop()
