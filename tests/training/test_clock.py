from __future__ import annotations

import pytest

from seq2seq.training.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: time[0])
    return time


def test_what_was_trained_before_counts(now):
    clock = Clock(trained=30.0, tokens=0)
    now[0] += 12.0
    assert clock.seconds() == 42.0
    assert clock.saved == 30.0


def test_the_speed_leaves_out_what_is_done_aside(now):
    clock = Clock(trained=30.0, tokens=500)
    now[0] += 2.0
    with clock.aside():
        now[0] += 7.0
    now[0] += 2.0
    assert clock.lap(900) == 100.0
    now[0] += 1.0
    assert clock.lap(950) == 50.0


def test_an_evaluation_that_is_given_up_is_left_out_too(now):
    clock = Clock(trained=0.0, tokens=0)
    with pytest.raises(KeyboardInterrupt), clock.aside():
        now[0] += 7.0
        raise KeyboardInterrupt
    now[0] += 1.0
    assert clock.lap(10) == 10.0
