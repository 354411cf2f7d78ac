"""Files -> pairs: what to read (`PairFiles`), and what came of it (`Corpus`)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from seq2seq.data.formats import PARSERS, LineFormat, Pair, guess_format
from seq2seq.data.lines import LONGEST_LINE, AnyPath, BadLineError, Ledger, check_file, check_text, read_lines
from seq2seq.data.parquet import parquet_rows
from seq2seq.data.sentences import Unit, next_sentence_pairs
from seq2seq.data.spool import Pairs, Spooled, spooled
from seq2seq.errors import ConfigError, DataError, check_literals


@dataclass(frozen=True)
class PairFiles:
    """Which files hold the pairs, and how they are written.

    Attributes:
        paths: files of pairs, or of plain text with `next_sentence`; read one after the other.
        source: with `target`, two parallel files instead: line n of one belongs to line n of the other.
        target: see `source`.
        format: of `paths`; "auto" looks at the name and the first line of each file.
        next_sentence: `paths` are plain text, and each unit of it is a source whose target is the next unit.
        split: the unit of plain text: a line, a sentence or a clause; blank lines part documents.
        skip_bad: leave bad lines out and count them, where otherwise the first one is an error.
        max_line: the longest line taken, in characters.
    """

    paths: tuple[str, ...] = ()
    source: str | None = None
    target: str | None = None
    format: Literal["auto", "tsv", "sigmorphon", "jsonl", "scan", "parquet"] = "auto"
    next_sentence: bool = False
    split: Unit = "line"
    skip_bad: bool = False
    max_line: int = LONGEST_LINE


@dataclass(frozen=True)
class Corpus:
    """The pairs read, and all that the pre-flight report says of them.

    Attributes:
        pairs: in the order of the files; a list, or where they were spooled `Spooled`.
        skipped: reason -> number of bad lines left out.
        notes: one line for each kind of thing mended or left out, with its first file:line.
        format: "parallel", "next sentence" or a line format; what `source_of_line` must be told.
        next_sentence: the pairs are neighbours in a text, so that holding out goes by document or block.
    """

    pairs: Pairs
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    format: str = "tsv"

    @property
    def next_sentence(self) -> bool:
        """Whether the pairs are neighbours in a text."""
        return self.format == "next sentence"


def read_pairs(
    files: PairFiles, spool: Path | None = None, watch: Callable[[Iterator[Pair]], Iterator[Pair]] = iter
) -> Corpus:
    """All the pairs of the files.

    Args:
        files: what to read.
        spool: a file that takes the pairs where they are very many; None keeps any number in memory. What was spooled
            there of the same files, unchanged since, is not read again.
        watch: sees the pairs go by while they are read, and hands them on.

    Raises:
        DataError: a file cannot be read or holds no pair; a line is bad and `skip_bad` is not set.
        ConfigError: the fields of `files` do not go together.
    """
    ledger = Ledger(files.skip_bad)
    kind = corpus_format(files)
    damage: list[str] = []
    identity: list[Any] = []
    if spool is not None:
        if before := _spooled_before(files, spool, damage):
            return before
        _note_of(spool).unlink(missing_ok=True)  # it tells of a file that may now be overwritten
        identity = _identity(files)  # before they are read: who changes them then makes them others
    pairs = spooled(watch(iterate_pairs(files, ledger)), spool)
    if not len(pairs):
        where = ", ".join(map(str, files.paths or (files.source, files.target)))
        cure = "every line was left out as bad" if ledger.skipped else "no line holds one"
        if files.next_sentence:
            bad = f", and {sum(ledger.skipped.values()):,} were left out as bad" if ledger.skipped else ""
            cure = f"next-sentence pairs need two lines in a document{bad}"
        raise DataError(f"no pair in {where}: {cure}.")
    corpus = Corpus(pairs, dict(ledger.skipped), ledger.notes, kind)
    if isinstance(pairs, Spooled):
        told = {"files": identity, "count": len(pairs), "sha256": pairs.sha256}
        told |= {"size": pairs.path.stat().st_size, "skipped": corpus.skipped, "notes": corpus.notes, "format": kind}
        _note_of(pairs.path).write_text(json.dumps(told), "utf-8")
    return replace(corpus, notes=[*damage, *corpus.notes])


def _note_of(spool: Path) -> Path:
    """The file that says what is spooled, written when all of it is."""
    return spool.with_suffix(".json")


def _identity(files: PairFiles) -> list[Any]:
    """What tells files from other or changed ones without reading them, as JSON gives it back; nothing tells what a
    pipe will say, or a file that is not there."""
    paths = [path for path in (*files.paths, files.source, files.target) if path is not None]
    if not all(map(os.path.isfile, paths)):
        return [repr(files), uuid4().hex]
    stats = [os.stat(path) for path in paths]
    # Size and time of change can be those of before: a program may set that time, but not the inode's own (ctime).
    return [repr(files), [[one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino] for one in stats]]


def _spooled_before(files: PairFiles, spool: Path, damage: list[str]) -> Corpus | None:
    """The corpus that was spooled there, if it is of these files as they are now, and whole; else perhaps a note in
    `damage`.

    It is read once for that: a hash goes through 10^7 pairs in a second or two.
    """
    try:
        told = json.loads(_note_of(spool).read_text("utf-8"))
        pairs = Spooled(spool, told["count"], told["sha256"])
        if told["files"] != _identity(files):
            return None
        if not pairs.is_whole(told["size"]):
            damage.append(f"{spool}: not what was written; the files of pairs were read again")
            return None
        return Corpus(pairs, told["skipped"], told["notes"], told["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def iterate_pairs(files: PairFiles, ledger: Ledger) -> Iterator[Pair]:
    """The pairs one by one, for a corpus larger than memory; `ledger` fills as they are read."""
    return (pair for pair in iterate_rows(files, ledger) if pair is not None)


def iterate_rows(files: PairFiles, ledger: Ledger) -> Iterator[Pair | None]:
    """As `iterate_pairs`, and None for each line that is left out as bad; next sentences have no lines of their own."""
    corpus_format(files)
    if files.source is not None and files.target is not None:
        return _parallel_pairs(files.source, files.target, files.max_line, ledger)
    if files.next_sentence:
        each = (next_sentence_pairs(path, files.split, files.max_line, ledger) for path in files.paths)
    else:
        each = (_line_pairs(path, _format_of(path, files), files.max_line, ledger) for path in files.paths)
    return chain.from_iterable(each)


def corpus_format(files: PairFiles) -> str:
    """How the files are written: "parallel", "next sentence" or a line format.

    Raises:
        ConfigError: the fields of `files` do not go together.
        DataError: a first line that must be looked at cannot be read.
    """
    parallel = (files.source is not None) + (files.target is not None)
    if parallel == 1:
        raise ConfigError("two parallel files are wanted: give both --source FILE and --target FILE.")
    if parallel and files.paths:
        raise ConfigError("PAIRS and --source with --target were both given; leave out one of the two.")
    if not parallel and not files.paths:
        raise ConfigError("no pairs: give files of pairs, or --source FILE and --target FILE.")
    check_literals(files)
    if files.next_sentence and (parallel or files.format != "auto"):
        raise ConfigError(
            "--next-sentence reads plain text: give it files of text, and no --format, --source or --target."
        )
    if parallel and files.format != "auto":
        raise ConfigError(f"--format {files.format} is of PAIRS; --source and --target are plain lines: leave it out.")
    if files.split != "line" and not files.next_sentence:
        raise ConfigError(f"--split {files.split} cuts plain text: add --next-sentence.")
    if files.max_line < 1:
        raise ConfigError(f"max_line is {files.max_line} characters; it must be at least 1.")
    if parallel:
        return "parallel"
    if files.next_sentence:
        return "next sentence"
    formats = {path: _format_of(path, files) for path in files.paths}
    if len(set(formats.values())) > 1:
        found = ", ".join(f"{path} is {name}" for path, name in formats.items())
        raise ConfigError(f"all files of pairs must be written alike, but {found}; convert one, or set --format.")
    return next(iter(formats.values()))


def _format_of(path: AnyPath, files: PairFiles) -> LineFormat:
    if files.format != "auto":
        return files.format
    if str(path).endswith(".parquet"):
        return "parquet"
    if not check_file(path, once=True).is_file():
        raise DataError("a pipe is read only once, so nobody can look how it is written: say --format.", path)
    unused = Ledger()  # the reading proper tells what is mended
    lines = (text for _, text in read_lines(path, _as_json(files.max_line), unused))
    first = next((text for text in lines if isinstance(text, str) and text.strip()), "")
    return guess_format(check_file(path), first)


def _line_pairs(path: AnyPath, line_format: LineFormat, max_line: int, ledger: Ledger) -> Iterator[Pair | None]:
    for number, found, trimmed in _rows(path, line_format, max_line, ledger):
        try:
            if isinstance(found, BadLineError):
                raise found
            sides = [_side(name, side, max_line) for name, side in zip(("source", "target"), found[:2], strict=True)]
        except BadLineError as error:
            ledger.bad(error, path, number)
            yield None
            continue
        if trimmed or tuple(sides) != found[:2]:
            ledger.note(_TRIMMED, path, number)
        yield Pair(sides[0], sides[1], found[2])


def _rows(
    path: AnyPath, line_format: LineFormat, max_line: int, ledger: Ledger
) -> Iterator[tuple[int, tuple[str, str, str] | BadLineError, bool]]:
    """Each row with its number: what stands in it, or what is wrong, and whether spaces around columns were left out.

    Those around JSON are none of a text.
    """
    if line_format == "parquet":
        yield from ((number, row, False) for number, row in parquet_rows(path, max_line))
        return
    json = line_format == "jsonl"
    for number, text in read_lines(path, _as_json(max_line) if json else max_line, ledger):
        try:
            if isinstance(text, BadLineError):
                raise text
            if not text.strip():
                raise BadLineError("empty line", "nothing but space; delete it")
            trimmed = "\t".join(column.strip() for column in text.split("\t"))
            yield number, PARSERS[line_format](trimmed), not json and trimmed != text
        except BadLineError as error:
            yield number, error, False


def _as_json(max_line: int) -> int:
    """Characters of JSON that both sides of a pair may take, every one of which may have to be escaped."""
    return 24 * max_line + 100  # of a letter beyond U+FFFF as two of six characters


def _parallel_pairs(source: AnyPath, target: AnyPath, max_line: int, ledger: Ledger) -> Iterator[Pair | None]:
    both = [read_lines(path, max_line, ledger) for path in (source, target)]
    for number, lines in enumerate(zip_longest(*both), 1):
        if None in lines:
            raise _unequal(source, target, number, first_ended=lines[0] is None)
        sides: list[str] = []
        for path, (_, text) in zip((source, target), lines, strict=True):
            try:
                sides.append(_side("this", text, max_line))
            except BadLineError as error:
                ledger.bad(error, path, number)
                yield None
                break  # one bad side leaves out the pair, and counts once
            if sides[-1] != text:
                ledger.note(_TRIMMED, path, number)
        else:
            yield Pair(sides[0], sides[1])


_TRIMMED = "outer spaces left out"


def _side(name: str, text: str | BadLineError, max_line: int) -> str:
    if isinstance(text, BadLineError):
        raise text
    if not text.strip():
        raise BadLineError("empty side", f"{name} side holds no text; write it, or delete the pair")
    return check_text(text.strip(), max_line)


def _unequal(source: AnyPath, target: AnyPath, number: int, first_ended: bool) -> DataError:
    ended, goes_on = (source, target) if first_ended else (target, source)
    cure = "parallel files need equally many lines; is one cut off, or an empty line missing?"
    return DataError(f"{ended} has no line {number}: {cure}", goes_on, number)
