"""A student learns from what its teacher says, which stays in the run's folder."""

from __future__ import annotations

import json

import pytest
from command_line import TINY, write_pairs

import seq2seq
from seq2seq import Decoding, Pair, PairFiles, read_pairs
from seq2seq.app import teacher
from seq2seq.app.commands.distill import DistillOptions, main, taught, write
from seq2seq.app.commands.train import options_from
from seq2seq.app.hypothesis import EMPTY
from seq2seq.app.prepare import run_folder
from seq2seq.app.teacher import forget
from seq2seq.data import inflection_source
from seq2seq.training import FolderLock


def distilled(home, name="distilled.jsonl"):
    return [json.loads(line) for line in (home / "run" / name).read_text("utf-8").splitlines()]


@pytest.fixture
def home(own_folder):
    write_pairs(own_folder / "pairs.tsv")
    (own_folder / "dev.tsv").write_text("fab\tbaf\n")
    return own_folder


def test_the_student_gets_the_pairs_and_the_teachers_outputs(run, trained, twin, home):
    (home / "more.txt").write_text("ffff\n\nabab\nffff\n")
    pairs = [line.split("\t") for line in (home / "pairs.tsv").read_text().splitlines()]
    words = ["pairs.tsv", "--dev", "dev.tsv", "--out", "run", "--teacher", trained, twin, "--unlabelled", "more.txt"]
    assert run("distill", *words, "--teacher-beam", 2, *TINY, "--updates", 2).code == 0
    teacher = seq2seq.TextModel.ensemble([seq2seq.load(trained), seq2seq.load(twin)])
    sources = list(dict.fromkeys([*(source for source, _ in pairs), "ffff", "abab"]))
    said = zip(sources, teacher.generate(sources, Decoding(beam=2)), strict=True)
    wanted = dict.fromkeys([*map(tuple, pairs), *((source, text) for source, text in said if text)])
    assert [(row["source"], row["target"]) for row in distilled(home)] == list(wanted)
    assert distilled(home, "dev.jsonl") == [{"source": "fab", "target": "baf"}]
    assert seq2seq.load("run").generate(["abc"])  # a model like any other
    again = run("train", "--resume", "--out", "run", "--updates", 3)
    assert again.code == 0 and "update 3" in again.err


def lessons(*words, kept=False):
    """The options of the student, whose pairs are written; nothing is trained."""
    options = options_from([*map(str, words), "--out", "run", "--teacher-beam", "1"], DistillOptions, "distill")
    with run_folder(options) as folder:
        student = taught(options, folder)
        if not kept:
            forget(folder)
        return student


@pytest.fixture
def mirror(monkeypatch):
    """Every teacher says the source from behind; nothing behind a "b", and without an end behind an "a"."""

    def said(self, texts, *_):
        ended = [EMPTY._replace(text="" if text[0] == "b" else text[::-1]) for text in texts]
        return [[one._replace(finished=text[0] != "a")] for text, one in zip(texts, ended, strict=True)]

    monkeypatch.setattr(seq2seq.TextModel, "hypotheses", said)


