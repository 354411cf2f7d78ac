"""The tables with published numbers: their commands are ours, a finished cell is not run again, rows are means."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks import series
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy import ablation, measuring, recipe
from benchmarks.accuracy.tables import TABLES, AccuracyTable, Task
from benchmarks.commands import CommandError
from benchmarks.series import Series
from benchmarks.table import Table
from seq2seq.app.commands.train import options_from
from seq2seq.app.options import TrainOptions
from seq2seq.errors import ConfigError

DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize("name", TABLES)
def test_every_command_of_a_table_is_one_of_ours(name: str, tmp_path: Path) -> None:
    tasks = list(TABLES[name].tasks(DATA, tmp_path))
    assert len({task.name for task in tasks}) == len(tasks) and not any("," in task.name for task in tasks)
    alike = {tuple(word for word in task.train if isinstance(word, str)): task for task in tasks}
    for task in alike.values():  # the others have other files
        options_from([*map(str, task.train), "--out", str(tmp_path / "run")])
    for task in tasks:
        assert 0 < task.minutes <= 120 and set(task.measured) <= {"dev", "test"}
        files = [word for words in task.measured.values() for word in words if isinstance(word, Path)]
        assert files and all(path.exists() for path in files)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
def test_judges_are_trained_where_they_are_asked_for(tmp_path: Path) -> None:
    options = argparse.Namespace(data=DATA, tasks=None)
    for judges, names in ((False, ["cmudict"]), (True, ["cmudict", "cmudict right-to-left"])):
        assert list(measuring.tasks_of("cmudict", TABLES["cmudict"], options, tmp_path, judges)) == names
    options.tasks = "cmudict right-to-left"
    assert list(measuring.tasks_of("cmudict", TABLES["cmudict"], options, tmp_path)) == [options.tasks]
    options.tasks = "turkish"
    found = measuring.tasks_of("sigmorphon2016", TABLES["sigmorphon2016"], options, tmp_path, judges=True)
    assert list(found) == ["turkish", "turkish right-to-left"]
    options.tasks = None
    with pytest.raises(ConfigError, match="--judges: no task of scan has one"):
        measuring.tasks_of("scan", TABLES["scan"], options, tmp_path, judges=True)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
def test_held_out_words_are_in_no_training_pair(tmp_path: Path) -> None:
    list(TABLES["cmudict"].tasks(DATA, tmp_path))
    words = {
        split: {line.split("\t")[0] for line in (tmp_path / f"cmudict.{split}.tsv").read_text("utf-8").splitlines()}
        for split in ("train", "dev")
    }
    assert len(words["dev"]) == 2670 and not words["train"] & words["dev"]


def test_rows_are_means_over_seeds_and_the_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def fake(*words: Any) -> str:
        ran.append([str(word) for word in words])
        runs = [str(word) for word in words if "a-1.0-" in str(word)]
        return json.dumps({"wer_percent": 10.0 * len(runs) + float(runs[0][-1])})

    monkeypatch.setattr(series, "seq2seq", fake)
    monkeypatch.setattr(measuring, "seq2seq", fake)
    task = Task("a", ("pairs.tsv",), {"dev": ("dev.tsv",)}, 1.0)
    table = AccuracyTable("nobody's", "wer_percent", lambda data, work: iter([task]), ensemble=True)
    done = Series(tmp_path, Table(), "t")
    rows = [row for seed in (1, 3) if (row := measuring.measure(done, task, seed, 1.0, []))]
    row = accuracy.row_of(table, rows, accuracy.together(done, task, rows))
    assert (row["seeds"], row["dev"], row["dev ensemble"], row["test"]) == (2, 12.0, 21.0, None)
    assert row["dev +-"] == pytest.approx(12.706, abs=1e-3)  # t of one degree of freedom times the standard error, 1
    assert len(ran) == 5  # two trainings, two evaluations, one of the ensemble
    assert measuring.measure(done, task, 1, 1.0, []) == rows[0] and len(ran) == 5
    other = [{"seed": seed, "dev": {"wer_percent": 10.0 + seed}} for seed in (1, 3)]
    total = accuracy.macro("wer_percent", [(rows, row), (other, {**row, "dev": 12.0, "dev ensemble": None})])
    assert (total["dev"], total["dev tasks"], total["dev ensemble tasks"], total["test"]) == (12.0, 2, 1, None)
    assert total["dev +-"] == pytest.approx(12.706, abs=1e-3)  # the seeds' macros are 11 and 13
    opposite = [{"seed": seed, "dev": {"wer_percent": 20.0 - seed}} for seed in (1, 3)]
    total = accuracy.macro("wer_percent", [(rows, row), (opposite, {**row, "dev": 18.0})])
    assert total["dev +-"] == pytest.approx(0.0)  # where one task is worse with a seed the other is better
    total = accuracy.macro("wer_percent", [(rows, row), (other[:1], {**row, "dev": 11.0})])
    assert total["dev +-"] is None  # one seed is left that both tasks have


def test_runs_of_another_task_judge_those_of_the_same_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def fake(*words: Any) -> str:
        ran.append([str(word) for word in words])
        return json.dumps({"wer_percent": float(len(ran))})

    monkeypatch.setattr(measuring, "seq2seq", fake)
    task = Task("a", ("pairs.tsv",), {"dev": ("dev.tsv",)}, 1.0, judge="b")
    table = AccuracyTable("nobody's", "wer_percent", lambda data, work: iter([task]), ensemble=True)
    done = Series(tmp_path, Table(), "t")
    made = {name: [{"seed": n, "minutes": 1.0, "threads": 1, "run": f"{name}{n}"} for n in (1, 2, 3)] for name in "ab"}
    row = accuracy.judged(done, table, task, {**made, "b": made["b"][:2]})
    assert row and (row["seeds"], row["dev"], row["dev ensemble"]) == (2, 1.5, 3.0)
    assert ran[1] == ["evaluate", "a2", "dev.tsv", "--second-model", "b2", "--json"]
    assert ran[2][:4] == ["evaluate", "a1", "a2", "dev.tsv"] and ran[2].count("--second-model") == 2
    assert accuracy.judged(done, table, task, {**made, "b": made["b"][:2]}) == row and len(ran) == 3
    assert accuracy.judged(done, table, task, {"a": made["a"]}) is None
    alone = accuracy.together(done, task, made["a"])
    assert alone and alone["dev"]["command"] == "seq2seq evaluate a1 a2 a3 dev.tsv --json"


def test_those_whom_the_runs_of_a_task_teach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def fake(*words: Any) -> str:
        ran.append([str(word) for word in words])
        return json.dumps({"wer_percent": 5.0 if "students-of" in str(words[1]) else 10.0})

    monkeypatch.setattr(series, "seq2seq", fake)
    monkeypatch.setattr(measuring, "seq2seq", fake)
    tasks = [Task("a", (Path("a.tsv"),), {"dev": (Path("a.dev"),)}, 1.0, "b"), Task("b", ("b.tsv",), {"dev": ()}, 1.0)]
    table = AccuracyTable("nobody's", "wer_percent", lambda data, work: iter(tasks), ensemble=True)
    monkeypatch.setitem(TABLES, "t", table)
    words = ["accuracy", "t", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--json", "--seeds", "1,2"]
    monkeypatch.setattr(sys, "argv", [*words, "--students", "--unlabelled", "more.txt", "--judges"])
    accuracy.main()
    rows = {row.get("what"): row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (rows["students of a"]["dev"], rows["a"]["dev"]) == (5.0, 10.0) and "students of b" not in rows
    taught = [words for words in ran if words[0] == "distill"]
    teacher = taught[0][taught[0].index("--teacher") :][1:3]
    assert [Path(run).name.rpartition("-")[2] for run in teacher] == ["1", "2"] and len(taught) == 2
    assert taught[1][:2] == ["distill", "a.tsv"] and taught[1][taught[1].index("--unlabelled") + 1] == "more.txt"
    trained = len(ran)
    accuracy.main()
    assert len(ran) == trained  # all rows are there
    apart = [dataclasses.replace(tasks[0], judge=""), tasks[1]]
    monkeypatch.setitem(TABLES, "t", dataclasses.replace(table, tasks=lambda data, work: iter(apart)))
    monkeypatch.setattr(sys, "argv", [*words, "--students", "--unlabelled", "more.txt"])
    with pytest.raises(SystemExit):
        accuracy.main()
    assert "--unlabelled has lines of one task" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*words, "--unlabelled", "more.txt"])
    with pytest.raises(SystemExit):
        accuracy.main()
    assert "--unlabelled is for --students" in capsys.readouterr().err


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of each training; nothing is trained, and 10 % of the words are wrong."""
    ran: list[list[str]] = []

    def fake(*words: Any) -> str:
        if words[0] == "train":
            ran.append([str(word) for word in words])
        return json.dumps({"wer_percent": 10.0})

    monkeypatch.setattr(series, "seq2seq", fake)
    monkeypatch.setattr(measuring, "seq2seq", fake)
    return ran


