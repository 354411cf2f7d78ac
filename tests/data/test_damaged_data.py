"""Files of a large corpus that are no longer what was written are made again; none is trained on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data import Dataset, Pair, PairFiles, Tokenizer, read_pairs
from seq2seq.data.columns import NAMES

LETTERS = Tokenizer.train("character", ["abcdefghij"])
PAIRS = [Pair("abcdefghij"[n % 10] * (n % 13 + 1), "ba" * (n % 5), "") for n in range(40)]


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)


def built(folder: Path, pairs=PAIRS) -> Dataset:
    return Dataset.build(pairs, LETTERS, LETTERS, folder=folder, of="these")


def killed(folder: Path) -> None:
    """A build that ends after some of its pairs."""

    def pairs():
        yield from PAIRS[:25]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(folder, pairs())


@pytest.fixture
def in_small_chunks(monkeypatch):
    monkeypatch.setattr("seq2seq.data.encoding.CHUNK", 5)
    monkeypatch.setattr("seq2seq.data.columns._NOTED", 1)


places = st.integers(0, 3000)


@given(st.sampled_from(NAMES), places, st.integers(0, 7))
def test_a_changed_byte_of_tokenised_pairs_is_found(tmp_path_factory, name, place, bit):
    folder = tmp_path_factory.mktemp("built")
    wanted = built(folder).fingerprint
    path = folder / f"{name}.npy"
    content = path.read_bytes()
    flip(path, place, bit)
    again = built(folder)
    assert again.fingerprint == wanted and again.damaged == path and path.read_bytes() == content
    assert not built(folder).damaged


@pytest.mark.usefixtures("in_small_chunks")
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_of_half_a_build_is_found(tmp_path, name):
    killed(tmp_path)
    whole = built(tmp_path)  # goes on, and its hashes are those of one go
    assert not whole.damaged and not built(tmp_path).damaged
    killed(tmp_path / "other")
    flip(tmp_path / "other" / f"{name}.npy", 130)
    again = built(tmp_path / "other")
    assert again.damaged == tmp_path / "other" / f"{name}.npy" and again.fingerprint == whole.fingerprint


def test_a_note_whose_numbers_do_not_agree_begins_anew(tmp_path):
    wanted = built(tmp_path).fingerprint
    note = tmp_path / "tokenised.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"dropped": 7}))
    again = built(tmp_path)
    assert (again.dropped, again.fingerprint) == (0, wanted)


@pytest.fixture
def spooled(tmp_path, monkeypatch):
    """Read `tmp_path`/pairs.tsv into a file, or find it there."""
    monkeypatch.setattr("seq2seq.data.spool.MOST_CHARACTERS", 100)
    (tmp_path / "pairs.tsv").write_text("".join(f"{n}\tt{n}\n" for n in range(500)))
    return lambda: read_pairs(PairFiles((str(tmp_path / "pairs.tsv"),)), tmp_path / "pairs")


def test_a_changed_byte_of_spooled_pairs_is_found(tmp_path, spooled):
    wanted = list(spooled().pairs)
    flip(tmp_path / "pairs", 3)
    again = spooled()
    assert list(again.pairs) == wanted and again.notes == [
        f"{tmp_path / 'pairs'}: not what was written; the files of pairs were read again"
    ]
    assert not spooled().notes  # it is whole now


def test_pairs_that_were_changed_behind_their_size_and_time_are_read_again(tmp_path, spooled):
    before = list(spooled().pairs)
    path = tmp_path / "pairs.tsv"
    stat = path.stat()
    path.write_text(path.read_text().replace("t499", "x499"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size and path.stat().st_mtime_ns == stat.st_mtime_ns
    assert list(spooled().pairs) == [*before[:-1], Pair("499", "x499")]
