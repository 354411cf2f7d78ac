"""Pairs in Parquet files, read as streams: columns `source` and `target`, and `document` where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seq2seq.data.lines import AnyPath, BadLineError, check_file, check_text
from seq2seq.errors import ConfigError, DataError, did_you_mean

_ROWS = 8192


def parquet_rows(path: AnyPath) -> Iterator[tuple[int, tuple[str, str, str] | BadLineError]]:
    """Every row with its number, from 1: source, target and document ("" where there is none), or what is wrong.

    Raises:
        ConfigError: pyarrow is not there.
        DataError: the file is no Parquet, or has not these columns.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ConfigError(f'{path}: nothing here reads Parquet: pip install "seq2seq-jax[data]".') from None
    try:
        with ParquetFile(check_file(path)) as file:
            names: list[str] = file.schema_arrow.names
            for name in ("source", "target"):
                if name not in names:
                    raise DataError(f"has no column {name}; {did_you_mean(name, names)}", path)
            columns = [name for name in ("source", "target", "document") if name in names]
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                for row in _rows(batch):
                    number += 1
                    yield number, row if isinstance(row, BadLineError) else _row(row)
    except (ArrowException, OSError) as error:
        raise DataError(f"cannot be read as Parquet: {str(error).splitlines()[0]}.", path) from None


def _rows(batch: Any) -> Iterator[dict[str, Any] | BadLineError]:
    """The rows of a batch; if one is not UTF-8, each by itself, so that the others are kept."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(len(batch)):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield BadLineError("not UTF-8", "write it as UTF-8")


def _row(row: dict[str, Any]) -> tuple[str, str, str] | BadLineError:
    values = row["source"], row["target"], row.get("document") or ""
    for name, value in zip(("source", "target", "document"), values, strict=True):
        if not isinstance(value, str):
            return BadLineError("missing or not text", f"{name} is {value!r}; it must be a text")
    try:
        check_text(values[2], len(values[2]))
    except BadLineError as error:
        return error
    return values
