"""What a teacher says to its sources, kept as it comes: a command that was stopped or killed goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from seq2seq.app.decoding import Decoding
from seq2seq.app.meter import Meter
from seq2seq.app.partial_file import PartialFile, skip
from seq2seq.app.preflight import render
from seq2seq.app.runtime import thread_count
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import say
from seq2seq.core.precision import resolve
from seq2seq.data import Pair
from seq2seq.errors import ResumeError
from seq2seq.training.checkpoint import Fingerprint, machine

_CHUNK = 2048
_NAME = "taught.jsonl"


@dataclass(frozen=True)
class Teacher:
    """A model, or an ensemble, whose outputs a folder keeps until it is told to forget them.

    Attributes:
        model: what speaks.
        decoding: how.
        identity: what says which model it is.
        folder: where its outputs are kept.
        usable: whether a pair is fit to be taught; a teacher of bytes may write what is no text, or no line can hold.
    """

    model: TextModel
    decoding: Decoding
    identity: str
    folder: Path
    usable: Callable[[Pair], bool]

    def lessons(self, sources: Sequence[str]) -> list[Pair]:
        """Each source with the output, where that has an end and is usable; says how many are left out.

        Raises:
            ResumeError: the folder keeps outputs of another teacher, or to other sources.
        """
        with self._kept() as kept:
            self._speak(sources, kept)
        said = list(_read(kept.partial))
        ended = (Pair(source, one.text) for source, one in zip(sources, said, strict=True) if one.finished)
        found = [pair for pair in ended if pair.target and self.usable(pair)]
        cut_off = sum(not one.finished for one in said)
        empty = len(sources) - len(found) - cut_off
        told = f"{len(found):,} outputs to learn from; left out: {cut_off:,} without an end, {empty:,} empty or broken"
        say(render([("teacher", told)]))
        return found

    @contextmanager
    def _kept(self) -> Iterator[PartialFile]:
        """What the folder keeps, open to add to; an error of it says what can be done."""
        content = {"the teacher": self.identity, "--teacher-beam": str(self.decoding.beam)}
        precision = resolve(self.decoding.precision)
        versions = machine() | {"threads": str(thread_count()), "precision": precision}
        try:
            kept = PartialFile(self.folder / _NAME, Fingerprint(content, versions), resume=True)
            if kept.warning:
                say(f"warning: {kept.warning}")
            try:
                yield kept
            finally:
                kept.close()
        except ResumeError as error:
            raise ResumeError(f"{self.folder} has outputs of a teacher whose command did not end: {error}") from None

    def _speak(self, sources: Sequence[str], kept: PartialFile) -> None:
        """Ask for all outputs that are not kept yet, window by window."""
        digest = skip((_line(source) for source in sources), kept.written, "what the teacher is asked", kept.cure)
        if began := kept.written.lines:
            say(render([("teacher", f"{began:,} of {len(sources):,} outputs are there already")]))
        try:
            with Meter("sources", len(sources)) as meter:
                for start in range(began, len(sources), _CHUNK):
                    chunk = sources[start : start + _CHUNK]
                    best = [several[0] for several in self.model.hypotheses(chunk, self.decoding)]
                    content = b"".join(_line(_Said(one.text.strip(), one.finished).as_json()) for one in best)
                    for source in chunk:
                        digest.update(_line(source))
                    done = start + len(chunk)
                    kept.append(content, replace(kept.written, lines=done, input=digest.hexdigest()))
                    meter.advance(len(chunk), done)
        except KeyboardInterrupt:
            say(f"Go on: the same command again; {kept.written.lines:,} of {len(sources):,} outputs are kept.")
            raise


def forget(folder: Path) -> None:
    """Remove the outputs that a folder keeps."""
    for kept in folder.glob(f"{_NAME}.*"):
        kept.unlink()


class _Said(NamedTuple):
    """An output as a line of the file, and whether it came to its end."""

    text: str
    finished: bool

    def as_json(self) -> str:
        return json.dumps(self, ensure_ascii=False)


def _line(text: str) -> bytes:
    return f"{text}\n".encode()


def _read(file: Path) -> Iterator[_Said]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield _Said(*json.loads(line))
