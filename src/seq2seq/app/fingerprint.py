"""What a run of the command line rests on, and what it says where that has changed.

Ids decide whether the data is the same, however it is named and wherever it lies. How the ids came about is written
beside them, under `reading.`: where they differ, it says why. The git revision of the user's folder is only written
down: whatever of it matters is compared by itself. That of seq2seq goes with the versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from seq2seq.app.options import TrainOptions
from seq2seq.app.plain import to_plain
from seq2seq.app.reading import Read
from seq2seq.app.revision import own_revision, revision
from seq2seq.app.runtime import thread_count
from seq2seq.core.module import named_leaves
from seq2seq.core.skeleton import describe
from seq2seq.data import Dropping
from seq2seq.data.packed import is_packed
from seq2seq.training import Fingerprint, machine

_READING, _IDS, _SEED = "reading.", ("data", "dev data"), "training.seed"
_FOLDER, _OURS = "git revision", "seq2seq git revision"
_OPTIONS = ("format", "next_sentence", "split", "skip_bad", "max_line", "max_length", "max_ratio", "deduplicate")
_FILES = 100  # of more only one hash is kept
_BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class RunFingerprint(Fingerprint):
    """A fingerprint whose names under `reading.` decide nothing, but are told instead of the ids that they made.

    Attributes:
        defaults: what names that a run of an older version lacks had then: options that did not exist.

    Example:
        >>> old = {"data": "9f2c", "reading.max_length": "1000", "reading.split": "line"}
        >>> new = {"data": "7b1a", "reading.max_length": "4", "reading.split": "line"}
        >>> RunFingerprint(new).check(Fingerprint(old))
        Traceback (most recent call last):
        seq2seq.errors.ResumeError: this is not the run that was saved: reading.max_length was 1000 and is now 4; \
resume with what the run began with, or begin a new run.
        >>> RunFingerprint(new | {"data": "9f2c"}).check(Fingerprint(old))
    """

    defaults: Mapping[str, str] = field(default_factory=dict)

    def check(self, saved: Fingerprint) -> None:
        """Compare with that of a checkpoint.

        Raises:
            ResumeError: what decides differs; says in what.
        """
        (was, was_read), (now, now_read) = _parted({**self.defaults, **saved.content}), _parted(self.content)
        explained = was.get(_SEED) != now.get(_SEED) or was_read != now_read
        explained = explained and bool(was_read)  # which runs of older versions have not
        if explained and any(was.get(name) != now.get(name) for name in _IDS):
            was, now = ({name: one[name] for name in one if name not in _IDS} for one in (was, now))
            was, now = was | was_read, now | now_read
        Fingerprint(now).check(Fingerprint(was))


def _parted(content: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What decides, and what only explains."""
    explains = {name: value for name, value in content.items() if name.startswith(_READING)}
    return {name: value for name, value in content.items() if name not in (*explains, _FOLDER)}, explains


def fingerprint(
    read: Read, data: str, dev: str, options: TrainOptions[Any], model: Any, user_classes: Mapping[str, str]
) -> RunFingerprint:
    """What a resume compares.

    Args:
        read: the pairs.
        data: SHA-256 of their ids.
        dev: the same of those to measure on.
        options: the options, resolved.
        model: the model that training begins with.
        user_classes: the hash of the file of each class of the user's, by its name.
    """
    content, defaults = {"data": data, "dev data": dev, "batch_tokens": str(options.batch_tokens)}, dict[str, str]()
    if options.from_model is not None:
        # What it is, not where it lies; its weights are in the checkpoint, as they are by now.
        shapes = {name: leaf.shape for name, leaf in named_leaves(model).items()}
        what = json.dumps([describe(model, defaults=False), shapes], sort_keys=True)
        content["from"] = f"a model of SHA-256 {sha256(what.encode()).hexdigest()[:12]}"
    else:
        content["model.type"] = _nameless(options.model_type)
        content |= {f"model.{name}": _nameless(str(value)) for name, value in to_plain(options.model).items()}
        alike = [
            f"model.{one.name}" for one in fields(options.model) if getattr(options.model, one.name) == one.default
        ]
        defaults |= {name: content[name] for name in alike if name in content}
    if options.dropping != Dropping():  # named only where there is any: runs that began without it still resume
        content["dropping"] = str(options.dropping)
    if options.piece_dropout:
        content["piece dropout"] = str(options.piece_dropout)
    content |= {f"source of {name}": digest for name, digest in user_classes.items()}
    content |= {f"{_READING}{name}": value for name, value in _reading(read, options)}
    versions = machine() | {"threads": str(thread_count())}
    content |= _if_any(_FOLDER, revision(Path()))
    return RunFingerprint(content, versions | _if_any(_OURS, own_revision()), defaults)


def revisions(told: Fingerprint) -> dict[str, str]:
    """The git revisions in a fingerprint: of the folder in which the command began, and of seq2seq."""
    return _if_any("folder", told.content.get(_FOLDER)) | _if_any("seq2seq", told.machine.get(_OURS))


def _if_any(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


def _nameless(value: str) -> str:
    """A class of the user's without its folder: what is in the file is compared, not where it lies."""
    return Path(value).name if ".py:" in value else value


def _reading(read: Read, options: TrainOptions[Any]) -> Iterator[tuple[str, str]]:
    """How the ids came about: options, numbers of pairs, and the files."""
    yield from ((name, str(getattr(options, name))) for name in _OPTIONS)
    yield "pairs to train on", str(len(read.corpus.pairs))
    yield "pairs to measure on", str(len(read.dev))
    for name in ("pairs", "source", "target", "dev", "dev_source", "dev_target"):
        found = getattr(options, name) or ()
        paths = (found,) if isinstance(found, str) else found
        files = [_what_is_in(Path(path)) for path in paths]
        if len(files) > _FILES:
            files = [f"{len(files):,} files, SHA-256 {sha256(json.dumps(files).encode()).hexdigest()[:12]}"]
        for number, file in enumerate(files, 1):
            yield f"{name}{f' {number}' * (len(files) > 1)}", file


def _what_is_in(path: Path) -> str:
    """A file by its name, its lines and its hash, in one pass."""
    digest, lines = sha256(), 0
    if not path.is_file():
        return f"{path.name} (no file that could be read twice)"
    try:
        with path.open("rb") as file:
            packed = path.suffix == ".parquet" or is_packed(file.read(4))
            file.seek(0)
            while block := file.read(_BLOCK):
                digest.update(block)
                lines += block.count(b"\n")
    except OSError as error:  # gone since it was read
        return f"{path.name} ({error.strerror or error})"
    return f"{path.name} ({'' if packed else f'{lines:,} lines, '}SHA-256 {digest.hexdigest()[:12]})"
