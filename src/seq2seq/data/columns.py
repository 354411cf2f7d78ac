"""Where tokenised pairs go: arrays in memory, or memory-mapped files that an interrupted build goes on with.

Of each side there are two flat arrays: the ids of all texts, and where each text begins, then the end of the last.
"""

from __future__ import annotations

import json
import os
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.encoding import Encoded
from seq2seq.data.spool import writing
from seq2seq.errors import CorruptArchiveError

Integers: TypeAlias = NDArray[np.int32] | NDArray[np.int64]
Arrays: TypeAlias = tuple[Integers, Integers, Integers, Integers]
NAMES = ("source", "source_offsets", "target", "target_offsets")
_TYPES = (np.dtype("<i4"), np.dtype("<i8")) * 2
_NOTED = 16  # chunks: what is tokenised again after a kill, at most


class Progress(NamedTuple):
    """How far a build is: pairs read, pairs left out, and the length of each array."""

    read: int = 0
    dropped: int = 0
    lengths: tuple[int, int, int, int] = (0, 1, 0, 1)
    complete: bool = False


class Columns(Protocol):
    """What takes the chunks of a build."""

    progress: Progress

    def append(self, chunk: Encoded) -> None:
        """Take the pairs of a chunk."""
        ...

    def finish(self) -> Arrays:
        """The four arrays."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class InMemory:
    """Arrays that grow."""

    def __init__(self) -> None:
        self.progress = Progress()
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
            is done. "" begins anew.
    """

    def __init__(self, folder: Path, key: str):
        self._folder, self._key, self._noted = folder, key, 0
        self._files: list[BinaryIO] = []
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.progress = _noted_progress(folder, key) or Progress()
            if not self.progress.complete:
                self._open(folder)

    def _open(self, folder: Path) -> None:
        """The files, as far as they are noted."""
        if not self.progress.read:
            _progress_file(folder).unlink(missing_ok=True)  # it tells of files that are now overwritten
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
            for part, file in zip(_parts(chunk, self.progress), self._files, strict=True):
                file.write(part.tobytes())
            self.progress = _after(self.progress, chunk)
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
        return load(self._folder)

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
        path = _progress_file(self._folder)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"key": self._key, **self.progress._asdict()}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)


def load(folder: Path) -> Arrays:
    """The four arrays that a folder holds, memory-mapped.

    Raises:
        CorruptArchiveError: a file is missing, or is not what was written.
    """
    source, source_offsets, target, target_offsets = map(_load, (folder / f"{name}.npy" for name in NAMES), _TYPES)
    return source, source_offsets, target, target_offsets


def _load(path: Path, wanted: np.dtype[Any]) -> Integers:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArchiveError(f"{path}: not readable as an array: {error}.") from None
    if values.dtype != wanted or values.ndim != 1:
        raise CorruptArchiveError(f"{path}: {values.dtype} {values.shape} where flat {wanted} was written.")
    return values


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


def forget_progress(folder: Path) -> None:
    """The files in the folder become others: no build there is to go on."""
    _progress_file(folder).unlink(missing_ok=True)


def _noted_progress(folder: Path, key: str) -> Progress | None:
    """How far a build of this key is, where its files are all there."""
    path = _progress_file(folder)
    try:
        noted = json.loads(path.read_text("utf-8"))
        fits = key and noted.pop("key") == key
        progress = Progress(**noted)._replace(lengths=tuple(noted["lengths"]))
        for name, kind, length in zip(NAMES, _TYPES, progress.lengths, strict=True):
            fits = fits and (folder / f"{name}.npy").stat().st_size >= kind.itemsize * length
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return progress if fits else None


def _write_header(file: BinaryIO, kind: np.dtype[Any], length: int) -> None:
    """The head of an .npy file: NumPy leaves room in it for the length to grow, so it can be written again."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": (length,)})
