"""Pairs as ids: tokenised once, kept flat, on disk where the corpus is larger than memory."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.columns import NAMES, InMemory, Integers, OnDisk
from seq2seq.data.encoding import Encoder, encoded
from seq2seq.data.formats import Pair
from seq2seq.data.spool import Pairs, select
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DataError

_ROWS = 1 << 20  # of a mapped array, looked at together
_PARTS = np.uint64(16)  # of the hashes of pairs, looked at one after the other


class Dataset:
    """The ids of pairs: all sources in one flat array, all targets in another, and where each begins.

    `source[source_offsets[i]:source_offsets[i + 1]]` are the ids of source i, without begin and end.

    Attributes:
        source: (source tokens,) int32; may be a memory-mapped file, as may the others.
        source_offsets: (pairs + 1,) int64.
        target: (target tokens,) int32.
        target_offsets: (pairs + 1,) int64.
        dropped: pairs left out because a side was longer than `max_length`, or so many times longer than the other.
        damaged: a file of an earlier build that did not hold what was written, so that all was tokenised again.

    Args:
        folder: where the arrays are files, if they are.
    """

    def __init__(
        self,
        source: Integers,
        source_offsets: Integers,
        target: Integers,
        target_offsets: Integers,
        dropped: int = 0,
        folder: Path | None = None,
        damaged: Path | None = None,
    ):
        self.source, self.source_offsets = source, source_offsets
        self.target, self.target_offsets = target, target_offsets
        self.dropped, self.damaged = dropped, damaged
        self._folder = folder

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
        of: str = "",
        workers: int = 1,
    ) -> Dataset:
        """Tokenise pairs, in memory, or straight into files of `folder` that stay memory-mapped.

        Args:
            pairs: what to tokenise.
            source_tokenizer: of the sources.
            target_tokenizer: of the targets.
            max_length: tokens of a side; pairs with more are left out.
            max_ratio: how many times as long as the other a side may be; other pairs are left out.
            folder: where the files are to be.
            of: what tells these pairs from others. A build of the same in `folder` that was killed is gone on with, and
                one that ended is read, if its files are what was written; "" begins anew.
            workers: processes that tokenise.

        Raises:
            DataError: no pair is left, or the folder cannot be written.

        Example:
            >>> letters = Tokenizer.train("character", ["ab"])
            >>> data = Dataset.build([("ab", "b")], letters, letters)
            >>> len(data), data.lengths.tolist()
            (1, [[3, 2]])
        """
        encoder = Encoder(source_tokenizer, target_tokenizer, max_length, max_ratio)
        key = of and hashlib.sha256(f"{of}\n{encoder.rule}".encode()).hexdigest()
        folder = None if folder is None else Path(folder)
        columns = InMemory() if folder is None else OnDisk(folder, key)
        for litter in folder.glob("lengths.*.part.npy") if folder else ():
            litter.unlink(missing_ok=True)  # of a command that was killed
        try:
            if not columns.progress.complete:
                for chunk in encoded(islice(pairs, columns.progress.read, None), encoder, workers):
                    columns.append(chunk)
            read, dropped, *_ = columns.progress
            if read == dropped:
                raise DataError(_no_pair(dropped, max_length, max_ratio))
            arrays = columns.finish()
        finally:
            columns.close()
        return cls(*arrays, dropped, folder, columns.damaged)

    def __len__(self) -> int:
        return len(self.source_offsets) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """(pairs, 2): the tokens of source and target, the end counted: the time steps a batch needs.

        Of a data set in files it is another file, memory-mapped too.
        """
        if self._folder is None:
            return np.concatenate(list(self._lengths()))
        path = self._folder / "lengths.npy"
        part = self._folder / f"lengths.{uuid4().hex}.part.npy"  # others may read the same data set, and do the same
        try:
            with part.open("wb") as file:  # not through a mapping, whose pages a full disk would end the process over
                head = {"descr": "<i4", "fortran_order": False, "shape": (len(self), 2)}
                np.lib.format.write_array_header_1_0(file, head)
                file.writelines(piece.tobytes() for piece in self._lengths())
            os.replace(part, path)
            return np.load(path, mmap_mode="r")
        except OSError:  # the folder cannot be written
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return np.concatenate(list(self._lengths()))

    def _lengths(self) -> Iterator[NDArray[np.int32]]:
        """The same, piece by piece."""
        for start in range(0, len(self), _ROWS):
            several = (offsets[start : start + _ROWS + 1] for offsets in (self.source_offsets, self.target_offsets))
            yield np.stack([np.diff(offsets) + 1 for offsets in several], axis=1).astype(np.int32)

    def histogram(self, side: int) -> NDArray[np.int64]:
        """How many sources (0) or targets (1) have 0, 1, 2, ... time steps, the end counted."""
        size = int(self.lengths[:, side].max()) + 1
        parts = (self.lengths[start : start + _ROWS, side] for start in range(0, len(self), _ROWS))
        return np.sum([np.bincount(part, minlength=size) for part in parts], axis=0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the ids, in hexadecimal: equal for equal data, wherever it lies."""
        digest = hashlib.sha256()
        for name in NAMES:
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


def distinct(pairs: Pairs) -> Pairs:
    """The pairs, each source with each target once: the first of them.

    They are told apart by 8 bytes of a hash, so that of n pairs about n^2 / 4e19 are taken for others. Memory is about
    13 bytes a pair: hashes are sorted a sixteenth at a time.

    Example:
        >>> [pair.target for pair in distinct([Pair("a", "x"), Pair("a", "y"), Pair("a", "x", "elsewhere")])]
        ['x', 'y']
    """
    hashes = array("Q")
    for pair in pairs:
        text = f"{pair.source}\0{pair.target}".encode()
        hashes.frombytes(hashlib.blake2b(text, digest_size=8).digest())
    numbers = np.frombuffer(hashes, np.uint64)
    kept = np.zeros(len(numbers), bool)
    for part in range(int(_PARTS)):
        among = (numbers[start : start + _ROWS] % _PARTS == part for start in range(0, len(numbers), _ROWS))
        rows = np.concatenate([np.flatnonzero(few) + at * _ROWS for at, few in enumerate(among)] or [np.zeros(0, int)])
        kept[rows[np.unique(numbers[rows], return_index=True)[1]]] = True
    return select(pairs, lambda number, _: bool(kept[number]))
