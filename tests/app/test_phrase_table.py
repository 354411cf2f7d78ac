"""`seq2seq score --phrase-table`: the column is `TextModel.score`, nothing else changes, and nothing is lost."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import words

import seq2seq
from seq2seq.app import forcing, text_model
from seq2seq.app.partial_file import PartialFile, Written
from seq2seq.errors import ArchiveError, ResumeError
from seq2seq.training.checkpoint import Fingerprint

TABLE = (
    "abc ||| cba ||| 0.5 0.25 ||| 0-0 ||| 1 1 1 ||| |||\n"
    "abc ||| fed ||| 0.5 0.25 ||| 0-0 ||| 1 1 1\r\n"
    "abc ||| cba ||| 1e-5  1 |||  ||| \n"
    "def fed |||  ||| 1\n"
    "fedabc ||| abcabcabcabcabc  |||  1 1  ||| 0-0"
)


def table(path: Path, count: int = 400) -> Path:
    rng = random.Random(3)
    lines = [
        f"{source} ||| {''.join(rng.choices('abcdef', k=rng.randint(0, 7)))} ||| 0.5 {rng.random():.4g} ||| 0-0 ||| 1\n"
        for source in sorted(words(40))
        for _ in range(count // 40)
    ]
    content = "".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def column(line: str) -> list[str]:
    return line.split("|||")[2].split()


@pytest.mark.parametrize("how", ["file", "packed", "stdin", "packed stdin", "out", "packed out"])
def test_the_column_is_the_score_and_all_else_is_as_it_was(run, trained, how):
    content = gzip.compress(TABLE.encode()) if how.startswith("packed") else TABLE.encode()
    Path("table").write_bytes(content)  # gzip is known by its content
    stdin = content if "stdin" in how else b""
    out = {"out": ["--out", "out"], "packed out": ["--out", "out.gz"]}.get(how, [])
    ran = run("score", trained, "--phrase-table", "-" if stdin else "table", *out, stdin=stdin)
    assert ran.code == 0, ran.err
    text = unpacked(Path(out[1])).decode() if out else ran.out
    lines, before = text.split("\n"), TABLE.split("\n")
    pairs = [tuple(part.strip() for part in line.split("|||")[:2]) for line in before]
    wanted = np.exp(seq2seq.load(trained).score(pairs))
    assert [float(column(line)[-1]) for line in lines] == pytest.approx(wanted, rel=1e-4)
    for line, was in zip(lines, before, strict=True):
        assert line.replace(f" {column(line)[-1]}", "", 1) == was
    assert "5 phrases, 4 different ones scored" in ran.err
    assert not list(Path().glob("out*.p*"))


def test_moses_takes_the_logarithm_itself_and_never_of_nothing(run, trained):
    Path("table").write_text(f"abc ||| {'f' * 400} ||| 1\nabc ||| a ||| 1\n")
    logs = run("score", trained, "--phrase-table", "table", "--column", "log").out.splitlines()
    shown = run("score", trained, "--phrase-table", "table").out.splitlines()
    assert float(column(logs[0])[-1]) < -100 and float(column(shown[0])[-1]) == pytest.approx(math.exp(-100))
    assert math.log(float(column(shown[1])[-1])) == pytest.approx(float(column(logs[1])[-1]), rel=1e-4)


def test_windows_change_nothing_and_equal_pairs_are_scored_once(run, trained, monkeypatch):
    table(Path("table"), 800)
    once = run("score", trained, "--phrase-table", "table", "--column", "log").out.splitlines()
    seen: list[tuple[int, int]] = []
    inner = forcing.grouped_batches

    def count(sources, of, targets):
        seen.append((len(sources), len(targets)))
        return inner(sources, of, targets)

    monkeypatch.setattr(forcing, "grouped_batches", count)
    several = run("score", trained, "--phrase-table", "table", "--column", "log", "--window", 50).out.splitlines()
    assert [column(line)[:-1] for line in several] == [column(line)[:-1] for line in once]
    scores = [[float(column(line)[-1]) for line in lines] for lines in (several, once)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5, abs=1e-4)  # six digits are written
    pairs = [tuple(line.split(" ||| ")[:2]) for line in Path("table").read_text().splitlines()]
    assert len(set(pairs)) < len(pairs)
    assert len(seen) > 5
    assert [sum(side) for side in zip(*seen, strict=True)] == [40, len(set(pairs))]


def test_a_bad_line_is_an_error_or_passed_on(run, fails, trained):
    Path("table").write_text("abc ||| cba ||| 1\nabc ||| cba\nabc ||| cba ||| 1\n")
    said = fails("score", trained, "--phrase-table", "table")
    assert said.startswith("table:2: no phrase: 2 columns") and "--skip-bad" in said
    ran = run("score", trained, "--phrase-table", "table", "--skip-bad")
    lines = ran.out.splitlines()
    assert len(lines) == 3 and lines[1] == "abc ||| cba" and lines[0] == lines[2]
    assert "1 bad ones passed on" in ran.err and "(1 line, first table:2)" in ran.err


def test_options_that_do_not_go_together(fails, trained):
    Path("table").write_text("abc ||| cba ||| 1\n")
    assert "--resume needs --out" in fails("score", trained, "--phrase-table", "table", "--resume")
    for option in (("--out", "x"), ("--column", "log"), ("--window", 9)):
        assert f"{option[0]} is for --phrase-table" in fails("score", trained, "table", *option)
    assert "instead of pairs" in fails("score", trained, "table", "--phrase-table", "table")
    assert "leave out --max-line" in fails("score", trained, "--phrase-table", "table", "--max-line", 9)
    assert "--window is 0" in fails("score", trained, "--phrase-table", "table", "--window", "0")
    assert "no such file" in fails("score", trained, "--phrase-table", "tabel")


def start(trained: Path, out: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "seq2seq", "score", str(trained), "--phrase-table", "table.gz", "--out", out]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen([*command, "--window", "5", "--resume"], env=environment, stderr=subprocess.DEVNULL)


def lines_done(out: str) -> int:
    try:
        return int(json.loads(Path(f"{out}.progress").read_text())["lines"])
    except (OSError, ValueError):
        return 0


@pytest.mark.parametrize("out", ["out", "out.gz"])
def test_killed_and_resumed_is_the_same_bytes(run, trained, out):
    table(Path("table.gz"), 1200)
    rng = random.Random(out)
    for part in (0.2, 0.6):
        process = start(trained, out)
        while lines_done(out) < part * 1200 and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert 0 < lines_done(out) < 1200 and not Path(out).exists()
        with Path(f"{out}.partial").open("ab") as file:
            file.write(b"\x1f\x8b half a window")  # what a kill within a write leaves
    options = ("score", trained, "--phrase-table", "table.gz", "--window", 5)
    assert run(*options, "--out", out, "--resume").code == 0
    assert run(*options, "--out", f"whole-{out}").code == 0
    assert Path(out).read_bytes() == Path(f"whole-{out}").read_bytes()
    assert len(unpacked(Path(out)).splitlines()) == 1200
    assert sorted(path.name for path in Path().iterdir()) == sorted([out, f"whole-{out}", "table.gz"])


def test_a_byte_order_mark_is_no_part_of_a_phrase(run, trained):
    for name, mark in (("plain", b""), ("marked", b"\xef\xbb\xbf")):
        Path(name).write_bytes(mark + b"abc ||| cba ||| 0.5\n")
    plain, marked = (run("score", trained, "--phrase-table", name) for name in ("plain", "marked"))
    assert plain.code == marked.code == 0 and plain.out == marked.out
    Path("folder").mkdir()
    assert "is a folder" in run("score", trained, "--phrase-table", "plain", "--out", "folder").err


def test_a_short_rest_is_prepared_for_as_a_whole_window_is(run, trained, monkeypatch):
    table(Path("table"), 400)
    asked = []
    prepared = text_model.TextModel.searchable
    monkeypatch.setattr(
        text_model.TextModel,
        "searchable",
        lambda self, *how, reads=0, **more: asked.append(reads) or prepared(self, *how, reads=reads, **more),
    )
    assert run("score", trained, "--phrase-table", "table", "--window", 300, "--out", "out").code == 0
    assert asked[0] == 4 * 300 >= max(asked) and len(asked) == 3


def stopped(path: Path, content: dict[str, str], lines: bytes, output: bytes) -> None:
    """What a command leaves that was killed after one window."""
    import hashlib

    file = PartialFile(path, Fingerprint(content), False)
    digest = hashlib.sha256(lines).hexdigest()
    file.append(output, Written(lines.count(b"\n"), 0, digest, dict(file.written.content), dict(file.written.machine)))
    file.close()


def test_a_changed_model_input_or_option_is_refused(run, fails, trained, tmp_path):
    table(Path("table"))
    options = ("score", trained, "--phrase-table", "table", "--out", "out", "--window", 20)
    assert run(*options).code == 0
    whole = Path("out").read_bytes()
    lines = Path("table").read_bytes().splitlines(keepends=True)
    # The same command, as if killed after its first window of 20 lines:
    from seq2seq.app.arithmetic import Arithmetic
    from seq2seq.app.partial_file import sha256_of
    from seq2seq.app.phrase_table import TableOptions, _sink

    asked = TableOptions(phrase_table="table", out="out", window=20)
    identity = {"the model": sha256_of([trained / "model.npz"]), "--ensemble-mean": "probabilities"}
    sink = _sink(asked, Arithmetic(), False, identity)
    sink.close()
    Path("out.partial").unlink(), Path("out.progress").unlink()
    stopped(Path("out"), sink.written.content, b"".join(lines[:20]), b"".join(whole.splitlines(keepends=True)[:20]))
    assert "--resume, or remove it" in fails(*options)
    told = fails(*options, "--resume", "--column", "log")
    assert "out.partial was begun by another command: --column was probability and is now log" in told
    assert "or remove out.progress to begin again" in told
    other = tmp_path / "other.npz"
    model = seq2seq.load(trained)
    model.with_model(jax.tree.map(lambda leaf: leaf + 1.0, model.model)).save(other)
    assert "the model was" in fails("score", other, *options[2:], "--resume")
    Path("table").write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    told = fails(*options, "--resume")
    assert "table has changed: of its first 20 lines" in told and "or remove out.progress to begin again" in told
    Path("table").write_bytes(b"".join(lines[:3]))
    assert "it has only 3 now" in fails(*options, "--resume")
    Path("table").write_bytes(b"".join(lines))
    assert run(*options, "--resume").code == 0
    assert Path("out").read_bytes() == whole
    stopped(Path("out"), {"the model": "another"}, b"x\n", b"of another\n")
    Path("out.progress").unlink()  # as the cure says
    assert run(*options, "--resume").code == 0
    assert Path("out").read_bytes() == whole


def test_what_no_line_rests_on_yet_may_change(tmp_path):
    PartialFile(tmp_path / "out", Fingerprint({"a": "b"}), True).close()
    file = PartialFile(tmp_path / "out", Fingerprint({"a": "c"}), True)
    file.append(b"one\n", replace(file.written, lines=1))
    file.close()
    with pytest.raises(ResumeError, match="a was c and is now b"):
        PartialFile(tmp_path / "out", Fingerprint({"a": "b"}), True)


@pytest.mark.parametrize("name", ["out", "out.gz"])
def test_a_kill_between_any_two_steps_of_writing(tmp_path, name):
    path, same = tmp_path / name, Fingerprint({"a": "b"})
    file = PartialFile(path, same, True)
    file.append(b"one\n", Written(1, 0, "x", {"a": "b"}))
    file.append(b"two\n", Written(2, 0, "y", {"a": "b"}))
    file.close()
    whole = file.partial.read_bytes()
    file.partial.write_bytes(whole + b"more")  # killed before the progress was told
    file = PartialFile(path, same, True)
    assert file.written.lines == 2 and file.partial.read_bytes() == whole
    progress = file.progress.read_text()
    file.finish()
    assert path.read_bytes() == whole and os.listdir(tmp_path) == [name]
    # killed after the renaming, before the progress was removed
    file.progress.write_text(progress.replace('"complete": false', '"complete": true'))
    PartialFile(path, same, True).finish()
    assert path.read_bytes() == whole and os.listdir(tmp_path) == [name]
    path.unlink()
    file.progress.write_text(progress)  # somebody removed the output
    with pytest.raises(ResumeError, match="has 0 bytes where"):
        PartialFile(path, same, True)


def test_an_output_takes_the_place_of_no_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="is a device or a pipe"):
        PartialFile(tmp_path / "pipe", Fingerprint({}), False)
    assert os.listdir(tmp_path) == ["pipe"]
