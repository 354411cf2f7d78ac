"""Lines of text from files, with everything wrong or mended in them told: file, line and cure.

A line is UTF-8, ends with LF or CR LF, holds no NUL and is not over-long. What is wrong is an error, or skipped and
counted where the user asked for that; what is mended (a byte-order mark, CR LF) is noted. Nothing happens silently.
"""

from __future__ import annotations

import codecs
import errno
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import BinaryIO, TypeAlias

from seq2seq.data.packed import reading_error, reading_errors, unpacked
from seq2seq.errors import DataError

AnyPath: TypeAlias = str | PathLike[str]
LONGEST_LINE = 20_000
"""Characters of a line, or a text, that are taken where nothing else is said."""


class BadLineError(Exception):
    """One line that cannot be used: `reason` names the kind of fault, `detail` what was found and the cure."""

    def __init__(self, reason: str, detail: str):
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass
class Ledger:
    """The book of what was wrong and what was mended while reading.

    Example:
        >>> ledger = Ledger(skip_bad=True)
        >>> ledger.bad(BadLineError("no TAB", "write source TAB target"), "pairs.tsv", 3)
        >>> dict(ledger.skipped), ledger.notes
        ({'no TAB': 1}, ['skipped: no TAB (1 line, first pairs.tsv:3)'])
    """

    skip_bad: bool = False
    skipped: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def bad(self, error: BadLineError, path: AnyPath, line: int) -> None:
        """Count a bad line, or raise DataError where bad lines are not skipped."""
        if not self.skip_bad:
            raise DataError(f"{error} (--skip-bad leaves such lines out and counts them).", path, line) from None
        self.skipped[error.reason] += 1
        self.first.setdefault(error.reason, f"{path}:{line}")

    def note(self, what: str, path: AnyPath, line: int) -> None:
        """Count a line that was mended."""
        self.mended[what] += 1
        self.first.setdefault(what, f"{path}:{line}")

    @property
    def notes(self) -> list[str]:
        """One line for each kind of thing mended or skipped, for the pre-flight report."""
        named = [(what, what, count) for what, count in self.mended.items()]
        named += [(f"skipped: {what}", what, count) for what, count in self.skipped.items()]
        return [f"{say} ({n} line{'s' * (n > 1)}, first {self.first[what]})" for say, what, n in named]


def check_file(path: AnyPath, cure: str = "check the name.", *, once: bool = False, may_be_empty: bool = False) -> Path:
    """The path of a file that can be read; DataError, with the cure, where it cannot: `cure` if it is not there.

    Args:
        path: which.
        cure: what to do if it is not there.
        once: it is read once, from its beginning on: a pipe will do, such as /dev/stdin or <(command).
        may_be_empty: whether a file without a byte will do.
    """
    path = Path(path)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # such as a text in the place of a name
            raise DataError(f"{error.strerror}; {cure}", f"{str(path)[:40]}...") from None
        raise DataError(f"{error.strerror}.", path) from None
    if is_folder:
        raise DataError("this is a folder; give a file in it.", path)
    if not is_there:
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        close = get_close_matches(path.name, names, 1) if len(names) <= 1000 else []
        raise DataError(f"no such file; {f'did you mean {close[0]}?' if close else cure}", path)
    if once and (path.is_fifo() or path.is_char_device()):
        return path
    if not path.is_file():
        raise DataError("this is not a regular file; write the text to a file first.", path)
    if path.stat().st_size == 0 and not may_be_empty:
        raise DataError("the file is empty; was it written to the end?", path)
    return path


def _raw_lines(stream: BinaryIO, max_line: int) -> Iterator[bytes]:
    """The lines of a stream; of an over-long line no more than shows that it is one."""
    limit = 4 * max_line + 4  # a character has at most 4 bytes, and the line may end with CR LF
    while raw := stream.readline(limit):
        yield raw
        if len(raw) == limit and not raw.endswith(b"\n"):
            _drop_rest_of_line(stream)


