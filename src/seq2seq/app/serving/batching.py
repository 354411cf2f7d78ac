"""Dynamic batching: one thread owns JAX; requests that arrive together and can be computed together are."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from seq2seq.app.serving.refusals import RefusedError, busy

_SMALL = 8
"""Inputs: that few take about as long as one, and are not parted."""
Work = Callable[[Sequence[Any]], Sequence[Any]]
"""Several requests -> the answer of each."""


@dataclass(eq=False)
class Job:
    """A request that waits.

    Attributes:
        group: requests of equal groups are given to one call of `work`.
        work: what answers them.
        asked: the request.
        size: inputs in it, which the bound of the queue counts.
        goes_on: a part of something that was accepted before: it waits for no others, and finds room in a full queue.
        future: the answer, or what was wrong; cancelled if nobody waits any more.
        arrived: by `time.monotonic`, s.
    """

    group: Hashable
    work: Work
    asked: Any
    size: int = 1
    goes_on: bool = False
    future: Future[Any] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """A bounded queue and the thread that empties it.

    The oldest request begins a batch: it waits until the batch is full or `wait` has passed since it arrived, for
    others of its group; meanwhile parts of what was accepted before go first. Where several fail together each is tried
    alone, so that a bad one harms nobody else.

    Args:
        batch: inputs in one call, unless a single request has more.
        wait: seconds.
        queue: the most inputs that wait or are being computed.

    Example:
        >>> batcher = Batcher(batch=8, wait=0.0, queue=4)
        >>> batcher.put(Job("double", lambda asked: [2 * n for n in asked], 21)).result()
        42
        >>> batcher.close()
    """

    def __init__(self, batch: int = 64, wait: float = 0.005, queue: int = 256):
        self._batch, self._wait, self.queue = batch, wait, queue
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._held = 0
        self._open = True
        self.calls = 0
        self._thread = threading.Thread(target=self._run, name="seq2seq-worker", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Inputs that wait or are being computed."""
        return self._held

    def put(self, job: Job) -> Future[Any]:
        """Accept a job; its answer comes in the future.

        Raises:
            RefusedError: 422, more than ever fits; 429, the queue is full; 503, nothing is accepted any more.
        """
        with self._changed:
            if not job.goes_on:
                self.check(job.size)
            self._held += job.size
            self._jobs.append(job)
            job.future.add_done_callback(lambda _: self._left(job))
            self._changed.notify_all()
        return job.future

    def check(self, size: int) -> None:
        """Refuse so many inputs, as `put` does of what is not part of something accepted: before anything is spent."""
        if size > self.queue:
            raise RefusedError(
                422, f"the request has {size} inputs; this server takes at most {self.queue} at once.", ""
            )
        if not self._open:
            raise RefusedError(503, "the server is shutting down.")
        if self._held + size > self.queue:
            raise busy(f"{self._held} inputs are waiting and {self.queue} may")

    def close(self) -> None:
        """Answer what was accepted, and end."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()

    def _left(self, job: Job) -> None:
        with self._changed:
            self._held -= job.size
            if job.future.cancelled() and job in self._jobs:
                self._jobs.remove(job)

    def _run(self) -> None:
        while jobs := self._next():
            kept = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if kept:
                self.calls += 1
                self._answer(kept)
            del jobs, kept  # nothing of a request outlives its answer

    def _next(self) -> list[Job]:
        """The next batch, as soon as it is full or its first job has waited long enough, or a part of something that
        goes on until then; none at the end."""
        with self._changed:
            while True:
                while self._jobs and self._jobs[0].future.cancelled():
                    self._jobs.popleft()
                if not self._jobs:
                    if not self._open:
                        return []
                    self._changed.wait()
                    continue
                first = self._jobs[0]
                found = self._together(first)
                left = first.arrived + self._wait - time.monotonic()
                full = first.goes_on or sum(job.size for job in found) >= self._batch
                if not full and left > 0 and (parts := [job for job in self._jobs if job.goes_on]):
                    found, full = parts[:1], True  # what waits for company leaves the time to what waits for nothing
                if full or left <= 0 or not self._open:
                    found = found if full else _unpadded(found)
                    for job in found:
                        self._jobs.remove(job)
                    return found
                self._changed.wait(left)

    def _together(self, first: Job) -> list[Job]:
        """The first job and those of its group that fit beside it, in the order of arrival."""
        found, size = [first], first.size
        for job in self._jobs:
            if size >= self._batch:
                break
            fits = job is not first and job.group == first.group and not job.future.cancelled()
            if fits and size + job.size <= self._batch:
                found.append(job)
                size += job.size
        return found

    def _answer(self, jobs: list[Job]) -> None:
        try:
            answers = jobs[0].work([job.asked for job in jobs])
        except Exception as error:  # of ours, of JAX, of a model of the user: the thread must live
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
            else:
                for job in jobs:
                    self._answer([job])
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(answer)


def _unpadded(jobs: list[Job]) -> list[Job]:
    """The first of the jobs, with as many inputs as a compiled batch has: 40 inputs in a batch of 64 would take nearly
    as long as 64. The others are the first of the next call, and meet there who came meanwhile. Jobs that fill no
    batch of a power of two are not parted.

    Example:
        >>> [len(_unpadded([Job("", list, "")] * count)) for count in (3, 15, 16, 40)]
        [3, 8, 16, 32]
        >>> len(_unpadded([Job("", list, "", size=12)] + [Job("", list, "")] * 3))
        4
    """
    size = sum(job.size for job in jobs)
    if size > _SMALL:
        size = 1 << (size.bit_length() - 1)
    used = list(accumulate(job.size for job in jobs))
    return jobs[: used.index(size) + 1] if size in used else jobs
