"""The series of kills fails where a resume fails, or where the run ends by itself."""

from __future__ import annotations

import sys

import pytest

from benchmarks import kills


@pytest.mark.parametrize(
    ("codes", "saved", "different", "wanted", "told"),
    [
        ([None, None], 0, [], 0, "none"),
        ([None, None], 0, ["model.npz"], 1, "model.npz"),
        ([None, 2], 0, [], 1, "exit code 2"),
        ([None, 0], 0, [], 1, "ended by itself, exit code 0"),
        ([None, None], -1, [], 1, "only 0 lives saved anything new"),
    ],
)
def test_a_series_that_failed_or_ended_is_no_pass(codes, saved, different, wanted, told, tmp_path, monkeypatch, capsys):
    ends = iter(codes)
    monkeypatch.setattr(kills, "kill_once", lambda words, after: next(ends))
    monkeypatch.setattr(kills, "newest", lambda run: saved)
    monkeypatch.setattr(kills, "seq2seq", lambda *words: None)
    monkeypatch.setattr(kills, "differences", lambda one, other, updates: different)
    monkeypatch.setattr(sys, "argv", ["kills", "--kills", "2", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        kills.main()
    assert end.value.code == wanted
    assert told in capsys.readouterr().out
