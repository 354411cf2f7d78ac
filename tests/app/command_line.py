"""The command line in this process, and small runs."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq2seq.app.cli import main
from seq2seq.app.commands.train import options_from
from seq2seq.app.prepare import prepare, run_folder

TINY = ("--model.hidden", "8", "--model.embedding", "4", "--log-every", "1")
LAST = 4
"""The last update of the shared run."""


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Stdin:
    """Standard input that is not typed."""

    def __init__(self, content: bytes):
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


Run = Callable[..., Ran]


def exit_code(words: Sequence[object]) -> int:
    try:
        return main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)


def words(count: int, seed: int = 0) -> list[str]:
    """Distinct words of three letters, all of which occur."""
    letters = "abcdef"
    rng = random.Random(seed)
    found = ["abc", "def"]
    while len(found) < count:
        word = "".join(rng.choices(letters, k=3))
        if word not in found:
            found.append(word)
    return found


def write_pairs(path: Path, count: int = 40) -> Path:
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words(count)))
    return path


def job(*words: object):
    """What `train` would begin with: nothing is compiled."""
    options = options_from(["--out", "run", *TINY, *map(str, words)])
    with run_folder(options):
        return prepare(options)


def report(made) -> str:
    return "\n".join(line for _, line in made.report)


def weights(run):
    return np.load(max(run.glob("checkpoints/*.npz")))


def assert_same_weights(one, other):
    with weights(one) as a, weights(other) as b:
        names = [name for name in a.files if name.startswith("state/")]
        assert names and set(a.files) == set(b.files)
        for name in names:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