def test_another_recipe_is_another_row_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainings: list[list[str]]
) -> None:
    done = Series(tmp_path, Table(), "t")
    files = (Path("data/a.tsv"), "--dev", Path("data/dev.tsv"))

    def measured(*words: str | Path, search: tuple[str, ...] = ()) -> dict[str, Any]:
        row = measuring.measure(done, Task("a", words, {"dev": (Path("dev.tsv"), *search)}, 1.0), 1, 1.0, [])
        assert row
        return row

    rows = [measured(*files, "--model.dropout", p) for p in ("0.3", "0.9", "0.3")]
    assert rows[0] == rows[2] != rows[1] and rows[0]["run"] != rows[1]["run"] and len(trainings) == 2
    assert measured(Path("elsewhere/a.tsv"), *files[1:], "--model.dropout", "0.3") == rows[0]  # the same file
    assert measured(Path("data/b.tsv"), *files[1:], "--model.dropout", "0.3") != rows[0]
    assert measured(*files, "--model.dropout", "0.3", search=("--beam", "1")) != rows[0]
    default, trained = f"{TrainOptions().model.dropout}", len(trainings)
    plain = measured(*files)
    assert measured(*files, "--model.dropout", default) == plain
    assert measured(*files, "--precision", measuring.resolve("auto")) == plain  # auto is what it is here
    assert len(trainings) == trained  # the folder of the first row is theirs
    adamw = [measured(*files, "--optimizer.name", "adamw", *more) for more in ((), ("--optimizer.weight-decay", "0"))]
    assert adamw[0] != adamw[1]  # without it adamw has a decay
    trained = len(trainings)
    extra = [("novel", float, dataclasses.field(default=0.0))]
    novel = dataclasses.make_dataclass("Novel", extra, bases=(TrainOptions,), frozen=True)
    monkeypatch.setattr(recipe, "options_from", lambda *_: novel())  # as if train had one option more, that is off
    assert measured(*files) == plain and len(trainings) == trained
    changed = dataclasses.replace(TrainOptions(), moving_average=0.5)
    monkeypatch.setattr(recipe, "options_from", lambda *_: changed)  # as if train had another default
    assert measured(*files) != plain and len(trainings) == trained + 1


