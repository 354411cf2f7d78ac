"""Every tree comes back bit for bit, or there is an error that says which leaf; never a wrong load."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.core import archive
from seq2seq.core.archive import Archive, read, write
from seq2seq.errors import ArchiveError, CorruptArchiveError, LeafError


class Pair(NamedTuple):
    first: object
    second: object


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def leaves(draw):
    shape, seed = draw(SHAPES), draw(st.integers(0, 2**16))
    kind = draw(st.sampled_from(["float32", "bfloat16", "int32", "bool", "key", "numpy int64", "numpy float64"]))
    values = np.random.default_rng(seed).normal(size=shape) * 10.0 ** draw(st.integers(-30, 30))
    if kind == "key":
        size = int(np.prod(shape))
        return jax.random.wrap_key_data(jnp.asarray(np.full((size, 2), seed, np.uint32))).reshape(shape)
    if kind.startswith("numpy"):
        return np.asarray(np.clip(values, -1e9, 1e9)).astype(kind.split()[1])
    if kind in ("int32", "bool"):
        return jnp.asarray(np.asarray(values * 0 + seed % 3).astype(kind))
    return jnp.asarray(values.astype(np.float32)).astype(kind)


KEYS = st.text("abcz_é0 .-", min_size=1, max_size=5)
TREES = st.recursive(
    leaves(),
    lambda below: (
        st.dictionaries(KEYS, below, max_size=3)
        | st.lists(below, max_size=3)
        | st.tuples(below, st.none())
        | st.builds(Pair, below, below)
    ),
    max_leaves=6,
).map(lambda tree: {"tree": tree})


def bits(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()


@given(TREES, st.dictionaries(KEYS, st.text(st.characters(codec="utf-8"), max_size=20), max_size=3))
def test_any_tree_comes_back_bit_for_bit(tmp_path, tree, texts):
    path = tmp_path / "tree.npz"
    write(path, Archive.of(tree, {"note": ["é", 1.5, None]}, texts))
    found = read(path)
    assert found.header["note"] == ["é", 1.5, None] and found.texts == texts
    for like in (tree, jax.eval_shape(lambda: tree)) if not _has_numpy(tree) else (tree,):
        back = found.into(like)
        assert jax.tree.structure(back) == jax.tree.structure(tree)
        for new, old in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
            assert bits(new) == bits(old) and isinstance(new, jax.Array) == isinstance(old, jax.Array)


def _has_numpy(tree) -> bool:
    return any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree))


TREE = {
    "encoder": {"w": jnp.arange(6.0).reshape(2, 3), "half": jnp.arange(3.0).astype(jnp.bfloat16)},
    "key": jax.random.key(3),
    "count": jnp.array(7),
}


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "tree.npz", Archive.of(TREE, {"kind": "test"}, {"words": "grün"}))
    return tmp_path / "tree.npz"


def test_same_content_gives_same_bytes(path, tmp_path):
    write(tmp_path / "again.npz", Archive.of(TREE, {"kind": "test"}, {"words": "grün"}))
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as file:  # whose clock has ticks of two seconds
        assert {one.date_time for one in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_numpy_alone_can_read_it(path):
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["encoder/w"], TREE["encoder"]["w"])
        header = json.loads(bytes(file["header"]))
        assert bytes(file["text/words"]).decode() == "grün"
        assert file["encoder/half"].dtype == np.uint16 and header["leaves"]["encoder/half"]["dtype"] == "bfloat16"
    assert header["format"] == 1 and header["kind"] == "test" and header["leaves"]["encoder/w"]["shape"] == [2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: {**tree, "bias": jnp.ones(2)}, r"leaf bias is missing from the archive \(1 missing"),
        (lambda tree: {"key": tree["key"]}, r"leaf count of the archive has no place here \(3 extra"),
        (lambda tree: {**tree, "count": jnp.ones(2, jnp.int32)}, r"leaf count is int32\[\] .* wanted int32\[2\]"),
        (lambda tree: {**tree, "count": jnp.array(7.0)}, r"leaf count is int32\[\] .* wanted float32\[\]"),
        (lambda tree: {**tree, "key": jax.random.split(tree["key"])}, r"leaf key is uint32\[2\] .* uint32\[2, 2\]"),
        (lambda tree: {**tree, "count": tree["key"], "key": tree["count"]}, r"leaf count is int32\[\]"),
    ],
)
def test_a_leaf_that_does_not_fit_is_named(path, change, message):
    with pytest.raises(LeafError, match=message):
        read(path).into(change(TREE))


def same(found: Archive) -> bool:
    wanted = Archive.of(TREE)
    return {name: bits(array) for name, array in found.arrays.items()} == {
        name: bits(array) for name, array in wanted.arrays.items()
    } and (found.header["kind"], found.texts) == ("test", {"words": "grün"})


def check_loads_right_or_says_corrupt(path, data: bytes) -> bool:
    """Whether the damage was noticed. (A flipped bit in a time stamp need not be.)"""
    path.write_bytes(data)
    try:
        assert same(read(path))
        return False
    except ArchiveError as error:
        assert str(path) in str(error)
        return True


def test_a_flipped_byte_anywhere_never_gives_a_wrong_load(path, tmp_path):
    whole = path.read_bytes()
    noticed = [
        check_loads_right_or_says_corrupt(
            tmp_path / "bad.npz", whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
        )
        for at in range(0, len(whole), 2)
        for flip in ((0xFF,) if at % 3 else (0x01,))
    ]
    assert sum(noticed) > len(noticed) / 2


def test_a_file_cut_anywhere_is_corrupt(path, tmp_path):
    whole = path.read_bytes()
    for end in [*range(0, len(whole), 17), len(whole) - 1]:
        (tmp_path / "cut.npz").write_bytes(whole[:end])
        with pytest.raises(CorruptArchiveError, match=r"cut\.npz: not a whole"):
            read(tmp_path / "cut.npz")


def members(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def save(path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)


def npy(array: np.ndarray, pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=pickle)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder/w.npy": npy(np.zeros((2, 3), np.float32))}, "leaf encoder/w does not match its checksum"),
        ({"encoder/w.npy": npy(np.arange(6, dtype=np.float32))}, "leaf encoder/w has not the dtype and shape"),
        ({"count.npy": npy(np.array(7, np.uint32))}, "leaf count has not the dtype and shape"),
        ({"count.npy": None}, "leaf count is missing"),
        ({"text/words.npy": npy(np.frombuffer(b"gruen", np.uint8))}, "text words is missing or does not match"),
        ({"stray.npy": npy(np.ones(1))}, "member stray is not in the header"),
        ({"checksum.npy": npy(np.frombuffer(b"0" * 64, np.uint8))}, "the header does not match its checksum"),
        ({"encoder/w.npy": npy(np.array([{}], object), pickle=True)}, "is object in an order or a"),
        ({"encoder/w.npy": npy(np.zeros((2, 3), np.float32)).replace(b"(2,", b"(9" + b"9" * 9 + b",")}, "not what it"),
        ({"encoder/w.npy": npy(np.zeros((2, 3), np.float32)).replace(b"False", b"True ")}, "that seq2seq never writes"),
        ({"encoder/w.npy": npy(np.zeros((2, 3), np.float32)).replace(b"}", b"{")}, "is no .npy"),
        ({"encoder/w.npy": b"no array"}, "not a whole"),
    ],
)
def test_a_changed_member_is_named(path, change, message):
    save(path, {name: data for name, data in {**members(path), **change}.items() if data is not None})
    with pytest.raises(CorruptArchiveError, match=message):
        read(path)


def header_of(path) -> dict:
    with np.load(path) as file:
        return json.loads(bytes(file["header"]))


def sign(path, header: bytes) -> None:
    """Another header, with the checksum that belongs to it."""
    checksum = hashlib.sha256(header).hexdigest().encode()
    own = {"header.npy": npy(np.frombuffer(header, np.uint8)), "checksum.npy": npy(np.frombuffer(checksum, np.uint8))}
    save(path, {**members(path), **own})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\xff", "utf-8"),
        (b"", "Expecting value"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": 1, "note": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deeply"),
        (b'{"format": 1, "note": "\\ud800"}', "surrogates not allowed"),
        (b" " * 2**22 + b"{}", "4,194,304 are the most"),
        (b"[]", "it is no dict"),
        (b"{}", "format is missing"),
        (b'{"format": "9"}', "format is no int"),
        (b'{"format": true}', "format is no int"),
        (b'{"format": 1}', "leaves is missing"),
        (b'{"format": 1, "leaves": {}}', "texts is missing"),
        (b'{"format": 1, "leaves": [], "texts": {}}', "leaves is no dict"),
        (
            b'{"format": 1, "leaves": {"count": {"dtype": "int32", "shape": []}}, "texts": {}}',
            "count/sha256 is missing",
        ),
        (b'{"format": 1, "leaves": {"count": 3}, "texts": {}}', "leaves/count is no dict"),
        (b'{"format": 1, "leaves": {}, "texts": {"words": null}}', "texts/words is no str"),
    ],
    ids=lambda text: str(text[:40]),
)
def test_a_header_that_is_signed_but_makes_no_sense_is_corrupt(path, header, message):
    sign(path, header)
    with pytest.raises(CorruptArchiveError, match=rf"tree\.npz: the header is none that seq2seq writes \(.*{message}"):
        read(path)


@pytest.mark.parametrize("name", ["dtype", "shape", "sha256"])
@pytest.mark.parametrize("value", [None, 3, "x", [], ["x"], [1.5], {}, [3, 2]])
def test_whatever_a_header_says_of_a_leaf_it_is_corrupt(path, name, value):
    header = header_of(path)
    header["leaves"]["encoder/w"][name] = value
    sign(path, json.dumps(header).encode())
    with pytest.raises(CorruptArchiveError, match=r"tree\.npz"):
        read(path)


@pytest.mark.parametrize(
    ("array", "said", "shape"),
    [
        (np.float32(1), "bfloat16", []),
        (np.zeros(3, np.uint8), "bfloat16", [3]),
        (np.zeros((2, 3), np.float32), "bfloat16", [2, 6]),
        (np.array([b"ab"]), "|S2", [1]),
        (np.zeros(2, "datetime64[s]"), "datetime64[s]", [2]),
    ],
)
def test_a_leaf_of_no_number_or_of_another_kind_is_corrupt(path, array, said, shape):
    array, header = np.asarray(array), header_of(path)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    header["leaves"]["encoder/w"] = {"dtype": said, "shape": shape, "sha256": digest}
    save(path, {**members(path), "encoder/w.npy": npy(array)})
    sign(path, json.dumps(header).encode())
    with pytest.raises(CorruptArchiveError, match=r"tree\.npz"):
        read(path)


def test_a_text_that_is_signed_but_is_no_text_is_corrupt(path):
    header = header_of(path)
    header["texts"]["words"] = hashlib.sha256(b"\xff").hexdigest()
    save(path, {**members(path), "text/words.npy": npy(np.frombuffer(b"\xff", np.uint8))})
    sign(path, json.dumps(header).encode())
    with pytest.raises(CorruptArchiveError, match=r"tree\.npz: text words is not UTF-8"):
        read(path)


def test_a_header_too_large_to_be_read_is_not_written(tmp_path):
    with pytest.raises(ArchiveError, match="take too many bytes"):
        write(tmp_path / "x.npz", Archive({}, {"note": "x" * 2**22}))
    assert not list(tmp_path.iterdir())


def test_more_members_than_so_many_bytes_can_hold_are_refused_before_room_is_made_for_them(path):
    save(path, {f"{number}.npy": b"" for number in range(10_000)})
    tracemalloc.start()
    try:
        with pytest.raises(CorruptArchiveError, match=r"tree\.npz: not a whole .*10,000 members in [89].*,... bytes"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 3 * path.stat().st_size
    finally:
        tracemalloc.stop()


def test_as_many_members_as_there_can_be_are_read(path):
    empty = {str(number): np.zeros(0, np.int8) for number in range(2000)}
    write(path, Archive(empty))
    assert len(read(path).arrays) == 2000


def test_reading_takes_the_memory_of_the_arrays_and_no_more(path):
    large = {str(number): np.full(2**18, number, np.float32) for number in range(8)}
    write(path, Archive(large))
    tracemalloc.start()
    try:
        found = read(path)
        assert tracemalloc.get_traced_memory()[1] < 1.3 * path.stat().st_size
    finally:
        tracemalloc.stop()
    assert all((found.arrays[name] == array).all() for name, array in large.items())


def test_a_newer_format_says_so(path, monkeypatch):
    monkeypatch.setattr(archive, "FORMAT", 2)
    write(path, Archive.of(TREE))
    monkeypatch.setattr(archive, "FORMAT", 1)
    for _ in range(2):
        with pytest.raises(ArchiveError, match="has format 2, this version reads up to 1; upgrade seq2seq-jax"):
            read(path)
        sign(path, b'{"format": 2}')  # whatever else stands in it


def test_what_is_no_archive_of_ours_says_so(tmp_path, path):
    np.savez(tmp_path / "other.npz", w=np.ones(2))
    np.save(tmp_path / "single.npy", np.ones(2))
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("hello " * 100)
    with pytest.raises(ArchiveError, match="not one that seq2seq wrote"):
        read(tmp_path / "other.npz")
    for name in ("single.npy", "empty.npz", "text.npz"):
        with pytest.raises(CorruptArchiveError, match=f"{name}: not a whole .npz archive"):
            read(tmp_path / name)
    save(path, members(path), zipfile.ZIP_DEFLATED)
    with pytest.raises(CorruptArchiveError, match="is compressed"):
        read(path)
    for name in ("nowhere.npz", "single.npy/inside.npz", ""):
        with pytest.raises(ArchiveError, match=r"No such file|Not a directory|Is a directory") as raised:
            read(tmp_path / name)
        assert not isinstance(raised.value, CorruptArchiveError)


def test_a_reader_says_what_it_misses(tmp_path):
    write(tmp_path / "x.npz", Archive({}, {"kind": "mine", "provenance": {"by": "me"}}, {"words": "a"}))
    found = read(tmp_path / "x.npz")
    found.expect("x.npz", {"provenance": dict, "kind": str}, ["words"])
    for header, texts, wrong in (
        ({"model": dict}, (), "model is missing"),
        ({"provenance": {"at": str}}, (), "provenance/at is missing"),
        ({"kind": int}, (), "kind is no int"),
        ({}, ["config"], "texts/config is missing"),
    ):
        with pytest.raises(CorruptArchiveError, match=rf"x\.npz: the header is none .*{wrong}"):
            found.expect("x.npz", header, texts)


def test_what_the_archive_says_of_itself_is_not_for_others_to_say():
    with pytest.raises(ArchiveError, match="leaves is what the header says of the archive itself"):
        Archive({}, {"leaves": {}})


def test_the_bytes_of_another_machine_are_turned(tmp_path):
    turned = np.arange(3, dtype=">f4")
    write(tmp_path / "x.npz", Archive({"w": turned}))
    np.testing.assert_array_equal(read(tmp_path / "x.npz").arrays["w"], turned)


@pytest.mark.parametrize("name", ["header", "checksum", "text/x", ""])
def test_names_that_the_archive_needs_are_refused(tmp_path, name):
    with pytest.raises(ArchiveError, match="a leaf cannot be named"):
        write(tmp_path / "x.npz", Archive({name: np.ones(1)}))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_kept_whole_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="two leaves of the tree have one name"):
        Archive.of({"a/b": jnp.ones(1), "a": {"b": jnp.zeros(1)}})
    for odd in (np.array([{}], object), jnp.ones(2, jnp.float8_e4m3fn), np.array("text")):
        with pytest.raises(ArchiveError, match=r"leaf odd is of dtype .* cannot hold"):
            write(tmp_path / "x.npz", Archive.of({"odd": odd}))
    assert not list(tmp_path.iterdir())
