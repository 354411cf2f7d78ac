"""The study of replies: its ranking by overlap, its files, and that a finished cell is not run again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import replies, series
from benchmarks.commands import CommandError
from benchmarks.replies import KJV_TEST, Study, study, tf_idf_recall, thinned, write
from benchmarks.table import Table
from seq2seq.app.commands.train import options_from
from seq2seq.data import Pair
from seq2seq.data.examples import KJV_HELD_OUT

FOUND = {
    "listening_nats_per_token": 0.25,
    "recall_at_1_of_100_percent": 12.5,
    "unique_outputs_percent": 91.0,
    "own_source_at_1_of_100_percent": 40.0,
}


def test_overlap_ranks_what_overlaps() -> None:
    pairs = [Pair(f"w{n} the", f"the w{n} of", "book") for n in range(150)]
    assert tf_idf_recall([Pair("", f"w{n} the of") for n in range(150)], pairs) == 100.0
    words = "abcdefghijklmnopqrstuvwxyz"
    unknown = [Pair(pair.source, f"{words[n % 26]}{words[n // 26]} of", "book") for n, pair in enumerate(pairs)]
    assert tf_idf_recall(pairs, unknown) < 10  # only chance is left


def test_the_files_leak_nothing(tmp_path: Path) -> None:
    recall = write(Study(tmp_path, [1], ["verse"]), "verse")
    assert 1.0 < recall < 30.0
    read = {
        split: [json.loads(line) for line in (tmp_path / f"verse.{split}.jsonl").read_text("utf-8").splitlines()]
        for split in ("train", "dev", "test")
    }
    assert len(read["test"]) == 1000 and {row["document"] for row in read["test"]} == set(KJV_TEST)
    assert {row["document"] for row in read["dev"]} == set(KJV_HELD_OUT)
    held = {row[side] for split in ("dev", "test") for row in read[split] for side in ("source", "target")}
    assert not held & {row[side] for row in read["train"] for side in ("source", "target")}


def test_every_document_keeps_its_share() -> None:
    pairs = [Pair(str(n), "", "ab"[n >= 300]) for n in range(400)]
    few = thinned(pairs, 40)
    assert len(few) == len(set(few)) == 40 and sum(pair.document == "b" for pair in few) == 10
    assert thinned(pairs, 1000) == pairs


def test_verses_are_evaluated_as_an_ensemble_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def fake(*words: Any) -> str:
        ran.append([str(word) for word in words])
        return json.dumps(FOUND | ({"unique_outputs_percent": 99.0} if "--mmi" in words else {}))

    monkeypatch.setattr(replies, "seq2seq", fake)
    monkeypatch.setattr(series, "seq2seq", fake)
    monkeypatch.setattr(replies, "write", lambda plan, unit: 7.5)
    for _ in range(2):
        study(Study(tmp_path, [1, 2], ["verse"], jobs=2), Table(as_json=True, file=(out := io.StringIO())))
        rows = [row for row in map(json.loads, out.getvalue().splitlines()) if "what" in row]
        assert [row["mmi unique %"] for row in rows] == [99.0, None]
        assert [json.loads(line)["what"] for line in out.getvalue().splitlines() if "ensemble" in line]
        assert len(ran) == 2 * 3 + 1
    assert ran[-1][0] == "evaluate" and len([word for word in ran[-1] if word.startswith(str(tmp_path))]) == 3


def test_a_finished_cell_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def fake(*words: Any) -> str:
        ran.append([str(word) for word in words])
        if len(ran) == 7:
            raise CommandError("no memory")
        return json.dumps(FOUND)

    monkeypatch.setattr(replies, "seq2seq", fake)
    monkeypatch.setattr(series, "seq2seq", fake)
    monkeypatch.setattr(replies, "write", lambda plan, unit: 7.5)
    out = io.StringIO()
    plan = Study(tmp_path, [1, 2], ["clause"])
    study(plan, Table(file=out))
    cells = replies.cells(["clause"])
    assert len(cells) == 4 and len(ran) == 2 * 8 - 1 and "no memory" in out.getvalue()
    for command in ran:
        if command[0] == "train":
            options_from(command[1:])  # every option is one of ours
    ran[:] = [["stop"]] * 9
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"cell": "cut o')
    study(plan, Table(as_json=True, file=(out := io.StringIO())))
    assert len(ran) == 9 + 2  # the one cell that had failed: its training had not
    rows = [row for row in map(json.loads, out.getvalue().splitlines()) if "what" in row]
    assert [row["what"] for row in rows] == [str(cell) for cell in cells]
    assert all(row["seeds"] == 2 and row["tf-idf %"] == 7.5 and row["mmi unique %"] is None for row in rows)
    before = len(ran)
    study(plan, Table(file=io.StringIO()))
    assert len(ran) == before