@pytest.mark.usefixtures("mirror")
def test_an_output_without_an_end_is_not_taught(fails, trained, home, capsys):
    (home / "pairs.tsv").write_text("abc\tx\nbcd\tx\naaa\tx\ncde\tx\n")
    words = ["pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, "--teacher-only"]
    lessons(*words)
    assert distilled(home) == [{"source": "cde", "target": "edc"}]
    assert "1 outputs to learn from; left out: 2 without an end, 1 empty" in capsys.readouterr().err
    (home / "pairs.tsv").write_text("abc\tx\n")
    assert "no output of the teacher is left" in fails("distill", *words, "--out", "run")


@pytest.mark.parametrize(
    ("outputs", "tags", "taught"),
    [
        (["b\0a", "d\tc"], "", 1),
        (["b\ra", "dcc"], "", 1),
        (["b\ufffd", "d" * 20_001], "", 0),
        (["b\na", "d\tc"], "\tN", 0),
        (["b\0a", "d\rc"], "\tN", 0),
        (["x,y", "dcc "], "\tN", 1),  # as if the features came last
    ],
)
def test_what_no_line_can_hold_is_not_taught(outputs, tags, taught, trained, home, capsys, monkeypatch):
    texts, rows = iter(outputs), [f"ab\tba{tags}", f"cd\tdc{tags}"]
    said = lambda _, sources, *__: [[EMPTY._replace(text=next(texts), finished=True)] for _ in sources]  # noqa: E731
    monkeypatch.setattr(seq2seq.TextModel, "hypotheses", said)
    monkeypatch.setattr(seq2seq.TextModel, "check_format", lambda *_: None)
    for name in ("pairs.tsv", "dev.tsv"):
        (home / name).write_text("".join(f"{row}\n" for row in rows))
    kind = ("--format", "sigmorphon") if tags else ()
    student = lessons("pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, *kind)
    assert (
        f"{taught} outputs to learn from; left out: 0 without an end, {2 - taught} empty or broken"
        in capsys.readouterr().err
    )
    assert len(list(read_pairs(PairFiles(student.pairs, format=student.format)).pairs)) == len(rows) + taught


@pytest.mark.usefixtures("mirror")
def test_pairs_count_as_often_as_they_stand_in_the_files(trained, home):
    (home / "pairs.tsv").write_text("cde\tedc\nfed\tx\ncde\tedc\n")
    student = lessons("pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, "--deduplicate")
    found = [(row["source"], row["target"]) for row in distilled(home)]
    assert found == [("cde", "edc"), ("fed", "x"), ("cde", "edc"), ("fed", "def")]
    assert student.deduplicate  # which training does


@pytest.mark.usefixtures("mirror")
def test_bad_lines_of_the_unlabelled_are_skipped_and_counted_where_pairs_are(fails, trained, home, capsys):
    (home / "more.txt").write_bytes(b"ffff\n\nf\0f\n" + b"f" * 20_001 + b"\neeee\n")
    words = ["pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, "--unlabelled", "more.txt"]
    told = fails("distill", *words, "--out", "run")
    assert told.startswith("more.txt:3: NUL character") and "--skip-bad" in told
    lessons(*words, "--skip-bad", "--teacher-only")
    assert [row["source"] for row in distilled(home)][-2:] == ["ffff", "eeee"]
    err = capsys.readouterr().err
    for what, line in (("NUL character", 3), ("over-long line", 4)):
        assert f"skipped: {what} (1 line, first more.txt:{line})" in err


def test_a_teacher_that_was_stopped_goes_on_where_it_was(run, fails, trained, home, monkeypatch):
    monkeypatch.setattr(teacher, "_CHUNK", 3)
    (home / "pairs.tsv").write_text("".join(f"{'abcdef'[n % 6] * (n + 1)}\tx\n" for n in range(8)))
    words = ["distill", "pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, "--teacher-beam", 1, *TINY]
    assert run(*words, "--out", "at-once", "--updates", 1).code == 0
    generate, asked = seq2seq.TextModel.hypotheses, []

    def stopping(self, texts, *rest):
        asked.append(list(texts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return generate(self, texts, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(seq2seq.TextModel, "hypotheses", stopping)
        stopped = run(*words, "--out", "run", "--updates", 1)
    assert stopped.code == 130 and "the same command again; 3 of 8 outputs are kept" in stopped.err
    asked.clear()
    other = [*words[: -len(TINY) - 2], "--teacher-beam", 2, *TINY]
    assert "--teacher-beam was 1 and is now 2" in fails(*other, "--out", "run", "--updates", 1)
    with monkeypatch.context() as patched:
        patched.setattr(
            seq2seq.TextModel, "hypotheses", lambda *words: asked.append(list(words[1])) or generate(*words)
        )
        again = run(*words, "--out", "run", "--updates", 1)
    assert again.code == 0 and "3 of 8 outputs are there already" in again.err
    assert [len(chunk) for chunk in asked[:2]] == [3, 2]
    assert distilled(home) == distilled(home, "../at-once/distilled.jsonl")
    assert not list((home / "run").glob("taught*"))  # the student's run has what it needs


def test_kept_outputs_to_other_sources_are_refused(fails, trained, home):
    words = ["distill", "pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, "--teacher-beam", 1, "--out", "run"]
    lessons(*words[1:-2], kept=True)
    (home / "pairs.tsv").write_text("fff\tx\n" + (home / "pairs.tsv").read_text())
    refused = fails(*words)
    assert (
        "what the teacher is asked has changed" in refused
        and "remove run/taught.jsonl.progress to begin again" in refused
    )


def test_without_dev_pairs_those_held_out_are_not_taught(trained, home):
    student = lessons("pairs.tsv", "--teacher", trained, "--teacher-only")
    assert (student.pairs, student.dev) == (("run/distilled.jsonl",), ("run/dev.jsonl",))
    assert student.max_line == DistillOptions().max_line
    held, known = ({row["source"] for row in distilled(home, name)} for name in ("dev.jsonl", "distilled.jsonl"))
    assert held and known and not held & known
    outputs = dict(zip(known, seq2seq.load(trained).generate(list(known), Decoding(beam=1)), strict=True))
    assert all(outputs[row["source"]] == row["target"] for row in distilled(home))


def test_what_is_measured_on_is_not_taught_by_the_unlabelled(run, trained, home):
    every = [line.partition("\t")[0] for line in (home / "pairs.tsv").read_text().splitlines()]
    (home / "more.txt").write_text("".join(f"{source}\n" for source in every))
    words = ["pairs.tsv", "--out", "run", "--teacher", trained, "--unlabelled", "more.txt", "--teacher-beam", 1]
    ran = run("distill", *words, *TINY, "--updates", 1)
    assert ran.code == 0 and "unlabelled sources are left out" in ran.err
    held, known = ({row["source"] for row in distilled(home, name)} for name in ("dev.jsonl", "distilled.jsonl"))
    assert held and not held & known


def test_who_trains_here_is_asked_before_anything_is_written(fails, trained, home):
    (home / "run").mkdir()
    (home / "run" / "distilled.jsonl").write_text("as it was")
    with FolderLock(home / "run"):
        assert "is training here" in fails("distill", "pairs.tsv", "--out", "run", "--teacher", trained)
    assert (home / "run" / "distilled.jsonl").read_text() == "as it was"


@pytest.mark.parametrize("name", ["dev.jsonl", "distilled.jsonl", "more.txt"])
def test_a_file_that_no_distillation_wrote_stays(fails, trained, home, name):
    (home / "run").mkdir()
    (home / "run" / name).write_text("abc\tcba\n")
    if name != "more.txt":
        assert "no run wrote it" in fails("distill", "pairs.tsv", "--out", "run", "--teacher", trained)
    else:  # read, and by chance called as a file of any run
        (home / "run" / name).rename(home / "run" / "log.jsonl")
        asked = ("distill", "pairs.tsv", "--out", "run", "--teacher", trained, "--unlabelled", "run/log.jsonl")
        assert "run/log.jsonl would be overwritten" in fails(*asked)
    assert next((home / "run").iterdir()).read_text() == "abc\tcba\n"


def test_single_features(run, home):
    (home / "forms.tsv").write_text("".join(f"{word}\tPST\t{word}te\n" for word in ("ab", "cd", "ef", "abc", "fed")))
    assert run("train", "forms.tsv", "--format", "sigmorphon", "--out", "lines", *TINY, "--updates", 1).code == 0
    words = ["forms.tsv", "--format", "sigmorphon", "--teacher", "lines", "--teacher-beam", 1, "--updates", 1]
    assert run("distill", *words, "--out", "forms", *TINY).code == 0


def test_inflections_stay_lemma_features_form(home):
    pairs = [Pair(inflection_source("au fait", "pos=A,num=PL"), "au faits"), Pair(inflection_source("a", "x=1"), "b")]
    write(home / "forms.tsv", pairs, "tsv")
    found = read_pairs(PairFiles(("forms.tsv",)))
    assert (found.pairs, found.format) == (pairs, "sigmorphon")


@pytest.mark.usefixtures("mirror")
def test_lines_of_the_unlabelled_are_as_long_as_the_pairs_may_be(fails, trained, home):
    words = ["pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, "--unlabelled", "more.txt"]
    (home / "more.txt").write_text("f" * 21_000 + "\n")
    lessons(*words, "--max-line", 30_000)
    assert distilled(home)[-1]["target"] == "f" * 21_000
    assert "more.txt:1: over-long line" in fails("distill", *words, "--out", "run", "--max-line", 20_999)
    (home / "more.txt").write_text("fab\tbaf\n")
    assert "more.txt:1: a TAB: write one source a line" in fails("distill", *words, "--out", "run")


def test_the_classes_of_a_teacher_are_not_of_the_student(trained, home):
    (home / "theirs.py").write_text("import seq2seq\n\n\n@seq2seq.module\nclass Cell:\n    size: int\n")
    student = lessons("pairs.tsv", "--dev", "dev.tsv", "--teacher", trained, "--types", "theirs.py:Cell")
    assert student.types == ()


@pytest.mark.usefixtures("mirror")
def test_outputs_are_forgotten_with_the_first_checkpoint_however_the_student_ends(trained, home, monkeypatch):
    def ending(folder, options):
        if options.seed == 2:
            (folder / "model.npz").touch()
        raise SystemExit

    monkeypatch.setattr("seq2seq.app.commands.distill.run_in", ending)
    words = ["pairs.tsv", "--dev", "dev.tsv", "--teacher", str(trained), "--out", "run"]
    for seed, kept in (("1", True), ("2", False)):
        with pytest.raises(SystemExit):
            main([*words, "--seed", seed])
        assert any((home / "run").glob("taught*")) == kept


def test_what_is_missing_is_said(fails, trained, home):
    wrong = ("distill", "pairs.tsv", "--out", "run", "--teacher", trained, "--teacher-beam", 0)
    assert "--teacher-beam is 0; wanted at least 1" in fails(*wrong)
    assert "--teacher is missing" in fails("distill", "pairs.tsv", "--out", "run")
    assert "no such file" in fails("distill", "pairs.tsv", "--out", "run", "--teacher", "nothing")
    assert "train --resume" in fails("distill", "--resume", "--out", trained, "--teacher", trained)
