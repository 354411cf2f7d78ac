"""Corpora that memory does not hold: spooled pairs are the pairs, and a build that was cut off goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import Batches, Corpus, Dataset, Pair, PairFiles, Tokenizer, distinct, hold_out, read_pairs
from seq2seq.data.buckets import make_buckets
from seq2seq.data.columns import NAMES
from seq2seq.data.encoding import Encoder
from seq2seq.data.spool import Spooled, Texts, select
from seq2seq.errors import DataError

LETTERS = Tokenizer.train("character", ["abcdefghij"])
PAIRS = [Pair("abcdefghij"[n % 10] * (n % 13 + 1), "ba" * (n % 5), "") for n in range(200)]
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)


@given(st.lists(st.builds(Pair, texts, texts, texts), max_size=30), st.integers(1, 40))
def test_spooled_pairs_are_the_pairs(tmp_path_factory, pairs, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seq2seq.data.spool._BLOCK", block)
        patch.setattr("seq2seq.data.spool._ROWS", 1 + block % 7)
        spool = Spooled.write(pairs, tmp_path_factory.mktemp("spool") / "data" / "pairs")
        assert len(spool) == len(pairs)
        assert list(spool) == pairs == list(spool)
        assert list(Texts(spool, 0, 1)) == [p.source for p in pairs] + [p.target for p in pairs]


def test_more_than_memory_is_to_hold_is_spooled(tmp_path, monkeypatch):
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\tt{n}\n" for n in range(500)))
    files = PairFiles((str(tmp_path / "pairs.tsv"),))
    held = read_pairs(files, tmp_path / "data" / "pairs")
    assert isinstance(held.pairs, list) and not (tmp_path / "data").exists()
    monkeypatch.setattr("seq2seq.data.spool.MOST_CHARACTERS", 100)
    assert isinstance(read_pairs(files).pairs, list)  # nowhere to put them
    spooled = read_pairs(files, tmp_path / "data" / "pairs")
    assert isinstance(spooled.pairs, Spooled) and list(spooled.pairs) == held.pairs

    def refused(*_):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr("seq2seq.data.corpus.iterate_pairs", refused)
        again = read_pairs(files, tmp_path / "data" / "pairs")
        assert list(again.pairs) == held.pairs and again.notes == held.notes and again.format == held.format
    (tmp_path / "pairs.tsv").write_text("other\tone\n" * 200)
    assert set(read_pairs(files, tmp_path / "data" / "pairs").pairs) == {Pair("other", "one")}


@pytest.mark.parametrize("documents", [True, False])
@pytest.mark.parametrize("kind", ["tsv", "next sentence"])
def test_what_is_held_out_is_the_same_of_a_list_and_of_a_file(tmp_path, documents, kind):
    pairs = [Pair(f"{n % 270}", f"{n % 270 + 1}", f"d{n // 20}" * documents) for n in range(300)]
    spool = Spooled.write(pairs, tmp_path / "pairs")
    ours, theirs = (hold_out(Corpus(each, format=kind), seed=3) for each in (pairs, spool))
    assert ours.dev == theirs.dev and ours.notes == theirs.notes
    assert list(ours.train) == list(theirs.train) and len(ours.train) == len(theirs.train)


def test_the_held_out_sources_are_any_tenth():
    held = [{pair.source for pair in hold_out(Corpus(PAIRS[:130]), seed=seed).dev} for seed in range(40)]
    assert {len(sources) for sources in held} == {13}
    counts = np.array([sum(source in sources for sources in held) for source in {pair.source for pair in PAIRS[:130]}])
    assert counts.max() < 15 and (counts > 0).mean() > 0.9  # of 4 on average


def test_distinct_pairs_of_a_file(tmp_path):
    pairs = [*PAIRS, *PAIRS[:50], Pair("new", "one")]
    found = distinct(Spooled.write(pairs, tmp_path / "pairs"))
    assert list(found) == list(dict.fromkeys(pairs)) == list(distinct(pairs))
    assert len(found) == len(set(pairs))


def test_distinct_pairs_take_16_bytes_of_memory_each(monkeypatch):
    class Made:
        def __len__(self):
            return 100_000

        def __iter__(self):
            return (Pair(str(n % 70_000), "") for n in range(len(self)))

    monkeypatch.setattr("seq2seq.data.dataset._ROWS", 1000)
    tracemalloc.start()
    found = distinct(Made())
    assert tracemalloc.get_traced_memory()[1] < 16 * len(Made())
    tracemalloc.stop()
    assert len(found) == 70_000 and next(iter(found)) == Pair("0", "")


def test_selected_pairs_are_counted_once_and_chosen_anew(tmp_path):
    found = select(Spooled.write(PAIRS, tmp_path / "pairs"), lambda number, pair: number % 2 == 0)
    assert list(found) == PAIRS[::2] == list(found) and len(found) == 100


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(tmp_path, monkeypatch, workers):
    monkeypatch.setattr("seq2seq.data.encoding.CHUNK", 7)
    limits = {"max_length": 9, "max_ratio": 5.0}
    data = Dataset.build(PAIRS, LETTERS, LETTERS, **limits, folder=tmp_path, workers=workers)
    plain = Dataset.build(PAIRS, LETTERS, LETTERS, **limits)
    assert data.fingerprint == plain.fingerprint and data.dropped == plain.dropped > 0


def test_workers_end_with_a_command_that_is_killed(tmp_path):
    script = """
