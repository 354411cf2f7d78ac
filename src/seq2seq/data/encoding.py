"""Pairs to ids, some thousand at a time, on several cores where that is asked for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.formats import Pair
from seq2seq.data.tokenizer import Tokenizer

Ids: TypeAlias = NDArray[np.int32]
CHUNK = 8192  # pairs
_CHARACTERS = 1 << 22  # of a chunk, whose ids take many times as much as they do
_AHEAD = 2  # chunks that wait for each worker


class Encoded(NamedTuple):
    """The pairs of a chunk that are kept.

    Attributes:
        read: pairs that went in.
        sides: of source and target each the ids of all texts, flat, and the number of ids of each text.
    """

    read: int
    sides: tuple[tuple[Ids, Ids], tuple[Ids, Ids]]

    @property
    def kept(self) -> int:
        """Pairs that came out."""
        return len(self.sides[0][1])


class Encoder(NamedTuple):
    """The tokenizers of both sides, and what pairs are too long: call it with the sources and targets of a chunk.

    Attributes:
        source: of the sources.
        target: of the targets.
        max_length: tokens of a side, at most; None for any number.
        max_ratio: how many times as long as the other a side may be; None for any number.
    """

    source: Tokenizer
    target: Tokenizer
    max_length: int | None = None
    max_ratio: float | None = None

    def __call__(self, sources: Sequence[str], targets: Sequence[str]) -> Encoded:
        """The ids of the pairs that are not too long."""
        both = zip(self.source.encode_batch(sources), self.target.encode_batch(targets), strict=True)
        kept = [pair for pair in both if self._fits(*pair)]
        return Encoded(len(sources), (_flat([ids for ids, _ in kept]), _flat([ids for _, ids in kept])))

    @property
    def rule(self) -> str:
        """All that decides what comes out, as one text."""
        limits = f"{self.max_length} {self.max_ratio}"
        return "\n".join([limits, self.source.to_json(), self.target.to_json()])

    def _fits(self, source: list[int], target: list[int]) -> bool:
        short, long = sorted((len(source), len(target)))
        short_enough = self.max_length is None or long <= self.max_length
        return short_enough and (self.max_ratio is None or long <= self.max_ratio * short)


def _flat(rows: list[list[int]]) -> tuple[Ids, Ids]:
    flat = array("i")
    for ids in rows:
        flat.extend(ids)
    return np.frombuffer(flat, np.int32), np.array([len(ids) for ids in rows], np.int32)


def encoded(pairs: Iterable[Pair | tuple[str, str]], encoder: Encoder, workers: int = 1) -> Iterator[Encoded]:
    """The chunks of the pairs in order; with more than one worker each in a process of its own.

    Example:
        >>> letters = Tokenizer.train("character", ["ab"])
        >>> [(chunk.read, chunk.sides[0]) for chunk in encoded([("ab", "b")] * 3, Encoder(letters, letters))]
        [(3, (array([4, 5, 4, 5, 4, 5], dtype=int32), array([2, 2, 2], dtype=int32)))]
    """
    chunks = _chunks(iter(pairs))
    if workers <= 1:
        yield from (encoder(*chunk) for chunk in chunks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of JAX in whatever state they are
    whole = (encoder.source.to_json(), encoder.target.to_json(), encoder.max_length, encoder.max_ratio)
    with ProcessPoolExecutor(workers, context, _begin, whole) as pool:
        waiting: deque[Future[Encoded]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_encode, *chunk))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _chunks(pairs: Iterator[Pair | tuple[str, str]]) -> Iterator[tuple[list[str], list[str]]]:
    sources: list[str] = []
    targets: list[str] = []
    size = 0
    for source, target, *_ in pairs:
        sources.append(source)
        targets.append(target)
        size += len(source) + len(target)
        if len(sources) == CHUNK or size >= _CHARACTERS:
            yield sources, targets
            sources, targets, size = [], [], 0
    if sources:
        yield sources, targets


_of_this_process: list[Encoder] = []


def _begin(source: str, target: str, max_length: int | None, max_ratio: float | None) -> None:
    """Make a worker ready."""
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the command, which ends its workers
    os.environ["RAYON_NUM_THREADS"] = "1"
    _of_this_process[:] = [Encoder(Tokenizer.from_json(source), Tokenizer.from_json(target), max_length, max_ratio)]


def _end_with_the_command() -> None:
    """A command that was killed cannot end its workers, which would wait for work for ever."""
    if command := multiprocessing.parent_process():
        command.join()
        os._exit(1)


def _encode(sources: list[str], targets: list[str]) -> Encoded:
    return _of_this_process[0](sources, targets)