def test_a_run_that_goes_on_keeps_its_updates(tmp_path: Path, trainings: list[list[str]]) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "1.npz").touch()
    (tmp_path / "run" / "config.toml").write_text("updates = 9\nminutes = 1.0\n")  # of a preset, perhaps
    Series(tmp_path, Table(), "t").train(tmp_path / "run", ["a.tsv", "--seed", "2"], ["--minutes", "1"])
    out = ["train", "--out", str(tmp_path / "run"), "--resume"]
    assert trainings == [[*out, "--updates", "9", "--minutes", "1"]]


def test_a_file_that_was_not_there_is_measured_later(tmp_path: Path, trainings: list[list[str]]) -> None:
    done = Series(tmp_path, Table(), "t")
    task = Task("a", ("pairs.tsv",), {"dev": (Path("dev.tsv"),)}, 1.0)
    rows = [row for seed in (1, 2) if (row := measuring.measure(done, task, seed, 1.0, []))]
    together = accuracy.together(done, task, rows)
    assert together and "test" not in rows[0]
    assert accuracy.together(done, task, rows) == together
    for row in rows:
        Path(row["run"], "model.npz").touch()
    more = dataclasses.replace(task, measured={**task.measured, "test": (Path("test.tsv"),)})
    half = [row for row in (measuring.measure(done, more, 1, 1.0, []), rows[1]) if row]
    assert half[0] == {**rows[0], "test": half[0]["test"]} and "test.tsv" in half[0]["test"]["command"]
    shown = accuracy.row_of(AccuracyTable("nobody's", "wer_percent", lambda data, work: iter([more])), half, None)
    assert shown["test"] is None and shown["dev"] == 10.0  # not the mean of one seed where it says two
    assert measuring.measure(done, more, 1, 1.0, []) == half[0] and len(trainings) == 2
    several = accuracy.together(done, more, half)
    assert several and several["test"]["wer_percent"] == 10.0


