"""The series of kills fails where a resume fails, or where the run ends by itself."""

from __future__ import annotations

import sys

import pytest

from benchmarks import kills


@pytest.mark.parametrize(
    ("codes", "different", "wanted", "told"),
    [
        ([None, None], [], 0, "none"),
        ([None, None], ["model.npz"], 1, "model.npz"),
        ([None, 2], [], 1, "exit code 2"),
        ([None, 0], [], 1, "ended by itself, exit code 0"),
    ],
)
def test_a_series_that_failed_or_ended_is_no_pass(codes, different, wanted, told, tmp_path, monkeypatch, capsys):
    ends = iter(codes)
    monkeypatch.setattr(kills, "kill_once", lambda words, after: next(ends))
    monkeypatch.setattr(kills, "newest", lambda run: 0)
    monkeypatch.setattr(kills, "seq2seq", lambda *words: None)
    monkeypatch.setattr(kills, "differences", lambda one, other, updates: different)
    monkeypatch.setattr(sys, "argv", ["kills", "--kills", "2", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        kills.main()
    assert end.value.code == wanted
    assert told in capsys.readouterr().out
