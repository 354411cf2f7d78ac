"""Spoil a model file in thousands of ways: each must be refused by an error of ours, or load what was in it.

    python -m benchmarks.mutations MODEL --count 10000

Bits are flipped, bytes overwritten, ranges cut, doubled, zeroed, exchanged, members of the zip renamed or dropped, and
its JSON edited; if that is signed anew, it may also load as another model. Each file is loaded by a process of its own,
which may take twice the memory that the sound file takes. A file that goes wrong is kept and told.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import random
import re
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.table import Table
from seq2seq.app.text_model import TextModel
from seq2seq.core.module import named_leaves
from seq2seq.data import Tokenizer
from seq2seq.errors import Seq2SeqError

_STATUS = Path("/proc/self/status")
_PATIENCE = 120
"""Seconds that a file may take."""


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


def resigned(data: bytes, rng: random.Random) -> bytes:
    """The header, or a tokenizer, says something else, and every checksum is right: only its sense can be wrong."""
    with np.load(io.BytesIO(data)) as file:
        members = {name: file[name] for name in file.files}
    header = json.loads(members["header"].tobytes())
    if rng.random() < 0.3:
        name = rng.choice(sorted(header["texts"]))
        text = _respelt(members[f"text/{name}"].tobytes(), rng)
        members[f"text/{name}"] = np.frombuffer(text, np.uint8)
        header["texts"][name] = hashlib.sha256(text).hexdigest()
        return signed(members, json.dumps(header).encode())
    return signed(members, _respelt(json.dumps(header).encode(), rng))


def signed(members: Mapping[str, np.ndarray], header: bytes) -> bytes:
    """An archive of the members with this header, and the checksum that belongs to it."""
    digest = hashlib.sha256(header).hexdigest().encode()
    own = {"header": np.frombuffer(header, np.uint8), "checksum": np.frombuffer(digest, np.uint8)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, array in {**members, **own}.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    return packed.getvalue()


_NUMBERS = (True, -1, 0, 10**9, 2**70, 1e300, float("nan"))
_STRANGE = (*_NUMBERS, None, "", "x", "9", "\ud800", "deep", [], [None], {}, {"x": 1})


def _respelt(text: bytes, rng: random.Random) -> bytes:
    """A JSON text with one value another or left out, or of which nothing can be made; of no JSON, any bytes."""
    whole = rng.choice((b"", b"[]", b"{}", b"17", b"\xff", text[:-1], b"[" * 10**5, b"null"))
    try:
        value = json.loads(text)
    except ValueError:
        return whole
    places = list(_places(value))
    if not places or rng.random() < 0.1:
        return whole
    parent, key = rng.choice(places)
    if rng.random() < 0.3:
        del parent[key]
    else:
        parent[key] = rng.choice(_STRANGE)
    return json.dumps(value).replace('"deep"', "[" * 9**5 + "]" * 9**5).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value inside a JSON value: the dict or list that holds it, and its key there."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(flipped, overwritten, cut, doubled, exchanged, repacked),
    resigned,
)


def content(model: TextModel) -> str:
    """The hash of everything that a model says of itself."""
    texts = (model.source_tokenizer.to_json(), model.target_tokenizer.to_json(), model.config)
    said = json.dumps([str(model.settings), dict(model.provenance), *texts], default=str)
    digest = hashlib.sha256(said.encode())
    for name, leaf in named_leaves(model.model).items():
        digest.update(name.encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


class Found(NamedTuple):
    """What came of loading a file: the hash of its content, "refused", or what went wrong; and the most memory that it
    took, in bytes."""

    outcome: str
    took: int


def loaded(path: Path) -> Found:
    """Load the file in a new process, whose heap holds nothing of another file."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_load, args=(path, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return Found(*ours.recv()) if ours.poll(_PATIENCE) else Found(f"HANGS for {_PATIENCE} s", 0)
    except EOFError:
        return Found("KILLED THE INTERPRETER", 0)
    finally:
        process.kill()
        process.join()


def _load(path: Path, pipe: Connection) -> None:
    jax.numpy.asarray(np.zeros(1, np.float32))  # what JAX takes for itself, and then the tokenizers, is no file's
    Tokenizer.from_json(Tokenizer.train("word", ["a"]).to_json())
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _memory("VmRSS")
    model = None
    try:
        model, outcome = TextModel.load(path), ""
    except Seq2SeqError as error:
        outcome = "refused" if str(path) in str(error) else f"REFUSED WITHOUT ITS NAME: {error}"
    except BaseException as error:  # whatever it is, it is not ours
        outcome = f"UNCAUGHT {type(error).__name__}: {error}"
    took = _memory("VmHWM") - before
    pipe.send((content(model) if model else outcome, took))


def _memory(name: str) -> int:
    """A line of this process's status in bytes: VmRSS, or VmHWM, the most since it was last reset."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def judged(found: Found, sound: Found, another: bool) -> str:
    """An outcome beside that of the sound file, in capitals if it is wrong; `another` model may be right.

    Example:
        >>> judged(Found("refused", 30), Found("9f2c", 10), another=False)
        'TAKES 3.0 times the memory: refused'
        >>> judged(Found("77ab", 20), Found("9f2c", 10), another=True)
        'loads another'
    """
    outcome = found.outcome
    if _is_hash(outcome):
        different = "loads another" if another else "LOADS SOMETHING ELSE"
        outcome = "loads the same" if outcome == sound.outcome else different
    if found.took > 2 * sound.took:
        outcome = f"TAKES {found.took / sound.took:.1f} times the memory: {outcome}"
    return outcome


def _is_hash(outcome: str) -> bool:
    return re.fullmatch("[0-9a-f]+", outcome) is not None


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
    data, table, sound = options.model.read_bytes(), Table(options.json), loaded(options.model)
    if not _is_hash(sound.outcome):
        parser.error(f"{options.model} is not sound: {sound.outcome}")
    outcomes: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}
    most, path = 0, options.out / "spoilt.npz"
    for seed in range(options.seed, options.seed + options.count):
        rng = random.Random(seed)
        kind = rng.choice(KINDS)
        path.write_bytes(kind(data, rng))
        found = loaded(path)
        outcome = judged(found, sound, another=kind is resigned)
        most = max(most, found.took)
        wrong = outcome[:2].isupper()
        outcomes[kind.__name__]["wrong" if wrong else outcome] += 1
        if wrong:
            path.rename(options.out / f"seed-{seed}.npz")
            table.note("mutations", f"seed {seed}, {kind.__name__}: {outcome[:200]}")
    columns = ("refused", "loads the same", "loads another", "wrong")
    for name, counted in outcomes.items():
        table.row("mutations", name, {"files": counted.total()} | {column: counted[column] for column in columns})
    memory = {"MiB": most / 2**20, "times": most / sound.took, "sound MiB": sound.took / 2**20}
    table.row("mutations, memory", "the most for one file / the sound one", memory)
    sys.exit(1 if any(counted["wrong"] for counted in outcomes.values()) else 0)


if __name__ == "__main__":
    main()