def test_a_row_without_a_recipe_counts_where_its_command_is_the_tasks(
    tmp_path: Path, trainings: list[list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "seq2seq train ../data/a.tsv --dev ../data/dev.tsv --seed 1 --out a-1 --minutes 1"
    key = {"task": "a", "seed": 1, "minutes": 1.0, "options": "", "threads": 1}
    row = {**key, "command": command, "run": "a-1", "dev": {"wer_percent": 7.0}}
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "results.jsonl").write_text(json.dumps(row))
    monkeypatch.setenv("NPROC", "1")
    words = ["accuracy", "t", "--data", str(tmp_path), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    for more, found in (((), 7.0), (("--model.dropout", "0.9"), 10.0)):
        task = Task("a", (Path("here/a.tsv"), "--dev", Path("here/dev.tsv"), *more), {"dev": ("dev.tsv",)}, 1.0)
        table = AccuracyTable("nobody's", "wer_percent", lambda data, work, task=task: iter([task]))
        monkeypatch.setitem(TABLES, "t", table)
        accuracy.main()
        out = capsys.readouterr().out
        assert ("1 of these runs have no recipe noted" in out) == (found == 7.0)
        assert f"{found:.3g}" in out.splitlines()[-2 if found == 7.0 else -1]
    assert len(trainings) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--precision=float32"], {"precision": "float32"}),
        (["--precision", "bfloat16"], {"precision": "bfloat16"}),
        (["--threads=1"], {"threads": 1}),
    ],
)
def test_a_row_says_how_its_run_computed_however_that_was_spelt(
    tmp_path: Path, trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch, options: list[str], told: Any
) -> None:
    monkeypatch.setenv("NPROC", "2")
    task = Task("a", ("pairs.tsv",), {"dev": ("dev.tsv",)}, 1.0)
    row = measuring.measure(Series(tmp_path, Table(), "t"), task, 1, 1.0, options)
    assert row and told.items() <= row.items() and trainings


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--seeds", "1,2,1"], "wanted different whole numbers"),
        (["--seeds", "one"], "wanted different whole numbers"),
        (["--preset", "nothing"], "no preset is called nothing"),
        (["--seeds", "1,2", "--seed=3"], "--seed=3: each run has its own"),
    ],
)
def test_what_would_mislead_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    task = Task("a", ("pairs.tsv",), {"dev": ("dev.tsv",)}, 1.0)
    monkeypatch.setitem(TABLES, "t", AccuracyTable("nobody's", "wer_percent", lambda data, work: iter([task])))
    monkeypatch.setattr(sys, "argv", ["accuracy", "t", "--data", str(tmp_path), "--out", str(tmp_path), *words])
    with pytest.raises(SystemExit) as end:
        accuracy.main()
    assert end.value.code == 2 and told in capsys.readouterr().err