import sys, time
from seq2seq.data import Dataset, Tokenizer
letters = Tokenizer.train("character", ["ab"])
def pairs():
    for n in range(10**9):
        if n == 40_000:
            print("begun", flush=True)
        yield ("ab", "b")
if __name__ == "__main__":
    Dataset.build(pairs(), letters, letters, folder=sys.argv[1], workers=2)
"""
    (tmp_path / "build.py").write_text(script)
    command = [sys.executable, str(tmp_path / "build.py"), str(tmp_path / "data")]
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}) as build:
        assert build.stdout and build.stdout.readline() == "begun\n"
        workers = [
            int(child)
            for task in Path(f"/proc/{build.pid}/task").glob("*/children")
            for child in task.read_text("ascii").split()
        ]
        build.kill()
    assert len(workers) >= 2
    for _ in range(300):
        if not any(_lives(worker) for worker in workers):
            return
        time.sleep(0.1)
    pytest.fail("workers outlive the command")


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_disk_that_is_full_is_said_with_the_file(tmp_path):
    with pytest.raises(DataError, match=r"full: cannot be written \(No space left on device\)"):
        Spooled.write([Pair("a" * 9000, "b")] * 9, _full(tmp_path / "full"))


def _full(path: Path) -> Path:
    path.symlink_to("/dev/full")
    return path


def counting(chunks):
    """An encoder that appends the size of each chunk to a list."""
    encode = Encoder.__call__

    def counted(self, sources, targets):
        chunks.append(len(sources))
        return encode(self, sources, targets)

    return counted


def interrupted(pairs):
    yield from pairs
    raise KeyboardInterrupt


@given(st.integers(0, 40), st.integers(0, 300))
def test_a_build_that_was_cut_off_goes_on(tmp_path_factory, chunks, junk):
    folder = tmp_path_factory.mktemp("built")
    wanted = Dataset.build(PAIRS, LETTERS, LETTERS, max_length=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seq2seq.data.encoding.CHUNK", 5)
        patch.setattr("seq2seq.data.columns._NOTED", 3)

        with pytest.raises(KeyboardInterrupt):
            Dataset.build(interrupted(PAIRS[: 5 * chunks]), LETTERS, LETTERS, max_length=9, folder=folder, of="these")
        for name in NAMES:  # written behind what was noted, or cut off in the middle of a number
            with (folder / f"{name}.npy").open("ab") as file:
                file.write(b"x" * junk)
        chunks_made: list[int] = []
        patch.setattr("seq2seq.data.encoding.Encoder.__call__", counting(chunks_made))
        again = Dataset.build(PAIRS, LETTERS, LETTERS, max_length=9, folder=folder, of="these")
        assert again.fingerprint == wanted.fingerprint and again.dropped == wanted.dropped
        assert len(chunks_made) == 40 - chunks // 3 * 3  # what was noted is not tokenised again
        done = Dataset.build([], LETTERS, LETTERS, max_length=9, folder=folder, of="these")  # it is there
        assert done.fingerprint == wanted.fingerprint and done.dropped == wanted.dropped
        other = Dataset.build(PAIRS[:3], LETTERS, LETTERS, max_length=9, folder=folder, of="others")
        assert len(other) == 3


def test_a_build_never_takes_the_files_of_another(tmp_path, monkeypatch):
    """A whole build, another in its place that is killed before its first note, and the first again."""
    monkeypatch.setattr("seq2seq.data.encoding.CHUNK", 5)
    wanted = Dataset.build(PAIRS[:50], LETTERS, LETTERS, folder=tmp_path, of="these").fingerprint
    with pytest.raises(KeyboardInterrupt):
        Dataset.build(interrupted(PAIRS[50:125]), LETTERS, LETTERS, folder=tmp_path, of="others")
    assert Dataset.build(PAIRS[:50], LETTERS, LETTERS, folder=tmp_path, of="these").fingerprint == wanted


def test_a_spool_that_was_cut_off_is_no_spool(tmp_path, monkeypatch):
    """The same files, read one way, then another way but killed, and the first way again."""
    monkeypatch.setattr("seq2seq.data.spool.MOST_CHARACTERS", 100)
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\tt{n}\n" for n in range(500)))
    files, spool = PairFiles((str(tmp_path / "pairs.tsv"),)), tmp_path / "data" / "pairs"
    wanted = list(read_pairs(files, spool).pairs)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("seq2seq.data.corpus.iterate_pairs", lambda *_: interrupted(PAIRS))
        read_pairs(replace(files, skip_bad=True), spool)
    assert list(read_pairs(files, spool).pairs) == wanted
    spool.write_bytes(spool.read_bytes()[:-5])  # the system went down before all of it was on disk
    assert list(read_pairs(files, spool).pairs) == wanted


def test_files_that_change_while_they_are_read_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.data.spool.MOST_CHARACTERS", 100)
    path, spool = tmp_path / "pairs.tsv", tmp_path / "data" / "pairs"
    path.write_text("".join(f"{n}\tt{n}\n" for n in range(50)))
    files = PairFiles((str(path),))

    def changed(pairs):
        yield from pairs
        path.write_text("a\tb\n" * 60)

    assert len(read_pairs(files, spool, changed).pairs) == 50
    assert len(read_pairs(files, spool).pairs) == 60


def test_a_note_that_is_no_note_begins_anew(tmp_path):
    Dataset.build(PAIRS, LETTERS, LETTERS, folder=tmp_path, of="these")
    note = tmp_path / "tokenised.json"
    for text in ("", "{", "[]", json.dumps({"key": "?"}), json.dumps(json.loads(note.read_text()) | {"lengths": [1]})):
        note.write_text(text)
        data = Dataset.build(PAIRS[:9], LETTERS, LETTERS, folder=tmp_path, of="these")
        assert len(data) == 9
    with pytest.raises(DataError, match="no pair"):
        Dataset.build([], LETTERS, LETTERS, folder=tmp_path)


def test_lengths_of_files_are_a_file(tmp_path):
    built = Dataset.build(PAIRS, LETTERS, LETTERS, folder=tmp_path)
    assert isinstance(built.lengths, np.memmap) and built.lengths.tolist() == [
        [len(pair.source) + 1, len(pair.target) + 1] for pair in PAIRS
    ]
    assert built.histogram(0).tolist() == np.bincount([len(pair.source) + 1 for pair in PAIRS]).tolist()
    whole = Dataset.build(PAIRS, LETTERS, LETTERS)
    for one, two in zip(*(Batches(data, tokens=100, seed=1).epoch(3) for data in (built, whole)), strict=True):
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(one, two, strict=True))


def test_a_look_at_some_pairs_gives_shapes_that_hold_all(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = rng.geometric(0.1, (5000, 2)).astype(np.int32)
    exact = make_buckets(lengths, 500, 5, 500.0)
    monkeypatch.setattr("seq2seq.data.buckets._LOOKED_AT", 500)
    found = make_buckets(lengths, 500, 5, 500.0)
    assert sorted(np.concatenate([bucket.rows for bucket in found]).tolist()) == list(range(5000))
    for bucket in found:
        assert (lengths[bucket.rows] <= bucket.shape[:2]).all()

    def padded(buckets):
        return sum(
            bucket.batches * bucket.shape.batch * (bucket.shape.source + bucket.shape.target) for bucket in buckets
        )

    assert padded(found) < 1.15 * padded(exact)
