"""`seq2seq generate`: one line in, one line out, whatever the batch."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seq2seq
from seq2seq.app.hypothesis import escaped
from seq2seq.app.text_model import Decoding, TextSettings
from seq2seq.core.seams import Prediction

INPUT = b"abc\n\nfed\n   \nbad\nabc"


def test_one_line_in_one_line_out(run, trained):
    ran = run("generate", trained, stdin=INPUT)
    lines = ran.out.split("\n")
    assert (ran.code, ran.err) == (0, "")
    assert len(lines) == 7 and lines[-1] == ""
    assert lines[1] == lines[3] == ""
    assert lines[0] == lines[5]
    assert lines[:6] == seq2seq.load(trained).generate(INPUT.decode().split("\n"))


def test_a_file_and_line_ends(run, trained, tmp_path):
    plain = run("generate", trained, stdin=INPUT)
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbf" + INPUT.replace(b"\n", b"\r\n"))
    ran = run("generate", trained, "in.txt")
    assert ran.out == plain.out
    assert "byte-order mark left out" in ran.err and "CR LF" in ran.err


def test_the_batch_changes_nothing(run, trained):
    both = [run("generate", trained, "--batch", size, "--nbest", 3, stdin=INPUT).out for size in (1, 64)]
    names = [[line.rsplit(" ||| ", 2)[0] for line in out.splitlines()] for out in both]
    assert names[0] == names[1]


def test_nbest_is_a_moses_list(run, trained):
    lines = [line.split(" ||| ") for line in run("generate", trained, "--nbest", 3, stdin=b"abc\n\n").out.splitlines()]
    assert [number for number, *_ in lines] == ["0", "0", "0", "1"]
    scores = [float(score) for *_, score in lines[:3]]
    assert scores == sorted(scores, reverse=True)
    assert all(float(log_probability) < 0 for _, _, log_probability, _ in lines[:3])
    assert len({text for _, text, *_ in lines[:3]}) == 3


def test_samples_depend_on_seed_and_line_only(run, trained):
    def sampled(*options: object, stdin: bytes = b"abc\nabc\nfed\n") -> list[str]:
        return run("generate", trained, "--sample", *options, stdin=stdin).out.splitlines()

    first = sampled()
    assert first == sampled("--batch", 1) == sampled("--seed", 1)
    assert first[0] != first[1]
    assert first[:2] == sampled(stdin=b"abc\nabc\nbad\n")[:2]
    assert first != sampled("--seed", 2)


def test_json_has_what_python_has(run, trained):
    lines = run("generate", trained, "--json", "--nbest", 2, stdin=b"abc\n\n").out.splitlines()
    first, empty = map(json.loads, lines)
    assert first["input"] == "abc" and len(first["outputs"]) == 2
    best = first["outputs"][0]
    expected = seq2seq.load(trained).hypotheses(["abc"], Decoding(nbest=2), attention=True)[0][0]
    assert set(best) == set(expected._fields)
    assert best["text"] == expected.text and best["tokens"] == expected.tokens
    assert math.isclose(sum(best["token_log_probabilities"]), best["log_probability"], abs_tol=1e-4)
    assert len(best["attention"]) == len(best["tokens"])
    assert all(len(row) == 4 and math.isclose(sum(row), 1, abs_tol=1e-3) for row in best["attention"])
    assert empty["outputs"][0]["text"] == ""


@pytest.mark.parametrize("how", [{}, {"length_penalty": 0.5}, {"length_norm": "gnmt"}, {"coverage_penalty": 0.3}])
def test_a_beam_of_one_is_scored_as_wider_ones_are(trained, how):
    model = seq2seq.load(trained)
    ((one,),) = model.hypotheses(["abc"], Decoding(beam=1, max_length=9, **how))
    # Required to say what it says anyway, it is searched for by a beam.
    ((again,),) = model.hypotheses(["abc"], Decoding(beam=1, max_length=9, require=(one.text[:1],), **how))
    assert one.text and again.text == one.text
    assert math.isclose(one.score, again.score, rel_tol=1e-4), (one, again)


def test_a_shortlist_of_everything_changes_nothing_and_a_shorter_one_is_kept_to(trained):
    model, texts = seq2seq.load(trained), ["abc", "fed", "bad", "", "ace"]
    size = model.target_tokenizer.size
    whole = model.hypotheses(texts, Decoding(nbest=2))
    assert model.hypotheses(texts, Decoding(nbest=2, shortlist=size)) == whole
    found = model.hypotheses(texts, Decoding(nbest=2, shortlist=size - 2))
    said = {token for several in found for hypothesis in several for token in hypothesis.tokens}
    missing = {model.target_tokenizer.token(index) for index in (size - 2, size - 1)}
    assert said and not said & missing
    assert missing & {token for several in whole for hypothesis in several for token in hypothesis.tokens}


def test_a_model_that_cannot_be_restricted_says_so(trained):
    @jax.tree_util.register_static
    class Mute:
        def start(self, source, lengths):
            return (), lengths

        def step(self, memory, state, token):
            return state, Prediction(jax.nn.one_hot(token, 9))

    model = seq2seq.load(trained).with_model(Mute())
    with pytest.raises(seq2seq.errors.ModuleError, match="Mute has no `restricted"):
        model.generate(["abc"], Decoding(shortlist=6))


@pytest.mark.parametrize(
    ("text", "line"),
    [("plain", "plain"), ("a\tb", "a\\tb"), ("a\nb\r", "a\\nb\\r"), ("a\\tb\t", "a\\\\tb\\t"), ("\u2028", "\\u2028")],
)
def test_escaping_is_one_line_and_unambiguous(text, line):
    assert escaped(text) == line
    assert len(escaped(text).splitlines()) == 1


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\\\t\n\r\v\x1c\x85\u2029")))
def test_what_is_escaped_can_be_read_back(text):
    line = escaped(text)
    assert len(line.splitlines()) <= 1 and "\t" not in line
    assert line.encode("ascii", "backslashreplace").decode("unicode_escape") == text


def test_limits_grow_with_the_source():
    settings = TextSettings(source_longest=4, target_longest=6)
    limits = settings.limit(np.array([0, 1, 4, 8]))
    assert limits.tolist() == [0, 16, 16, 32]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nbest", 6], "--nbest 6 needs --beam 6 or more; it is 5."),
        (["--beam", 0], "--beam is 0; wanted at least 1."),
        (["--batch", 0], "--batch is 0; wanted at least 1."),
        (["--sample", "--temperature", 0], "temperature is 0.0, wanted above 0"),
        (["--sample", "--top-p", 0], "top_p is 0.0"),
        (["--sample", "--seed", -1], "--seed is -1"),
        (["--sample", "--seed", 2**70], "--seed is"),
        (["--temperature", 0.5], "add --sample"),
        (["--sample", "--groups", 2], "are for a beam: leave out --sample"),
        (["--replace-unknown", "--ban", "a"], "--ban looks at the model's pieces"),
        (["--shortlist", 4], "--shortlist is 4; wanted at least 5"),
        (["--mbr", "chrf", "--nbest", -2], "--nbest is -2; wanted at least 1."),
        (["--mbr", "chrf", "--beam", 0], "--beam is 0; wanted at least 1."),
        (["--mmi", 0.5, "--nbest", 0], "--nbest is 0; wanted at least 1."),
        (["--mmi", "nan"], "--mmi is nan; wanted a number."),
        (["--sample", "--temperature", "inf"], "temperature is inf, wanted 1e-06 to"),
        (["--sample", "--temperature", "1e-39"], "temperature is 1e-39, wanted 1e-06 to"),
        (["--sample", "--length-penalty", "nan"], "--length-penalty is nan; wanted 0 to 10."),
        (["--max-length", 3_000_000_000], "--max-length is 3000000000; wanted at most 1,000,000."),
    ],
)
def test_what_cannot_be_searched(fails, options, message):
    assert message in fails("generate", "no model is read", *options)


def test_several_phrases(run, trained):
    words = ("generate", trained, "--beam", 4, "--min-length", 6)
    ran = run(*words, "--require", "ab", "--require", "cd", "--ban", "ff", "--ban", "ee", stdin=b"abc\nfed\n")
    outputs = ran.out.splitlines()
    assert ran.code == 0 and len(outputs) == 2
    assert all("ab" in text and "cd" in text and "ff" not in text and "ee" not in text for text in outputs)


def test_attention_that_memory_cannot_hold(fails, trained):
    line = b"abcdef" * 3000 + b"\n"
    assert "line 2: its attention could be" in fails("generate", trained, "--json", stdin=b"abc\n" + line)
    assert "--ensemble-mean is for several models" in fails("generate", trained, "--ensemble-mean", "log-probabilities")


def test_bad_input_says_where(run, fails, trained, tmp_path):
    assert "cannot both be standard input" in fails("generate", trained, "--prefix", "-", stdin=b"abc\n")
    before = run("generate", trained, stdin=b"abc\n").out
    message = fails("generate", trained, stdin=b"abc\n\xff\n", out=before)
    assert message.startswith("standard input:2: not UTF-8") and "--skip-bad" not in message
    assert fails("generate", trained, stdin=b"abc\0\n").startswith("standard input:1: NUL")
    assert fails("generate", trained, "nothing.txt").startswith("nothing.txt: no such file")
    (tmp_path / "empty").touch()
    assert run("generate", trained, "empty") == run("generate", trained) == (0, "", "")
    assert "this is a folder" in fails("generate", trained, tmp_path)


def test_what_is_no_model(fails, trained, tmp_path):
    assert "no such file; give a model.npz" in fails("generate", "nowhere")
    assert "folder of a run" in fails("generate", tmp_path)
    assert "not a whole .npz" in fails("generate", trained.parent / "pairs.tsv")
    checkpoint = max(trained.glob("checkpoints/*.npz"))
    assert "a checkpoint of a run, not a model" in fails("generate", checkpoint)
    content = bytearray((trained / "model.npz").read_bytes())
    with zipfile.ZipFile(trained / "model.npz") as members:
        largest = max(members.infolist(), key=lambda info: info.file_size)
    content[largest.header_offset + largest.file_size // 2 + 100] ^= 1  # of an array, not of a time stamp
    (tmp_path / "bent.npz").write_bytes(content)
    assert "bent.npz" in fails("generate", "bent.npz")
    (tmp_path / "cut.npz").write_bytes(content[:-50])
    assert "cut.npz" in fails("generate", "cut.npz")


def test_a_reader_that_has_seen_enough(trained: Path, tmp_path: Path):
    """`generate | head -1`: far more lines than a pipe holds, all of them empty, so that nothing is compiled."""
    (tmp_path / "blank.txt").write_bytes(b"\n" * 100_000)
    command = [sys.executable, "-m", "seq2seq.app.cli", "generate", str(trained), "blank.txt"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("command", [["--version"], ["inspect"], ["generate", "--help"]])
def test_what_cannot_be_written_is_told_once(trained: Path, command: list[str]):
    """Few bytes stay in Python's buffer until the end, where it would complain in its own words, with code 120."""
    words = [sys.executable, "-m", "seq2seq.app.cli", *command, *([str(trained)] if command == ["inspect"] else [])]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, env=environment, timeout=100)
    os.close(write)
    assert (ran.returncode, ran.stderr) == (0, b"")
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=100)
    assert (ran.returncode, ran.stderr) == (2, b"error: input or output: No space left on device.\n")
    with open("/dev/full", "wb") as full:
        assert subprocess.run(words, stdout=full, stderr=full, env=environment, timeout=100).returncode == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_is_closed_leads_nowhere(trained: Path, closed: str):
    command = f"{sys.executable} -m seq2seq.app.cli"
    for words, code in ((f"inspect {trained}", 0), (f"generate {trained} -", 0), ("nothing", 2)):
        ran = subprocess.run(f"{command} {words} {closed}", shell=True, input=b"", capture_output=True, timeout=100)
        assert ran.returncode == code and b"Traceback" not in ran.stderr and b"Error" not in ran.stderr
        assert bool(ran.stdout) == (words.startswith("inspect") and closed != ">&-")


