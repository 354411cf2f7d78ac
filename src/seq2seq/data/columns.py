"""Where tokenised pairs go: arrays in memory, or memory-mapped files that an interrupted build goes on with.

Of each side there are two flat arrays: the ids of all texts, and where each text begins, then the end of the last.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.encoding import Encoded
from seq2seq.data.spool import writing

Integers: TypeAlias = NDArray[np.int32] | NDArray[np.int64]
Arrays: TypeAlias = tuple[Integers, Integers, Integers, Integers]
NAMES = ("source", "source_offsets", "target", "target_offsets")
_TYPES = (np.dtype("<i4"), np.dtype("<i8")) * 2
_NOTED = 16  # chunks: what is tokenised again after a kill, at most
_BLOCK = 1 << 20  # bytes read at a time


class Progress(NamedTuple):
    """How far a build is: pairs read, pairs left out, and the length and the CRC-32 of each array.

    A CRC-32 can be gone on with, which no other hash of Python's can.
    """

    read: int = 0
    dropped: int = 0
    lengths: tuple[int, ...] = (0, 1, 0, 1)
    complete: bool = False
    checksums: tuple[int, ...] = (0, zlib.crc32(bytes(8))) * 2  # the first offsets are 0


class InMemory:
    """Arrays that grow."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.damaged: Path | None = None
        self._arrays = [array(kind) for kind in "iqiq"]
        for offsets in self._arrays[1::2]:
            offsets.append(0)

    def append(self, chunk: Encoded) -> None:
        """Take the pairs of a chunk."""
        for part, grown in zip(_parts(chunk, self.progress), self._arrays, strict=True):
            grown.frombytes(part.tobytes())
        self.progress = _after(self.progress, chunk)

    def finish(self) -> Arrays:
        """The four arrays."""
        source, target = (np.frombuffer(grown, np.int32) for grown in self._arrays[::2])
        source_offsets, target_offsets = (np.frombuffer(grown, np.int64) for grown in self._arrays[1::2])
        return source, source_offsets, target, target_offsets

    def close(self) -> None:
        """Nothing is open."""


class OnDisk:
    """`.npy` files of a folder, and beside them how far they are.

    Args:
        folder: where; made.
        key: what tells this build from others: one of the same key that did not end is gone on with, and one that did
            is done, unless a file does not hold what was written. "" begins anew.

    Attributes:
        damaged: that file.
    """

    def __init__(self, folder: Path, key: str):
        self._folder, self._key, self._noted = folder, key, 0
        self._files: list[BinaryIO] = []
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            before = _noted(folder, key)
            self.damaged = before and _damaged(folder, before)
            self.progress = before if before and not self.damaged else Progress()
            if not self.progress.complete:
                self._open(folder)

    def _open(self, folder: Path) -> None:
        """The files, as far as they are noted."""
        if not self.progress.read:
            _note(folder, "", Progress())  # what is overwritten now is nothing whole
        for name, kind, length in zip(NAMES, _TYPES, self.progress.lengths, strict=True):
            path = folder / f"{name}.npy"
            file = path.open("rb+" if self.progress.read else "wb+")
            self._files.append(file)
            _write_header(file, kind, length)
            if not self.progress.read:
                file.write(bytes(kind.itemsize * length))  # the first offset is 0
                continue
            file.seek(kind.itemsize * length, os.SEEK_CUR)
            file.truncate()

    def append(self, chunk: Encoded) -> None:
        """Take the pairs of a chunk."""
        with writing(self._folder):
            contents = [part.tobytes() for part in _parts(chunk, self.progress)]
            for content, file in zip(contents, self._files, strict=True):
                file.write(content)
            sums = [zlib.crc32(part, old) for part, old in zip(contents, self.progress.checksums, strict=True)]
            self.progress = _after(self.progress, chunk)._replace(checksums=tuple(sums))
            self._noted += 1
            if self._key and self._noted % _NOTED == 0:
                self._note()

    def finish(self) -> Arrays:
        """The four arrays, memory-mapped."""
        if not self.progress.complete:
            with writing(self._folder):
                for file, kind, length in zip(self._files, _TYPES, self.progress.lengths, strict=True):
                    _write_header(file, kind, length)
                self.progress = self.progress._replace(complete=True)
                self._note()
                self.close()
        return _mapped(self._folder)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            with suppress(OSError):  # of a full disk, which was said already
                file.close()
        self._files = []

    def _note(self) -> None:
        """Write down how far the files are, once they are that far whatever happens."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        _note(self._folder, self._key, self.progress)


def _mapped(folder: Path) -> Arrays:
    source, source_offsets, target, target_offsets = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in NAMES)
    return source, source_offsets, target, target_offsets


def _parts(chunk: Encoded, before: Progress) -> Arrays:
    """What a chunk adds to each array."""
    (source, source_lengths), (target, target_lengths) = chunk.sides
    source_start, _, target_start, _ = before.lengths
    source_ends = source_start + np.cumsum(source_lengths, dtype=np.int64)
    return source, source_ends, target, target_start + np.cumsum(target_lengths, dtype=np.int64)


def _after(before: Progress, chunk: Encoded) -> Progress:
    added = (len(chunk.sides[0][0]), chunk.kept, len(chunk.sides[1][0]), chunk.kept)
    lengths = tuple(old + new for old, new in zip(before.lengths, added, strict=True))
    dropped = before.dropped + chunk.read - chunk.kept
    return Progress(before.read + chunk.read, dropped, (lengths[0], lengths[1], lengths[2], lengths[3]))


def _progress_file(folder: Path) -> Path:
    return folder / "tokenised.json"


def _note(folder: Path, key: str, progress: Progress) -> None:
    path = _progress_file(folder)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, **progress._asdict()}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _noted(folder: Path, key: str) -> Progress | None:
    """How far a build of this key is, if that was written down and can be read."""
    try:
        noted = json.loads(_progress_file(folder).read_text("utf-8"))
        of, lengths, checksums = noted.pop("key"), noted["lengths"], noted["checksums"]
        progress = Progress(**noted)._replace(lengths=tuple(map(int, lengths)))
        fits = len(lengths) == len(checksums) == len(NAMES)
        fits = fits and lengths[1] == lengths[3] == progress.read - progress.dropped + 1
        return progress if key and of == key and fits else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _damaged(folder: Path, progress: Progress) -> Path | None:
    """The first file that does not hold what was written so far."""
    for name, kind, length, checksum in zip(NAMES, _TYPES, progress.lengths, progress.checksums, strict=True):
        path, head, size = folder / f"{name}.npy", _header(kind, length), kind.itemsize * length
        try:
            with path.open("rb") as file:
                whole = os.fstat(file.fileno()).st_size >= len(head) + size
                whole = whole and (file.read(len(head)) == head or not progress.complete)
                whole = whole and _checksum(file, size) == checksum
        except OSError:
            whole = False
        if not whole:
            return path
    return None


def _checksum(file: BinaryIO, size: int) -> int:
    """The CRC-32 of the next so many bytes."""
    found = 0
    while size and (block := file.read(min(size, _BLOCK))):
        found, size = zlib.crc32(block, found), size - len(block)
    return found


def _header(kind: np.dtype[Any], length: int) -> bytes:
    """The head of an .npy file: NumPy leaves room in it for the length to grow, so it can be written again."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": (length,)})
    return file.getvalue()


def _write_header(file: BinaryIO, kind: np.dtype[Any], length: int) -> None:
    file.seek(0)
    file.write(_header(kind, length))
