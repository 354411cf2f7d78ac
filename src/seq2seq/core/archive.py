"""Any tree of arrays, with a JSON header and named texts, in one `.npz` that NumPy alone can read.

Members of the zip are plain `.npy` arrays: each leaf under its name, each text under `text/NAME` as UTF-8 bytes, and
the header under `header` as UTF-8 JSON. No pickle is written or read. bfloat16 is stored as uint16 and a typed random
key as its key data; the header holds what each was, its shape and its SHA-256. The header's own SHA-256 stands in
`checksum`. A file is written under a temporary name, fsynced and renamed, so that a reader finds the old or the new.

Example, without seq2seq:
    numpy.load("model.npz")["encoder/w"]
    json.loads(bytes(numpy.load("model.npz")["header"]))
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from seq2seq.core import header as headers
from seq2seq.core.files import atomic_write
from seq2seq.core.module import leaf_name, named_leaves
from seq2seq.errors import ArchiveError, CorruptArchiveError, LeafError, NewerFormatError, UnreadableArchiveError

FORMAT = 1
_TEXT, _HEADER, _CHECKSUM = "text/", "header", "checksum"
_OWN = ("format", "leaves", "texts")
"""What the header says of the archive itself."""
_ENTRY, _LEAST = b"PK\x01\x02", 200
"""How the entry of a member in the directory of a zip begins, and the bytes that any takes with its empty array: 30 and
128 and its name before it, 46 and its name in the directory."""
_BFLOAT16 = np.dtype(jnp.bfloat16)
_NUMBERS = "biufc"
T = TypeVar("T")


@dataclass(frozen=True)
class Archive:
    """What is in a file: arrays by leaf name, named texts, and whatever JSON the writer put in `header`.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tree.npz"
        >>> write(path, Archive.of({"w": jnp.ones((2, 3))}, header={"kind": "example"}))
        >>> found = read(path)
        >>> found.header["kind"], found.arrays["w"].shape
        ('example', (2, 3))
        >>> found.into({"w": jnp.zeros((2, 3))})["w"].sum()
        Array(6., dtype=float32)
    """

    arrays: Mapping[str, NDArray[Any]]
    header: Mapping[str, Any] = dataclass_field(default_factory=dict)
    texts: Mapping[str, str] = dataclass_field(default_factory=dict)

    @classmethod
    def of(cls, tree: Any, header: Mapping[str, Any] | None = None, texts: Mapping[str, str] | None = None) -> Archive:
        """The archive of any tree of arrays, random keys among them.

        Raises:
            ArchiveError: two leaves have one name, because of a "/" in the key of a dict, or one has a name of the
                archive's own.
        """
        arrays = {name: _to_numpy(leaf) for name, leaf in named_leaves(tree).items()}
        if len(arrays) != len(jax.tree.leaves(tree)):
            raise ArchiveError('two leaves of the tree have one name; leave "/" out of the keys of dicts.')
        return cls(arrays, header or {}, texts or {})

    def __post_init__(self) -> None:
        for name in self.arrays:
            if name in (_HEADER, _CHECKSUM, "") or name.startswith(_TEXT):
                raise ArchiveError(
                    f"a leaf cannot be named {name!r}: that name is the archive's own; rename the field."
                )
        if own := [name for name in _OWN if name in self.header]:
            raise ArchiveError(f"{own[0]} is what the header says of the archive itself; call yours otherwise.")

    def expect(self, path: object, header: Mapping[str, Any], texts: Iterable[str] = ()) -> None:
        """Refuse what is not of the kind that a reader wants; `path` is where it was read from.

        Args:
            path: for the message.
            header: what the header must hold, as a type, a list of one kind, or a dict of kinds by key.
            texts: the texts that must be there.

        Raises:
            CorruptArchiveError: says what is wrong.
        """
        wrong = headers.misfit(
            {**self.header, "texts": dict(self.texts)}, {**header, "texts": dict.fromkeys(texts, str)}
        )
        if wrong:
            raise _unwritten(path, wrong)

    def into(self, like: T) -> T:
        """A tree of the structure of `like` (arrays, or shapes from `jax.eval_shape`) with these arrays as leaves.

        Raises:
            LeafError: a leaf is missing, extra, or has another shape or dtype; says which.
        """
        wanted = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(like)}
        if missing := [name for name in wanted if name not in self.arrays]:
            raise LeafError(f"leaf {missing[0]} is missing from the archive ({len(missing)} missing in all).")
        if extra := [name for name in self.arrays if name not in wanted]:
            raise LeafError(f"leaf {extra[0]} of the archive has no place here ({len(extra)} extra in all).")
        leaves = [_from_numpy(name, self.arrays[name], leaf) for name, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


def write(path: str | os.PathLike[str], archive: Archive) -> None:
    """Write `archive` to `path`: all of it or nothing.

    Raises:
        ArchiveError: the file cannot be written.
    """
    path = Path(path)
    members, leaves = {}, {}
    for name, array in archive.arrays.items():
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        members[name] = _stored(name, array)
        leaves[name] = {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": _digest(members[name])}
    for name, text in archive.texts.items():
        members[_TEXT + name] = np.frombuffer(text.encode(), np.uint8)
    texts = {name: _digest(members[_TEXT + name]) for name in archive.texts}
    header = {**archive.header, "format": FORMAT, "leaves": leaves, "texts": texts}
    members[_HEADER] = np.frombuffer(json.dumps(header, ensure_ascii=False).encode(), np.uint8)
    if members[_HEADER].size > headers.LARGEST:
        raise ArchiveError(f"{path}: {len(leaves):,} leaves and what the header says take too many bytes to be read.")
    members[_CHECKSUM] = np.frombuffer(_digest(members[_HEADER]).encode(), np.uint8)
    atomic_write(path, lambda temporary: _write_members(temporary, members))


def read(path: str | os.PathLike[str]) -> Archive:
    """Read an archive and check every byte of it.

    Raises:
        ArchiveError: it is no archive of ours.
        UnreadableArchiveError: there is no such file, or it cannot be read now.
        NewerFormatError: its format is newer than this version's.
        CorruptArchiveError: its bytes are not those that were written; says which member.
    """
    try:
        with open(path, "rb") as file:
            members = _members(path, file)
    except OSError as error:
        kind = ArchiveError if isinstance(error, IsADirectoryError) else UnreadableArchiveError
        raise kind(f"{path}: {error.strerror or error}.") from None
    header = _header(path, members)
    _, leaves, texts = (header.pop(name) for name in _OWN)
    stray = set(members) - {_HEADER, _CHECKSUM} - set(leaves) - {_TEXT + name for name in texts}
    if stray:
        raise CorruptArchiveError(f"{path}: member {min(stray)} is not in the header.")
    arrays = {name: _leaf(path, name, members, wanted) for name, wanted in leaves.items()}
    return Archive(arrays, header, {name: _text(path, name, members, digest) for name, digest in texts.items()})


@contextmanager
def reading(path: object) -> Iterator[None]:
    """For what is made of an archive that was read from `path`: errors name it.

    Raises:
        ArchiveError: as inside, the path before its message.
        CorruptArchiveError: also where something is nested without end.
    """
    try:
        yield
    except RecursionError:
        raise CorruptArchiveError(f"{path}: something in its header is nested too deeply.") from None
    except ArchiveError as error:
        raise type(error)(f"{path}: {error}") from None


def _write_members(path: Path, members: Mapping[str, NDArray[Any]]) -> None:
    # Not np.savez: a member's name may be that of one of its arguments, and the same content gives the same bytes.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, array in members.items():
            with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)


def _members(path: object, file: BinaryIO) -> dict[str, NDArray[Any]]:
    """The arrays of the zip in `file`, each in memory once. Whatever its bytes are, an error is one of ours."""
    try:
        size = _size(file)
        with zipfile.ZipFile(file) as members:
            if sum(info.file_size for info in members.infolist()) > size:
                raise zipfile.BadZipFile("its members say that they are larger than the file")
            return {info.filename.removesuffix(".npy"): _member(members, info) for info in members.infolist()}
    # zipfile says RuntimeError of what is encrypted and NotImplementedError of what is compressed in unknown ways.
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OverflowError, struct.error) as error:
        raise CorruptArchiveError(f"{path}: not a whole .npz archive ({error}).") from None


def _size(file: BinaryIO) -> int:
    """The bytes of a zip, if it can hold as many members as it names: zipfile first makes room for each of them.

    They are counted by what each begins with in the directory, whatever number it says of itself.
    """
    size, count, block = 0, 0, b""
    while chunk := file.read(2**20):
        block = block[1 - len(_ENTRY) :] + chunk
        size, count = size + len(chunk), count + block.count(_ENTRY)
    if count * _LEAST > size:
        raise zipfile.BadZipFile(f"{count:,} members in {size:,} bytes")
    return size


def _member(members: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"member {info.filename} is compressed, which seq2seq never does")
    # Read to the end before NumPy looks at it: only there does zipfile compare the CRC-32.
    data = members.read(info)
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # it evaluates the header as Python, and fails in as many ways
        raise ValueError(f"member {info.filename} is no .npy: {error}") from None
    if version != (1, 0) or dtype.kind not in _NUMBERS or not dtype.isnative or (by_columns and len(shape) > 1):
        raise ValueError(f"member {info.filename} is {dtype} in an order or a version that seq2seq never writes")
    # Before any memory is taken for it: NumPy would first make room for whatever the header says.
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"member {info.filename} says {dtype}{list(shape)}, which is not what it holds")
    array = np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)
    return np.require(array, requirements=["ALIGNED"])  # as all of ours are: no copy


def _header(path: object, members: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    if _HEADER not in members or _CHECKSUM not in members:
        raise ArchiveError(f"{path}: an .npz, but not one that seq2seq wrote (it has no header).")
    if _digest(members[_HEADER]).encode() != members[_CHECKSUM].tobytes():
        raise CorruptArchiveError(f"{path}: the header does not match its checksum.")
    try:
        header = headers.parse(members[_HEADER].tobytes())
        if header["format"] <= FORMAT:
            headers.check(header)
            return header
    except ValueError as error:
        raise _unwritten(path, error) from None
    raise NewerFormatError(
        f"{path}: has format {header['format']}, this version reads up to {FORMAT}; upgrade seq2seq-jax."
    )


def _unwritten(path: object, why: object) -> CorruptArchiveError:
    return CorruptArchiveError(f"{path}: the header is none that seq2seq writes ({why}).")


def _leaf(path: object, name: str, members: Mapping[str, NDArray[Any]], wanted: Mapping[str, Any]) -> NDArray[Any]:
    if name not in members:
        raise CorruptArchiveError(f"{path}: leaf {name} is missing.")
    array = members[name]
    if _digest(array) != wanted["sha256"]:
        raise CorruptArchiveError(f"{path}: leaf {name} does not match its checksum.")
    if wanted["dtype"] == str(_BFLOAT16) and array.dtype == np.uint16:  # as it is stored
        array = array.view(_BFLOAT16)
    if (str(array.dtype), list(array.shape)) != (wanted["dtype"], wanted["shape"]):
        raise CorruptArchiveError(f"{path}: leaf {name} has not the dtype and shape that the header says.")
    return array


def _text(path: object, name: str, members: Mapping[str, NDArray[Any]], digest: str) -> str:
    member = members.get(_TEXT + name)
    if member is None or _digest(member) != digest:
        raise CorruptArchiveError(f"{path}: text {name} is missing or does not match its checksum.")
    try:
        return member.tobytes().decode()
    except UnicodeDecodeError:
        raise CorruptArchiveError(f"{path}: text {name} is not UTF-8.") from None


def _stored(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """`array` as one that NumPy can save without pickle."""
    if array.dtype == _BFLOAT16:
        return array.view(np.uint16)
    if array.dtype.kind not in _NUMBERS:
        raise ArchiveError(f"leaf {name} is of dtype {array.dtype}, which an archive cannot hold; use numbers.")
    return array


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> NDArray[Any]:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(name: str, array: NDArray[Any], like: Any) -> Any:
    """`array` as a leaf of the kind of `like`: a random key, an array of JAX, or what NumPy holds."""
    data = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    wanted = (tuple(np.shape(data)), np.dtype(getattr(data, "dtype", None) or np.asarray(data).dtype))
    if wanted != (array.shape, array.dtype):
        raise LeafError(
            f"leaf {name} is {array.dtype}{list(array.shape)} in the archive, wanted {wanted[1]}{list(wanted[0])}."
        )
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=_implementation(like))
    return jnp.asarray(array) if isinstance(like, jax.Array | jax.ShapeDtypeStruct) else array


def _implementation(key: Any) -> Any:
    """That of a key; of a mere shape, the default."""
    return jax.random.key_impl(key) if isinstance(key, jax.Array) else None
