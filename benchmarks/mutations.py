"""Spoil a model file in thousands of ways: each must be refused by an error of ours, or load what was in it.

    python -m benchmarks.mutations MODEL --count 10000

Bits are flipped, bytes overwritten, ranges cut, doubled, zeroed, exchanged, members of the zip renamed or dropped,
and its JSON header edited. Files are loaded by a process of its own, whose memory is measured for each file; if it
dies, the file that killed it is kept and told.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import random
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Table
from seq2seq.app.text_model import TextModel
from seq2seq.core.module import named_leaves
from seq2seq.errors import Seq2SeqError

_STATUS = Path("/proc/self/status")


def flipped(data: bytes, rng: random.Random) -> bytes:
    """A few bits flipped."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        place = rng.randrange(len(spoilt))
        spoilt[place] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def overwritten(data: bytes, rng: random.Random) -> bytes:
    """A range of random bytes, or of one value."""
    start, length = rng.randrange(len(data)), rng.choice((1, 4, 64, 4096))
    other = rng.randbytes(length) if rng.random() < 0.5 else bytes([rng.choice((0, 255))]) * length
    return data[:start] + other + data[start + length :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end, the beginning, or a piece of the middle left out."""
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    return rng.choice((data[:a], data[a:], data[:a] + data[b:]))


def doubled(data: bytes, rng: random.Random) -> bytes:
    """A piece twice, or the whole file twice."""
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    return rng.choice((data[:b] + data[a:], data + data))


def exchanged(data: bytes, rng: random.Random) -> bytes:
    """Two pieces of one length in each other's place."""
    length = rng.choice((1, 8, 128, 1024))
    a, b = sorted(rng.randrange(max(1, len(data) - length)) for _ in range(2))
    spoilt = bytearray(data)
    spoilt[a : a + length], spoilt[b : b + length] = data[b : b + length], data[a : a + length]
    return bytes(spoilt)


def repacked(data: bytes, rng: random.Random) -> bytes:
    """A sound zip of other members: one left out, renamed, twice, of another shape, or with another header."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = [(name, file.read(name)) for name in file.namelist()]
    place = rng.randrange(len(members))
    name, content = members[place]
    match rng.randrange(5):
        case 0:
            del members[place]
        case 1:
            members[place] = (rng.choice(("../x.npy", "a" * 300 + ".npy", "\u202e.npy", name + "x")), content)
        case 2:
            members.append((name, content))
        case 3:
            members[place] = (name, _shaped(content, rng))
        case _:
            members = [(name, _edited(content, rng) if _is_text(content) else content) for name, content in members]
    packed = io.BytesIO()
    warnings.simplefilter("ignore", UserWarning)  # of the member that is there twice
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, content in members:
            file.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()


def _shaped(content: bytes, rng: random.Random) -> bytes:
    """An .npy whose header says another shape, absurd ones among them."""
    for old in (b"(", b"'<f4'", b"'|u1'"):
        if old in content[:128] and rng.random() < 0.5:
            new = {b"(": b"(99999999999, ", b"'<f4'": b"'<f8'", b"'|u1'": b"'|O'"}[old]
            return content[:128].replace(old, new, 1) + content[128:]
    return content.replace(b"False", b"True ", 1)


def _is_text(content: bytes) -> bool:
    return b"{" in content[128:140]


def _edited(content: bytes, rng: random.Random) -> bytes:
    """A JSON text with one character another."""
    place = rng.randrange(128, len(content)) if len(content) > 128 else 0
    return content[:place] + rng.choice((b"9", b"{", b'"', b"e", b"\xff")) + content[place + 1 :]


KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, overwritten, cut, doubled, exchanged, repacked)


def content(model: TextModel) -> dict[str, bytes]:
    """Everything that a model says of itself, as bytes."""
    leaves = {name: np.asarray(leaf).tobytes() for name, leaf in named_leaves(model.model).items()}
    texts = (model.source_tokenizer.to_json(), model.target_tokenizer.to_json(), model.config)
    rest = json.dumps([str(model.settings), dict(model.provenance), *texts], default=str)
    return leaves | {"rest": rest.encode()}


def memory(name: str) -> int:
    """A line of this process's status in bytes: VmRSS, or VmHWM, the most since it was last reset."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def worker(pipe: Connection, sound: str) -> None:
    """Load the files whose names come through the pipe; send back what came of each, and the memory that it took."""
    wanted = content(TextModel.load(sound))
    while path := pipe.recv():
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = memory("VmRSS")
        try:
            same = content(TextModel.load(path)) == wanted
            outcome = "loads the same" if same else "LOADS SOMETHING ELSE"
        except Seq2SeqError as error:
            outcome = "refused" if str(error).strip() else "REFUSED WITHOUT A WORD"
        except BaseException as error:  # whatever it is, it is not ours
            outcome = f"UNCAUGHT {type(error).__name__}: {error}"
        pipe.send((outcome, memory("VmHWM") - before))


def main() -> None:
    """The series."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description=__doc__)
    parser.add_argument("model", type=Path, help="a sound model.npz")
    parser.add_argument("--count", type=int, default=10_000, help="files (default 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first file; each has its own")
    parser.add_argument("--out", type=Path, default=Path(".bench/mutations"), help="where files that matter are kept")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data, table = options.model.read_bytes(), Table(options.json)
    found: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}
    most = 0
    start: Any = multiprocessing.get_context("spawn")
    pipe = process = None
    for seed in range(options.seed, options.seed + options.count):
        if process is None or not process.is_alive():
            pipe, theirs = start.Pipe()
            process = start.Process(target=worker, args=(theirs, str(options.model)), daemon=True)
            process.start()
            theirs.close()
        rng = random.Random(seed)
        kind = rng.choice(KINDS)
        path = options.out / "spoilt.npz"
        path.write_bytes(kind(data, rng))
        try:
            pipe.send(str(path))
            outcome, took = pipe.recv()
        except (EOFError, BrokenPipeError):
            outcome, took = "KILLED THE INTERPRETER", 0
            process.join()
        most = max(most, took)
        found[kind.__name__][outcome] += 1
        if outcome[:2].isupper():
            path.rename(options.out / f"seed-{seed}.npz")
            table.note("mutations", f"seed {seed}, {kind.__name__}: {outcome[:200]}")
    bad = 0
    for name, outcomes in found.items():
        wrong = sum(count for outcome, count in outcomes.items() if outcome[:2].isupper())
        bad += wrong
        fine = {outcome: outcomes[outcome] for outcome in ("refused", "loads the same")}
        table.row("mutations", name, {"files": sum(outcomes.values()), **fine, "wrong": wrong})
    table.row("mutations, memory", "the most for one file / the file", {"MiB": most / 2**20, "times": most / len(data)})
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
