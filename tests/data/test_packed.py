"""Packed files and Parquet hold the same pairs as plain ones; what is cut off or strange is one line of error."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc

import pytest

from seq2seq.app.meter import count_lines
from seq2seq.data import Ledger, Pair, PairFiles, iterate_rows, read_pairs
from seq2seq.data.lines import over_long
from seq2seq.data.parquet import parquet_rows
from seq2seq.errors import ConfigError, DataError

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


@pytest.mark.parametrize(
    ("packed", "name"),
    [
        (bz2.compress(b"a\tb\n"), "bzip2"),
        (lzma.compress(b"a\tb\n"), "xz"),
        (b"PK\x03\x04\x14\x00", "zip"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "7-Zip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_packed_in_another_way_is_told(tmp_path, packed, name):
    (tmp_path / "a.tsv").write_bytes(packed)
    with pytest.raises(ConfigError, match=rf"a\.tsv is packed \({name}.*unpack it"):
        read_pairs(PairFiles((tmp_path / "a.tsv",)))
    (tmp_path / "b.tsv").write_bytes(b"BZh9 and PK\tare words\n")
    assert read_pairs(PairFiles((tmp_path / "b.tsv",))).pairs == [Pair("BZh9 and PK", "are words")]


@pytest.mark.parametrize("kind", [0x50, 0x5F])
def test_a_zstd_file_that_begins_with_what_is_to_be_skipped(tmp_path, kind):
    path = tmp_path / "pairs.tsv"
    frame = bytes([kind]) + b"\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"what"
    path.write_bytes(frame + zstd.compress(lines("tsv")))
    assert read_pairs(PairFiles((str(path),))).pairs == PAIRS
    assert count_lines([str(path)]) is None  # its line ends are not those of lines


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
    rows = iterate_rows(PairFiles((str(path),)), Ledger(skip_bad=True))
    assert list(rows) == [Pair("a", "x"), None, Pair("c", "z")]
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


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_small_parquet_of_much_text_takes_little_memory(tmp_path, dictionary):
    path = tmp_path / "pairs.parquet"
    wide = pyarrow.array(["x" * 60_000]).dictionary_encode().take(pyarrow.array([0] * 8192)).cast(pyarrow.string())
    parquet.write_table(table(source=wide, target=["y"] * 8192), path, compression="zstd", use_dictionary=dictionary)
    del wide
    assert path.stat().st_size < 100_000
    before = pyarrow.total_allocated_bytes()
    for max_line in (20_000, 14_000):  # these may be letters of 3 bytes, and must be decoded to be told; those not
        tracemalloc.start()
        sizes = [pyarrow.total_allocated_bytes() for _ in parquet_rows(path, max_line)]
        assert len(sizes) == 8192 and max(sizes) - before < 1e8  # of 5e8
        assert tracemalloc.get_traced_memory()[1] < (4e7 if max_line == 20_000 else 1e6)
        tracemalloc.stop()
    assert str(next(parquet_rows(path, 14_000))[1]) == str(over_long("more than 14000", 14_000))


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", None])
def test_long_texts_are_left_out_and_the_others_decoded_some_at_a_time(tmp_path, monkeypatch, encoding):
    options = {"column_encoding": encoding, "use_dictionary": False} if encoding else {}
    monkeypatch.setattr("seq2seq.data.parquet._BYTES", 1000)
    path = tmp_path / "pairs.parquet"
    rows = [Pair("é" * (n % 30 + 1), "x" * (n % 7 + 1), "d" * (n % 3)) for n in range(3000)]
    columns = {name: [row[place] or None for row in rows] for place, name in enumerate(Pair._fields)}
    parquet.write_table(table(**columns), path, **options)
    found = read_pairs(PairFiles((str(path),), skip_bad=True, max_line=20))
    assert found.pairs == [row for row in rows if len(row.source) <= 20]
    assert found.skipped == {"over-long line": 1000}


def test_columns_that_hold_no_texts_are_told_before_a_row_is_read(tmp_path):
    path = tmp_path / "pairs.parquet"
    late = pyarrow.array([2**62], pyarrow.timestamp("us"))  # a year that Python has not
    for columns, told in (
        ({"source": ["a"], "target": ["x"], "document": late}, r"column document is of type timestamp\[us\]"),
        ({"source": [b"a"], "target": ["x"]}, "column source is of type binary; write it as strings"),
        ({"source": ["a"], "target": [["x"]]}, "column target is of type list"),
    ):
        parquet.write_table(table(**columns), path)
        with pytest.raises(DataError, match=rf"pairs\.parquet: {told}"):
            read_pairs(PairFiles((str(path),), skip_bad=True))
    twice = pyarrow.table([["a"], ["x"], ["b"]], names=["source", "target", "source"])
    parquet.write_table(twice, path)
    with pytest.raises(DataError, match="has 2 columns source"):
        read_pairs(PairFiles((str(path),)))
    category = pyarrow.array(["a", "b"]).dictionary_encode()
    parquet.write_table(table(source=category, target=["x", "y"], document=[None, None]), path)
    assert read_pairs(PairFiles((str(path),))).pairs == [Pair("a", "x"), Pair("b", "y")]


def test_a_parquet_of_one_enormous_text_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "pairs.parquet"
    monkeypatch.setattr("seq2seq.data.parquet._LARGE", 100_000)
    parquet.write_table(table(source=["x" * 200_000], target=["y"]), path, compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match=r"row group 0 has 200,\d\d\d bytes of source in 1 rows"):
        read_pairs(PairFiles((str(path),), skip_bad=True))
