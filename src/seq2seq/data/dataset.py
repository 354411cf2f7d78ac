"""Pairs as ids: tokenised once, kept flat, on disk where the corpus is larger than memory."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.formats import Pair
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import CorruptArchiveError, DataError

Integers: TypeAlias = NDArray[np.int32] | NDArray[np.int64]
_CHUNK = 8192  # pairs tokenised at a time
_NAMES = ("source", "source_offsets", "target", "target_offsets")


class Dataset:
    """The ids of pairs: all sources in one flat array, all targets in another, and where each begins.

    `source[source_offsets[i]:source_offsets[i + 1]]` are the ids of source i, without begin and end.

    Attributes:
        source: (source tokens,) int32; may be a memory-mapped file, as may the others.
        source_offsets: (pairs + 1,) int64.
        target: (target tokens,) int32.
        target_offsets: (pairs + 1,) int64.
        dropped: pairs left out because a side was longer than `max_length`, or so many times longer than the other.
    """

    def __init__(
        self, source: Integers, source_offsets: Integers, target: Integers, target_offsets: Integers, dropped: int = 0
    ):
        self.source, self.source_offsets = source, source_offsets
        self.target, self.target_offsets = target, target_offsets
        self.dropped = dropped

    @classmethod
    def build(
        cls,
        pairs: Iterable[Pair | tuple[str, str]],
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        *,
        max_length: int | None = None,
        max_ratio: float | None = None,
        folder: str | Path | None = None,
    ) -> Dataset:
        """Tokenise pairs, in memory, or straight into files of `folder` that stay memory-mapped.

        Raises:
            DataError: no pair is left.

        Example:
            >>> letters = Tokenizer.train("character", ["ab"])
            >>> data = Dataset.build([("ab", "b")], letters, letters)
            >>> len(data), data.lengths.tolist()
            (1, [[3, 2]])
        """
        folder = None if folder is None else Path(folder)
        columns = [_Column(folder, name) for name in ("source", "target")]
        dropped = 0
        try:
            for chunk in _chunks(pairs):
                sides = [source_tokenizer.encode_batch(pair[0] for pair in chunk)]
                sides.append(target_tokenizer.encode_batch(pair[1] for pair in chunk))
                kept = [both for both in zip(*sides, strict=True) if _fits(both, max_length, max_ratio)]
                dropped += len(chunk) - len(kept)
                for column, ids in zip(columns, zip(*kept, strict=True), strict=False):
                    column.extend(ids)
            if columns[0].empty:
                raise DataError(_no_pair(dropped, max_length, max_ratio))
            (source, source_offsets), (target, target_offsets) = (column.finish() for column in columns)
        finally:
            for column in columns:
                column.close()
        return cls(source, source_offsets, target, target_offsets, dropped)

    def save(self, folder: str | Path) -> None:
        """Write the four arrays as .npy files into `folder`, which is made."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in _NAMES:
            np.save(folder / f"{name}.part.npy", getattr(self, name), allow_pickle=False)
            os.replace(folder / f"{name}.part.npy", folder / f"{name}.npy")

    @classmethod
    def load(cls, folder: str | Path) -> Dataset:
        """The data set that was saved or built in `folder`, memory-mapped: it may be larger than memory.

        Raises:
            CorruptArchiveError: a file is missing, or is not what was written.
        """
        arrays = [_load(Path(folder) / f"{name}.npy") for name in _NAMES]
        for flat, offsets, name in ((arrays[0], arrays[1], "source"), (arrays[2], arrays[3], "target")):
            if len(offsets) != len(arrays[1]) or not len(offsets) or offsets[-1] != len(flat):
                raise CorruptArchiveError(f"{folder}: {name}.npy and its offsets do not fit; build the data set again.")
        return cls(arrays[0], arrays[1], arrays[2], arrays[3])

    def __len__(self) -> int:
        return len(self.source_offsets) - 1

    def __getitem__(self, index: int) -> tuple[list[int], list[int]]:
        """The ids of source and target of one pair, without begin and end."""
        if not 0 <= index < len(self):
            raise IndexError(f"Dataset: no pair {index}; there are {len(self)}.")
        source = self.source[self.source_offsets[index] : self.source_offsets[index + 1]]
        target = self.target[self.target_offsets[index] : self.target_offsets[index + 1]]
        return source.tolist(), target.tolist()

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(pairs, 2): the tokens of source and target, the end counted: the time steps a batch needs."""
        return np.stack([np.diff(self.source_offsets), np.diff(self.target_offsets)], axis=1) + 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the ids, in hexadecimal: equal for equal data, wherever it lies."""
        digest = hashlib.sha256()
        for name in _NAMES:
            values = getattr(self, name)
            digest.update(f"{name} {len(values)} ".encode())
            for start in range(0, len(values), 1 << 20):
                digest.update(np.ascontiguousarray(values[start : start + (1 << 20)]).tobytes())
        return digest.hexdigest()