def test_runs_go_side_by_side_and_one_that_fails_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = threading.Barrier(2, timeout=60)

    def fake(*words: Any) -> str:
        if words[0] == "train":
            both.wait()  # nobody trains alone
        if "b.tsv" in words and words[0] == "evaluate":
            raise CommandError("no memory")
        return json.dumps({"wer_percent": 10.0})

    monkeypatch.setattr(series, "seq2seq", fake)
    monkeypatch.setattr(measuring, "seq2seq", fake)
    monkeypatch.setenv("NPROC", "2")
    tasks = [Task(name, (f"{name}.tsv",), {"dev": (f"{name}.tsv",)}, 1.0) for name in "ab"]
    table = AccuracyTable("nobody's", "wer_percent", lambda data, work: iter(tasks), mean=True, ensemble=True)
    monkeypatch.setitem(TABLES, "t", table)
    words = ["accuracy", "t", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--json"]
    monkeypatch.setattr(sys, "argv", [*words, "--seeds", "1,2", "--jobs", "2", "--threads", "1"])
    accuracy.main()
    rows = {row.get("what"): row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["a"]["dev"] == rows["mean"]["dev"] == rows["a"]["dev ensemble"] == 10.0
    assert (rows["a"]["threads"], rows["mean"]["dev tasks"], "b" in rows) == (1, 1, False)


def test_an_ablation_tells_each_setting_beside_the_defaults_on_dev_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"a": 10.0, "b": 20.0}
    evaluations: list[tuple[str, ...]] = []

    def fake(*words: Any) -> str:
        if words[0] == "evaluate":
            evaluations.append(tuple(map(str, words)))
        score = wrong[str(words[2])[0]] if words[0] == "evaluate" else 0.0
        return json.dumps({"wer_percent": score + (2.0 if "smoothing" in str(words[1]) else 0.0)})

    monkeypatch.setattr(series, "seq2seq", fake)
    monkeypatch.setattr(measuring, "seq2seq", fake)
    monkeypatch.setenv("NPROC", "1")
    tasks = [Task(name, (f"{name}.tsv",), {"dev": (f"{name}.dev",), "test": ("test",)}, 1.0) for name in "ab"]
    monkeypatch.setitem(TABLES, "t", AccuracyTable("nobody's", "wer_percent", lambda data, work: iter(tasks)))
    words = ["ablation", "t", "--data", str(tmp_path), "--out", str(tmp_path), "--settings", "no label smoothing"]
    monkeypatch.setattr(sys, "argv", [*words, "--json"])
    ablation.main()
    rows = {row.get("what"): row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows[ablation.DEFAULTS] | {"dev": 15.0, "more than the defaults": 0.0} == rows[ablation.DEFAULTS]
    row = rows["no label smoothing"]
    assert (row["runs"], row["dev"], row["more than the defaults"], row["+-"]) == (2, 17.0, 2.0, 0.0)
    assert len(evaluations) == 4 and not any("test" in words for words in evaluations)


@pytest.mark.parametrize("setting", ablation.SETTINGS)
def test_every_setting_of_an_ablation_is_one_of_ours(setting: str) -> None:
    told = options_from(["pairs.tsv", *ablation.SETTINGS[setting]])
    assert "," not in setting and (told == options_from(["pairs.tsv"])) == (setting == ablation.DEFAULTS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--settings", "magic"], "wanted some of the defaults, no moving average"),
        (["--model.type", "hard-monotonic"], "the same units dropped at every step: these options do not"),
        (["--preset", "luong2015"], "two layers in the encoder: these options do not go with it"),
        ([], "t has no dev data"),
    ],
)
def test_an_ablation_refuses_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    split = "dev" if words else "test"
    task = Task("a", ("a.tsv",), {split: ("a.tsv",)}, 1.0)
    monkeypatch.setitem(TABLES, "t", AccuracyTable("nobody's", "wer_percent", lambda data, work: iter([task])))
    monkeypatch.setattr(sys, "argv", ["ablation", "t", "--data", str(tmp_path), "--out", str(tmp_path), *words])
    with pytest.raises(SystemExit) as end:
        ablation.main()
    assert end.value.code == 2 and told in capsys.readouterr().err
