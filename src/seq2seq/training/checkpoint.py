"""Checkpoints: everything that a run needs to go on bit for bit, in one archive each.

A checkpoint is an archive with the leaves of the `TrainState` under `state/`, the models that a checkpoint average
still needs under `recent/`, and the progress and fingerprint as JSON in its header. `checkpoints/` keeps the newest
and the one before it. Each stands alone, so a run can go on from either.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from seq2seq.core.archive import Archive, read, reading, write
from seq2seq.core.files import make_folder
from seq2seq.core.precision import processor_features
from seq2seq.errors import ArchiveError, NewerFormatError, ResumeError, UnreadableArchiveError
from seq2seq.training.progress import Progress
from seq2seq.training.state import TrainState, fresh

_DECIDING = ("seq2seq-jax", "jax", "jaxlib", "numpy", "optax", "tokenizers", "sacrebleu", "rapidfuzz")
_HEADER = {"content": dict, "machine": dict, "progress": dict, "recent": int}


@dataclass(frozen=True)
class Fingerprint:
    """What a run rests on, as names and short texts.

    Attributes:
        content: what must be the same for a run to be the same run: the data's hash, the model's configuration.
        machine: what must be the same for it to be the same bit for bit: versions, threads.

    Example:
        >>> old = Fingerprint({"data": "9f2c", "model.hidden": "512"}, {"jax": "0.10.1"})
        >>> new = Fingerprint({"data": "9f2c", "model.hidden": "256"}, {"jax": "0.10.2"})
        >>> new.check(old)
        Traceback (most recent call last):
        seq2seq.errors.ResumeError: this is not the run that was saved: model.hidden was 512 and is now 256; \
resume with what the run began with, or begin a new run.
        >>> new.warning(old)
        'resumed, but perhaps not bit for bit: jax was 0.10.1 and is now 0.10.2.'
    """

    content: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)

    def changes(self, saved: Fingerprint) -> str:
        """In what the content differs from that of another, in one line; "" if it does not."""
        return _changes(saved.content, self.content)

    def check(self, saved: Fingerprint) -> None:
        """Compare with that of a checkpoint.

        Raises:
            ResumeError: the content differs; says in what.
        """
        if changes := self.changes(saved):
            raise ResumeError(
                f"this is not the run that was saved: {changes}; "
                "resume with what the run began with, or begin a new run."
            )

    def warning(self, saved: Fingerprint) -> str | None:
        """What of the machine differs from that of a checkpoint, in one line."""
        changes = _changes(saved.machine, self.machine)
        return f"resumed, but perhaps not bit for bit: {changes}." if changes else None


def machine() -> dict[str, str]:
    """The versions and the hardware that decide about the last bit. The threads are the caller's to add."""
    versions = {name: importlib.metadata.version(name) for name in _DECIDING}
    features = sha256(processor_features().encode()).hexdigest()[:8]  # with other ones XLA compiles other programs
    return versions | {"device": jax.devices()[0].device_kind, "processor": f"{platform.machine()} {features}"}