def _no_pair(dropped: int, max_length: int | None, max_ratio: float | None) -> str:
    if dropped and max_ratio is not None:
        return (
            f"all {dropped} pairs are longer than {max_length} tokens or of a ratio above {max_ratio:g}; raise these."
        )
    if dropped:
        return f"all {dropped} pairs have a side of more than {max_length} tokens; raise max_length."
    return "there is no pair to make a data set of."


def _fits(both: tuple[list[int], list[int]], max_length: int | None, max_ratio: float | None) -> bool:
    short, long = sorted(map(len, both))
    return (max_length is None or long <= max_length) and (max_ratio is None or long <= max_ratio * short)


def distinct(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs, each source with each target once: the first of them.

    Of each pair 8 bytes of a hash are remembered, so that of n pairs about n^2 / 4e19 are taken for others.

    Example:
        >>> [pair.target for pair in distinct([Pair("a", "x"), Pair("a", "y"), Pair("a", "x", "elsewhere")])]
        ['x', 'y']
    """
    seen: set[int] = set()
    for pair in pairs:
        text = f"{pair.source}\0{pair.target}".encode()
        known = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
        if known not in seen:
            seen.add(known)
            yield pair


def _chunks(pairs: Iterable[Pair | tuple[str, str]]) -> Iterator[list[Pair | tuple[str, str]]]:
    rest = iter(pairs)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _load(path: Path) -> Integers:
    wanted = np.int64 if path.stem.endswith("offsets") else np.int32
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArchiveError(f"{path}: not readable as an array: {error}.") from None
    if values.dtype != wanted or values.ndim != 1:
        raise CorruptArchiveError(f"{path}: {values.dtype} {values.shape} where flat {np.dtype(wanted)} was written.")
    return values


class _Column:
    """One side of the pairs while it grows: in memory, or appended to an .npy file."""

    def __init__(self, folder: Path | None, name: str):
        self._flat, self._offsets = array("i"), array("q", [0])
        self._folder, self._name = folder, name
        self._file: BinaryIO | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / f"{name}.npy").open("wb+")
            _write_header(self._file, 0)

    @property
    def empty(self) -> bool:
        return len(self._offsets) == 1

    def extend(self, rows: Sequence[list[int]]) -> None:
        for ids in rows:
            self._flat.extend(ids)
            self._offsets.append(self._offsets[-1] + len(ids))
        if self._file is not None:
            self._flat.tofile(self._file)
            self._flat = array("i")

    def finish(self) -> tuple[Integers, Integers]:
        offsets = np.frombuffer(self._offsets, np.int64)
        if self._file is None or self._folder is None:
            return np.frombuffer(self._flat, np.int32), offsets
        _write_header(self._file, self._offsets[-1])
        self.close()
        np.save(self._folder / f"{self._name}_offsets.npy", offsets, allow_pickle=False)
        return _load(self._folder / f"{self._name}.npy"), _load(self._folder / f"{self._name}_offsets.npy")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _write_header(file: BinaryIO, length: int) -> None:
    """The head of an .npy file: NumPy leaves room in it for the length to grow, so it can be written again."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (length,)})
