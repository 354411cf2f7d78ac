"""What fuzzing begins with, and what it ever found (cases/TARGET/*), ends well or with an error of ours."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmarks import fuzz
from benchmarks.fuzz import SEEDS, TARGETS

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("name", TARGETS)
def test_it_ends_well_or_with_an_error_of_ours(name, tmp_path):
    found = [path.read_bytes() for path in sorted((CASES / name).glob("*"))] if (CASES / name).is_dir() else []
    for data in (*SEEDS[name], *found, b"", b"\0", b"\xff\xfe", b"\r\n" * 9, b"\t" * 99):
        TARGETS[name](data, tmp_path / f"input.{name}")


READ = sorted(set(TARGETS) - {"parquet", "header", "model"})  # whose seeds are no whole files


@pytest.mark.parametrize("name", READ)
def test_what_fuzzing_begins_with_is_read_and_not_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "ours", lambda *more: contextlib.nullcontext())  # an error of ours is one too
    TARGETS[name](SEEDS[name][0], tmp_path / f"input.{name}")


@pytest.mark.parametrize(
    ("code", "said", "wanted"),
    [
        (0, "stat::number_of_executed_units: 9", 0),
        (1, "ModuleNotFoundError: No module named 'atheris'", 1),
        (0, "", 1),
        (70, "stat::number_of_executed_units: 9\nERROR: libFuzzer: timeout", 1),
    ],
)
def test_a_target_that_did_not_run_to_its_end_is_no_pass(code, said, wanted, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fuzz.subprocess, "run", lambda command, **_: CompletedProcess(command, code, "", said))
    monkeypatch.setattr(sys, "argv", ["fuzz", "--targets", "tsv", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        fuzz.main()
    assert end.value.code == wanted
    assert json.loads(capsys.readouterr().err)["unfinished"] == ["tsv"] * wanted


def test_what_is_no_error_of_ours_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.data.read_pairs", lambda files: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TARGETS["tsv"](b"a", tmp_path / "input")