class Snapshot(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        state: model and optimiser.
        recent: the models of the last evaluations, oldest first, as NumPy arrays; empty without an average.
        progress: where the run stands.
        fingerprint: what it rests on.
    """

    state: TrainState
    recent: tuple[Any, ...]
    progress: Progress
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run, in `folder`."""

    folder: Path
    keep: int = 2

    def paths(self) -> list[Path]:
        """The checkpoints there are, newest first; a copy under another name is none."""
        found = [path for path in self.folder.glob("update-*.npz") if _update_of(path) >= 0]
        return sorted(found, key=_update_of, reverse=True)

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint, all of it or nothing, and only then remove those that are too old.

        Raises:
            ArchiveError: the folder cannot be written, or the disk is full.
        """
        try:
            make_folder(self.folder)
        except OSError as error:
            raise ArchiveError(f"{self.folder}: cannot be made ({error.strerror or error}).") from None
        path = self.folder / f"update-{snapshot.progress.update:09d}.npz"
        header = {
            "kind": "checkpoint",
            "progress": snapshot.progress.json(),
            "recent": len(snapshot.recent),
            "content": dict(snapshot.fingerprint.content),
            "machine": dict(snapshot.fingerprint.machine),
        }
        write(path, Archive.of({"state": snapshot.state, "recent": snapshot.recent}, header))
        # One that could not be read when the run went on from an older one is newer still, and none of the latest.
        for old in [one for one in self.paths() if one.name <= path.name][self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def load(self, like: TrainState, fingerprint: Fingerprint) -> tuple[Snapshot, list[str]]:
        """The newest good checkpoint, in the structure of `like`, and a warning for each bad one that is newer.

        What is damaged or none of ours is set aside, or it would count as the newest; what cannot be read now stays.

        Raises:
            ResumeError: there is no good checkpoint, or it is one of another run; says what differs.
            NewerFormatError: a newer version wrote the newest.
            LeafError: a checkpoint has not the leaves of `like`.
        """
        warnings: list[str] = []
        bad: list[Path] = []
        for path, found in self._read():
            said = str(found).replace(str(path), path.name)  # it is logged, and a log names no machine's folders
            if isinstance(found, UnreadableArchiveError):
                warnings.append(f"{said} The checkpoint before it is used.")
                continue
            if isinstance(found, ArchiveError):
                warnings.append(f"{said} It is set aside as .bad; the checkpoint before it is used.")
                bad.append(path)
                continue
            saved = Fingerprint(found.header["content"], found.header["machine"])
            fingerprint.check(saved)
            if warning := fingerprint.warning(saved):
                warnings.append(warning)
            snapshot = _snapshot(path, found, like, saved)
            self._tidy(bad)
            return snapshot, warnings
        cure = "leave out --resume to begin a new run"
        if (self.folder.parent / "model.npz").exists():
            cure = f"begin with its model: --from {self.folder.parent}, and another --out"
        raise ResumeError(
            f"{self.folder}: no checkpoint to resume from; {cure}."
            if not warnings
            else f"{self.folder}: no good checkpoint to resume from. {' '.join(warnings)}"
        )

    def _read(self) -> Iterator[tuple[Path, Archive | ArchiveError]]:
        for path in self.paths():
            try:
                found = read(path)
            except NewerFormatError:
                raise
            except ArchiveError as error:
                yield path, error
                continue
            if found.header.get("kind") != "checkpoint":
                raise ResumeError(f"{path}: an archive, but not a checkpoint; move it out of the folder.")
            try:
                found.expect(path, _HEADER)
            except ArchiveError as error:
                yield path, error
                continue
            yield path, found

    def _tidy(self, bad: list[Path]) -> None:
        """Set bad checkpoints aside, or they would count as the newest; remove what a killed run left half written."""
        for path in bad:
            with suppress(OSError):
                path.rename(path.with_suffix(".npz.bad"))
        with suppress(OSError):
            for path in self.folder.glob(".update-*.tmp"):
                path.unlink()


def _snapshot(path: Path, found: Archive, like: TrainState, fingerprint: Fingerprint) -> Snapshot:
    progress = Progress.of_json(found.header["progress"])
    recent = (like.model,) * min(found.header["recent"], len(found.arrays))  # more than leaves are none of ours
    with reading(path):
        tree = found.into({"state": like, "recent": recent})
    return Snapshot(fresh(tree["state"]), tuple(map(on_host, tree["recent"])), progress, fingerprint)


def on_host(tree: Any) -> Any:
    """A copy of every array in NumPy, which no later update can touch."""
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def _changes(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    names = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
    return "; ".join(f"{name} was {was.get(name, 'absent')} and is now {now.get(name, 'absent')}" for name in names)


def _update_of(path: Path) -> int:
    digits = path.stem.removeprefix("update-")
    return int(digits) if digits.isdecimal() else -1
