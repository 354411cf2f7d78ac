"""Pairs in Parquet files, read as streams: columns `source` and `target`, and `document` where there is one.

A small file may unpack to very much text. So texts are read as dictionaries, in which equal ones are held once, and
only those that are short enough are decoded, some at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.lines import AnyPath, BadLineError, check_file, check_text, over_long
from seq2seq.errors import ConfigError, DataError, did_you_mean

_NAMES = ("source", "target", "document")
_ROWS = 1024
_BYTES = 1 << 24  # of texts that are decoded together
_LARGE = 1 << 26  # bytes of a column, from which on its rows are looked at
_NO_DICTIONARY = {"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}  # encodings of which Arrow makes none
_Row: TypeAlias = tuple[str, str, str] | BadLineError


def parquet_rows(path: AnyPath, max_line: int) -> Iterator[tuple[int, _Row]]:
    """Every row with its number, from 1: source, target and document ("" where there is none), or what is wrong.

    Raises:
        ConfigError: pyarrow is not there.
        DataError: the file is no Parquet, or has not these columns.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile, read_metadata
    except ImportError:
        raise ConfigError(f'{path}: nothing here reads Parquet: pip install "seq2seq-jax[data]".') from None
    try:
        metadata = read_metadata(check_file(path))
        columns = _columns(metadata.schema.to_arrow_schema(), path)
        dictionaries = _dictionaries(metadata, columns, max_line, path)
        number = 0
        with ParquetFile(path, metadata=metadata, read_dictionary=dictionaries) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                for row in _rows(batch.select(columns), max_line):
                    number += 1
                    yield number, row if isinstance(row, BadLineError) else _row(row)
    except (ArrowException, OSError) as error:
        raise DataError(f"cannot be read as Parquet: {str(error).splitlines()[0]}.", path) from None


def _columns(schema: Any, path: AnyPath) -> list[str]:
    """Those columns that are read, each of which must be of texts."""
    names: list[str] = schema.names
    for name in ("source", "target"):
        if name not in names:
            raise DataError(f"has no column {name}; {did_you_mean(name, names)}", path)
    found: list[str] = []
    for name in (name for name in _NAMES if name in names):
        if names.count(name) > 1:
            raise DataError(f"has {names.count(name)} columns {name}; leave one.", path)
        kind = schema.field(name).type
        if name == "document" and str(kind) == "null":
            continue  # as a program writes what has none anywhere
        texts = kind.value_type if str(kind).startswith("dictionary<") else kind
        if str(texts) not in ("string", "large_string", "string_view"):
            raise DataError(f"column {name} is of type {kind}; write it as strings.", path)
        found.append(name)
    return found


def _dictionaries(metadata: Any, names: Sequence[str], max_line: int, path: AnyPath) -> list[str]:
    """Those columns that can be read as dictionaries.

    Raises:
        DataError: the texts of a row group are too long on average: it is not unpacked.
    """
    found = dict.fromkeys(names)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in (group.column(place) for place in range(group.num_columns)):
            name, size = column.path_in_schema, column.total_uncompressed_size
            if name in names and size > max(_LARGE, 5 * max_line * group.num_rows):
                held = f"{size:,} bytes of {name} in {group.num_rows:,} rows"
                raise DataError(f"row group {number} has {held}; at most {max_line} characters a row are taken.", path)
            if not _NO_DICTIONARY.isdisjoint(column.encodings):
                found.pop(name, None)
    return list(found)


def _rows(batch: Any, max_line: int) -> Iterator[tuple[Any, ...] | BadLineError]:
    """The values of each row; of texts that are too long only that they are."""
    sizes = np.stack([_sizes(column) for column in batch.columns])
    short: NDArray[np.bool_] = np.all(sizes <= 4 * max_line, axis=0)  # a character has at most 4 bytes
    part = np.cumsum(np.where(short, sizes.sum(axis=0), 0)) // _BYTES
    for rows in np.split(np.arange(len(part)), np.flatnonzero(np.diff(part)) + 1):
        texts = _decoded(batch.take(rows[short[rows]]))
        for fits in short[rows]:
            yield next(texts) if fits else over_long(f"more than {max_line}", max_line)


def _sizes(column: Any) -> NDArray[np.int64]:
    """The bytes of each text, 0 where there is none."""
    from pyarrow import compute

    length: Any = getattr(compute, "binary_length")  # noqa: B009 (made when pyarrow is imported, so no type checker knows it)
    if not hasattr(column, "dictionary"):
        lengths = length(column)
    elif len(column.dictionary) > len(column):  # of a page of many batches
        lengths = length(column.dictionary.take(column.indices))
    else:
        lengths = length(column.dictionary).take(column.indices)
    return lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _decoded(batch: Any) -> Iterator[tuple[Any, ...] | BadLineError]:
    """The rows of a batch; if one is not UTF-8, each by itself, so that the others are kept."""
    plain = [column.dictionary_decode() if hasattr(column, "dictionary") else column for column in batch.columns]
    try:
        yield from zip(*[column.to_pylist() for column in plain], strict=True)
    except UnicodeDecodeError:
        for place in range(len(batch)):
            try:
                yield tuple(column[place].as_py() for column in plain)
            except UnicodeDecodeError:
                yield BadLineError("not UTF-8", "write it as UTF-8")


def _row(row: tuple[Any, ...]) -> _Row:
    source, target, document = (*row, "")[:3]
    for name, value in (("source", source), ("target", target)):
        if value is None:
            return BadLineError("missing or not text", f"{name} is {value!r}; it must be a text")
    try:
        check_text(document or "", len(document or ""))
    except BadLineError as error:
        return error
    return source, target, document or ""
