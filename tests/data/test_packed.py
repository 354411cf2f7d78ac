"""Packed files and Parquet hold the same pairs as plain ones; what is cut off or strange is one line of error."""

from __future__ import annotations

import gzip
import json

import pytest

from seq2seq.data import Pair, PairFiles, read_pairs
from seq2seq.errors import DataError

zstd = pytest.importorskip("backports.zstd")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PAIRS = [Pair(f"grün {n}", f"green {n}") for n in range(3000)]
PACK = {".gz": gzip.compress, ".zst": zstd.compress}


def lines(suffix: str) -> bytes:
    if suffix == "jsonl":
        return "".join(json.dumps(pair._asdict()) + "\n" for pair in PAIRS).encode()
    return "".join(f"{pair.source}\t{pair.target}\n" for pair in PAIRS).encode()


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_a_packed_file_is_the_file(tmp_path, suffix, packing):
    path = tmp_path / f"pairs.{suffix}{packing}"
    path.write_bytes(PACK[packing](lines(suffix)))
    assert read_pairs(PairFiles((str(path),))).pairs == PAIRS
    unnamed = tmp_path / f"unnamed.{suffix}"  # by its content, not by its name
    path.rename(unnamed)
    assert read_pairs(PairFiles((str(unnamed),))).pairs == PAIRS


@pytest.mark.parametrize("packing", PACK)
def test_several_members_follow_each_other_and_a_cut_says_where(tmp_path, packing):
    half = len(lines("tsv")) // 2
    whole = PACK[packing](lines("tsv")[:half]) + PACK[packing](lines("tsv")[half:])
    path = tmp_path / f"pairs.tsv{packing}"
    path.write_bytes(whole)
    assert read_pairs(PairFiles((str(path),))).pairs == PAIRS
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"pairs\.tsv\.\w+:\d+: not a whole packed file"):
        read_pairs(PairFiles((str(path),)))


def table(**columns):
    return pyarrow.table(columns)


def test_parquet_holds_the_same_pairs(tmp_path):
    path = tmp_path / "pairs.parquet"
    columns = {"target": [p.target for p in PAIRS], "n": [1] * len(PAIRS), "source": [p.source for p in PAIRS]}
    parquet.write_table(table(**columns, document=["d"] * len(PAIRS)), path, row_group_size=700)
    found = read_pairs(PairFiles((str(path),)))
    assert found.pairs == [pair._replace(document="d") for pair in PAIRS] and found.format == "parquet"


def test_what_is_wrong_in_parquet_is_said(tmp_path):
    path = tmp_path / "pairs.parquet"
    parquet.write_table(table(source=["a", "b", " c"], target=["x", None, "z"]), path)
    with pytest.raises(DataError, match=r"pairs\.parquet:2: missing or not text: target is None"):
        read_pairs(PairFiles((str(path),)))
    found = read_pairs(PairFiles((str(path),), skip_bad=True))
    assert found.pairs == [Pair("a", "x"), Pair("c", "z")] and found.skipped == {"missing or not text": 1}
    texts = pyarrow.array([b"a", b"\xff", b"c"]).view(pyarrow.string())
    parquet.write_table(
        pyarrow.table({"source": texts, "target": ["x", "y", "z"], "document": ["d", "d", "e\0f"]}), path
    )
    found = read_pairs(PairFiles((str(path),), skip_bad=True))
    assert found.pairs == [Pair("a", "x", "d")] and found.skipped == {"not UTF-8": 1, "NUL character": 1}
    parquet.write_table(table(source=["a"], targt=["x"]), path)
    with pytest.raises(DataError, match="has no column target; did you mean targt"):
        read_pairs(PairFiles((str(path),)))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_pairs(PairFiles((str(path),)))
