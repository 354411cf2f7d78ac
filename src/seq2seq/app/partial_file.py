"""A long output that a killed command goes on writing where it was: OUT.partial, and OUT.progress beside it.

Windows of output are appended to OUT.partial, each made durable before OUT.progress (JSON, replaced in one step) says
that it is there. What a kill left after the last such window is cut off on resuming. A gzip file gets one member for
each window, so that every cut is a whole gzip file. At the end OUT.partial is renamed to OUT.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from seq2seq.core.files import atomic_write, replaceable
from seq2seq.errors import ConfigError, ResumeError
from seq2seq.training.checkpoint import Fingerprint

_AGAIN = "remove {} to begin again"


@dataclass(frozen=True)
class Written:
    """Where an output stands.

    Attributes:
        lines: lines of input whose output is durable.
        size: bytes of output.
        input: SHA-256 of those lines.
        content: what the output rests on, beside the input: the model, the options.
        machine: versions that decide about the last bit.
        counts: numbers that the caller adds up.
        complete: nothing is left but the renaming.
    """

    lines: int = 0
    size: int = 0
    input: str = ""
    content: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    complete: bool = False


class PartialFile:
    """An output of many windows, at `path` only when it is complete. Gzip where the name ends in .gz.

    Args:
        path: where the output will be.
        fingerprint: what it rests on, beside the input.
        resume: go on with what a killed command left, if there is anything.

    Raises:
        ConfigError: there is a partial output, and `resume` is false.
        ArchiveError: `path` is a device or a pipe.
        ResumeError: the partial output rests on something else, or was damaged.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint, resume: bool):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; name a file to write.")
        self.path = path = replaceable(path)
        self.partial = path.with_name(f"{path.name}.partial")
        self.progress = path.with_name(f"{path.name}.progress")
        self.written = Written(content=dict(fingerprint.content), machine=dict(fingerprint.machine))
        self.warning: str | None = None
        if self.progress.exists() and resume:
            saved = self._saved()
            before = Fingerprint(saved.content, saved.machine)
            if saved.lines:  # or nothing rests on what it was
                if changes := fingerprint.changes(before):
                    raise ResumeError(f"{self.partial} was begun by another command: {changes}; {self.cure}.")
                self.warning = fingerprint.warning(before)
            self.written = replace(saved, content=dict(fingerprint.content), machine=dict(fingerprint.machine))
        elif self.partial.exists() and not resume:
            raise ConfigError(
                f"{self.partial} is there from a command that did not end; go on with it by --resume, or remove it."
            )
        self._file: BinaryIO | None = None if self.written.complete else self._open()

    @property
    def cure(self) -> str:
        """What to do where the output cannot be gone on with."""
        return f"go on with what it began with, or {_AGAIN.format(self.progress)}"

    def append(self, content: bytes, written: Written) -> None:
        """Add a window; `written` says what will then have been read, its `size` aside.

        Raises:
            OSError: the disk is full.
        """
        file = self._open() if self._file is None else self._file
        file.write(gzip.compress(content, 6, mtime=0) if self.path.suffix == ".gz" else content)
        file.flush()
        os.fsync(file.fileno())
        self._tell(replace(written, size=file.tell()))

    def finish(self) -> None:
        """Put the output in its place."""
        if self._file is not None:
            if self.written.size == 0 and self.path.suffix == ".gz":
                self.append(b"", self.written)  # no bytes at all are not gzip
            self._tell(replace(self.written, complete=True))
            self._file.close()
            self._file = None
        if self.partial.exists():
            os.replace(self.partial, self.path)
        elif not self.path.exists():
            raise ResumeError(f"{self.path} was complete and is gone; {_AGAIN.format(self.progress)}.")
        self.progress.unlink(missing_ok=True)

    def close(self) -> None:
        """Close what is open; the partial output stays for --resume."""
        if self._file is not None:
            self._file.close()

    def _saved(self) -> Written:
        try:
            return Written(**json.loads(self.progress.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise ResumeError(f"{self.progress}: not readable ({error}); {_AGAIN.format(self.progress)}.") from None

    def _open(self) -> BinaryIO:
        """The partial output, cut to what is durable."""
        found = self.partial.stat().st_size if self.partial.exists() else 0
        if found < self.written.size:
            raise ResumeError(
                f"{self.partial} has {found:,} bytes where {self.written.size:,} were written; "
                f"{_AGAIN.format(self.progress)}."
            )
        for litter in self.path.parent.glob(f".{self.progress.name}.*.tmp"):
            litter.unlink(missing_ok=True)  # of a command killed while it wrote
        file = self.partial.open("r+b" if self.partial.exists() else "wb")
        file.truncate(self.written.size)
        file.seek(self.written.size)
        self._tell(self.written)
        return file

    def _tell(self, written: Written) -> None:
        text = json.dumps(asdict(written), indent=1)
        atomic_write(self.progress, lambda temporary: temporary.write_text(text, "utf-8"))
        self.written = written


def skip(lines: Iterator[bytes], written: Written, name: str, cure: str) -> hashlib._Hash:
    """Read past the lines whose output is there, and compare them with those it was made of; the SHA-256 of them.

    `cure` says what to do where they are others.

    Raises:
        ResumeError: they are others.
    """
    digest, passed = hashlib.sha256(), 0
    for line in islice(lines, written.lines):
        digest.update(line)
        passed += 1
    if passed < written.lines or (passed and digest.hexdigest() != written.input):
        found = "they are others now" if passed == written.lines else f"it has only {passed:,} now"
        raise ResumeError(
            f"{name} has changed: of its first {written.lines:,} lines the output is written, and {found}; {cure}."
        )
    return digest


def sha256_of(files: Iterable[Path]) -> str:
    """What tells files of one content from others: hexadecimal digits for each."""
    return " ".join(hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files)
