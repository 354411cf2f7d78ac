"""The queue: what shares a call, what is refused, and that nobody harms anybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from seq2seq.app.serving.batching import Batcher, Job
from seq2seq.app.serving.refusals import RefusedError
from seq2seq.errors import DataError


class Calls:
    """Work that tells what it was called with and waits for leave."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.leave = threading.Event()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        self.leave.wait(30)
        self.seen.append(list(asked))
        if 13 in asked:
            raise DataError("13 brings bad luck")
        if 17 in asked:
            raise RuntimeError("17 is no error of ours")
        return [10 * one for one in asked]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(batch=4, wait=0.0, queue=8)
    yield made
    made.close()


def busy(batcher: Batcher, calls: Calls) -> None:
    """Keep the thread at work, so that what comes now waits."""
    batcher.put(Job("first", calls, 0))
    while batcher._jobs:
        time.sleep(0.001)


def test_equal_groups_share_a_call_in_order(batcher, calls):
    busy(batcher, calls)
    futures = [batcher.put(Job("ab"[n % 2], calls, n)) for n in range(1, 7)]
    calls.leave.set()
    assert [future.result(30) for future in futures] == [10, 20, 30, 40, 50, 60]
    assert calls.seen == [[0], [1, 3, 5], [2, 4, 6]]


def test_a_batch_is_no_larger_than_it_may_be(batcher, calls):
    busy(batcher, calls)
    futures = [batcher.put(Job("a", calls, n, size)) for n, size in ((1, 3), (2, 2), (3, 1))]
    calls.leave.set()
    assert [future.result(30) for future in futures] == [10, 20, 30]
    assert calls.seen == [[0], [1, 3], [2]]


def test_the_queue_is_bounded_in_inputs(batcher, calls):
    busy(batcher, calls)
    kept = batcher.put(Job("a", calls, 1, 6))
    with pytest.raises(RefusedError, match="7 inputs are waiting and 8 may") as refusal:
        batcher.put(Job("a", calls, 2, 2))
    assert refusal.value.status == 429 and refusal.value.headers == {"Retry-After": "1"}
    with pytest.raises(RefusedError, match="at most 8"):
        batcher.put(Job("a", calls, 3, 9))
    assert kept.cancel()
    calls.leave.set()
    assert batcher.put(Job("a", calls, 4, 7)).result(30) == 40
    assert [1] not in calls.seen


def test_who_left_is_dropped(batcher, calls):
    busy(batcher, calls)
    gone, stays = batcher.put(Job("a", calls, 1)), batcher.put(Job("a", calls, 2))
    assert gone.cancel()
    calls.leave.set()
    assert stays.result(30) == 20 and calls.seen == [[0], [2]]


@pytest.mark.parametrize(("number", "error"), [(13, DataError), (17, RuntimeError)])
def test_a_bad_request_harms_only_itself(batcher, calls, number, error):
    busy(batcher, calls)
    good, bad, last = (batcher.put(Job("a", calls, n)) for n in (1, number, 2))
    calls.leave.set()
    assert (good.result(30), last.result(30)) == (10, 20)
    with pytest.raises(error, match=str(number)):
        bad.result(30)


def test_it_waits_for_company_but_not_for_long():
    calls = Calls()
    calls.leave.set()
    patient, hasty = Batcher(batch=2, wait=60.0, queue=8), Batcher(batch=2, wait=0.2, queue=8)
    first = patient.put(Job("a", calls, 1))
    second = patient.put(Job("a", calls, 2))
    assert (first.result(30), second.result(30)) == (10, 20)  # full: nothing more to wait for
    begun = time.monotonic()
    assert hasty.put(Job("a", calls, 3)).result(30) == 30
    assert time.monotonic() - begun >= 0.19
    patient.close()
    hasty.close()
    assert calls.seen == [[1, 2], [3]]


def test_closing_answers_what_was_accepted(calls):
    batcher = Batcher(batch=1, wait=60.0, queue=8)
    futures = [batcher.put(Job("a", calls, n)) for n in range(5)]
    threading.Timer(0.05, calls.leave.set).start()
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 10, 20, 30, 40]
    with pytest.raises(RefusedError, match="shutting down"):
        batcher.put(Job("a", calls, 1))
