"""What fuzzing begins with, and what it ever found (cases/TARGET/*), ends well or with an error of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz import SEEDS, TARGETS

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("name", TARGETS)
def test_it_ends_well_or_with_an_error_of_ours(name, tmp_path):
    found = [path.read_bytes() for path in sorted((CASES / name).glob("*"))] if (CASES / name).is_dir() else []
    for data in (*SEEDS[name], *found, b"", b"\0", b"\xff\xfe", b"\r\n" * 9, b"\t" * 99):
        TARGETS[name](data, tmp_path / f"input.{name}")


def test_what_is_no_error_of_ours_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.data.read_pairs", lambda files: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TARGETS["tsv"](b"a", tmp_path / "input")
