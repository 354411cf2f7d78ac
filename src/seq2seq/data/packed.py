"""Files that may be packed: gzip and zstd are known by their content, not by their names, and read as streams."""

from __future__ import annotations

import gzip
import importlib
import io
import re
import zlib
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO

from seq2seq.errors import ConfigError, DataError

_GZIP = b"\x1f\x8b"
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60)))
"""How frames begin: those of data, and those to be skipped, with one of which pzstd begins a file."""
_OTHERS = {
    rb"BZh[1-9]1AY&SY": "bzip2",
    rb"\xfd7zXZ\x00": "xz",
    rb"7z\xbc\xaf\x27\x1c": "7-Zip",
    rb"PK\x03\x04": "zip, or a document of an office program such as .xlsx",
}
"""How files begin that are packed in ways that are not read."""


def unpacked(file: BinaryIO, stack: ExitStack, path: object) -> BinaryIO:
    """The bytes in an open file, unpacked if it is gzip or zstd; `stack` closes what is opened for that, and `path` is
    what messages call it.

    Raises:
        ConfigError: it is zstd, and there is nothing to read that, or it is packed in another way.

    Example:
        >>> with ExitStack() as stack:
        ...     [unpacked(io.BytesIO(held), stack, "x").read() for held in (gzip.compress(b"a"), b"b")]
        [b'a', b'b']
    """
    peeked = file if hasattr(file, "peek") else io.BufferedReader(file, 1 << 16)  # pyright: ignore[reportArgumentType]
    begins: bytes = peeked.peek(16)[:16]  # pyright: ignore[reportAttributeAccessIssue]
    if begins.startswith(_GZIP):
        packed: Any = stack.enter_context(gzip.GzipFile(fileobj=peeked))
    elif begins.startswith(_ZSTD):
        packed = stack.enter_context(_zstd(path).ZstdFile(peeked))
    elif other := next((name for start, name in _OTHERS.items() if re.match(start, begins)), ""):
        raise ConfigError(f"{path} is packed ({other}); unpack it to a file of lines, which may be packed by gzip.")
    else:
        return peeked
    return stack.enter_context(io.BufferedReader(packed, 1 << 16))  # pyright: ignore[reportReturnType]


def is_packed(begins: bytes) -> bool:
    """Whether a file that begins so is packed."""
    return begins.startswith((_GZIP, *_ZSTD))


def _zstd(path: object) -> Any:
    """The module of Python 3.14, or its backport: unlike others they say so where a file is cut off."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return importlib.import_module(name)
    raise ConfigError(f'{path} is zstd, and nothing here reads that: pip install "seq2seq-jax[data]".')


def reading_error(error: Exception, path: object, line: int | None = None) -> DataError:
    """What an error while reading means to whoever gave the file.

    Example:
        >>> reading_error(EOFError("cut"), "a.gz", 3)
        DataError('a.gz:3: not a whole packed file: cut; was it written to the end?')
    """
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"cannot be read: {error.strerror or error}.", path)
    return DataError(f"not a whole packed file: {error}; was it written to the end?", path, line)


def reading_errors() -> tuple[type[Exception], ...]:
    """What reading a file, packed or not, may raise."""
    with suppress(ConfigError):
        return (OSError, EOFError, zlib.error, _zstd("").ZstdError)
    return (OSError, EOFError, zlib.error)