def test_a_name_that_is_no_utf_8_is_told():
    command = [sys.executable, "-m", "seq2seq.app.cli", "generate", b"m\xff"]
    ran = subprocess.run(command, capture_output=True, timeout=100)
    assert ran.returncode == 2 and ran.stderr.startswith(b"error: m\\udcff: no such file")


def test_output_is_utf_8_whatever_the_system(trained: Path):
    """A line of one ideographic space, so that nothing is compiled; and a dash is standard input."""
    command = [sys.executable, "-m", "seq2seq.app.cli", "generate", str(trained), "-", "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, input="\u3000".encode(), env=environment, capture_output=True, timeout=100)
    assert ran.returncode == 0 and json.loads(ran.stdout.decode("utf-8"))["input"] == "\u3000"
    assert b"\\u3000" not in ran.stdout


def test_an_over_long_line_is_one_line_of_error(run, fails, trained):
    before = run("generate", trained, stdin=b"abc\n").out
    message = fails("generate", trained, stdin=b"abc\n" + b"a" * 100_000 + b"\n", out=before)
    assert message.startswith("standard input:2: ")


def test_one_text_is_not_a_list_of_letters(trained):
    with pytest.raises(seq2seq.errors.DataError, match="list of texts"):
        seq2seq.load(trained).generate("abc")