def _drop_rest_of_line(stream: BinaryIO) -> None:
    while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
        pass


def clean_line(raw: bytes, max_line: int) -> tuple[str, list[str]]:
    """A raw line as text without its end, and what was mended in it.

    Raises:
        BadLineError: it is over-long, not UTF-8, or holds a NUL or a carriage return.

    Example:
        >>> clean_line(b"hello\\r\\n", 100)
        ('hello', ['CR LF line end read as LF'])
    """
    mended: list[str] = []
    raw = raw.removesuffix(b"\n")
    if raw.endswith(b"\r"):
        raw, mended = raw[:-1], ["CR LF line end read as LF"]
    if len(raw) > 4 * max_line:
        raise over_long(f"more than {max_line}", max_line)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"
        cure = "convert the file: iconv -f ITS-ENCODING -t UTF-8, such as -f ISO-8859-1 or -f WINDOWS-1252"
        raise BadLineError("not UTF-8", f"{found}; {cure}") from None
    return check_text(text, max_line), mended


def check_text(text: str, max_line: float) -> str:
    """The text itself, where a line may hold it.

    Raises:
        BadLineError: it is over-long, or holds a NUL, a carriage return or half a surrogate pair.
    """
    if len(text) > max_line:
        raise over_long(len(text), max_line)
    if "\0" in text:
        raise BadLineError("NUL character", f"at character {text.index(chr(0)) + 1}; is this a text file?")
    if "\r" in text:
        cure = "an old Mac's line ends? tr '\\r' '\\n' < FILE > NEW; in JSON write \\n"
        raise BadLineError("carriage return inside the line", cure)
    if _SURROGATE.search(text):
        raise BadLineError("not UTF-8", "half a surrogate pair; was the text cut inside a character?")
    return text


def over_long(found: int | str, max_line: float) -> BadLineError:
    """What is wrong with a line of so many characters."""
    cure = f"{found} characters where at most {max_line} are taken; are its line breaks missing?"
    return BadLineError("over-long line", cure)


_SURROGATE = re.compile("[\ud800-\udfff]")


def read_lines(
    path: AnyPath, max_line: int, ledger: Ledger, may_be_empty: bool = False
) -> Iterator[tuple[int, str | BadLineError]]:
    """Every line of a file or a pipe, packed or not, with its number: its text, or what is wrong with it (the caller
    tells the ledger).

    Raises:
        DataError: the file cannot be read, is empty and must not be, or is UTF-16.
    """
    number = 0
    try:
        with ExitStack() as stack:
            found = check_file(path, once=True, may_be_empty=may_be_empty)
            file = stack.enter_context(found.open("rb"))
            for number, text in stream_lines(unpacked(file, stack, path), path, max_line, ledger):
                yield number, text
    except reading_errors() as error:
        raise reading_error(error, path, number + 1) from None


def stream_lines(
    stream: BinaryIO, path: AnyPath, max_line: int, ledger: Ledger
) -> Iterator[tuple[int, str | BadLineError]]:
    """As `read_lines`, of an open stream such as `sys.stdin.buffer`; `path` is what messages call it."""
    for number, raw in enumerate(_raw_lines(stream, max_line), 1):
        if number == 1:
            raw = without_byte_order_mark(raw, path, ledger)
        try:
            text, mended = clean_line(raw, max_line)
        except BadLineError as error:
            yield number, error
            continue
        for what in mended:
            ledger.note(what, path, number)
        yield number, text


def without_byte_order_mark(raw: bytes, path: AnyPath, ledger: Ledger) -> bytes:
    """The first line of a file without the mark that it may begin with.

    Raises:
        DataError: it is UTF-16.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        cure = "iconv -f UTF-16 -t UTF-8 < FILE > NEW, or save it as UTF-8 in your editor"
        raise DataError(f"this file is UTF-16; convert it: {cure}.", path, 1)
    if raw.startswith(codecs.BOM_UTF8):
        ledger.note("byte-order mark left out", path, 1)
    return raw.removeprefix(codecs.BOM_UTF8)
