"""Decoding: greedy and beam 5, 64 words at once and one at a time, ours and the peers', in rounds that alternate.

A time is from the model loaded to the outputs written, as in the kit; ours is warm, and what the first call took,
compiling included, stands beside it.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args, get_type_hints

from benchmarks import corpora
from benchmarks.kit import KitError, phase
from benchmarks.ours import JOBS, Training
from benchmarks.settings import Settings
from benchmarks.table import Table, Value
from seq2seq.app.decoding import Decoding
from seq2seq.app.text_model import TextModel

_BEAMS = {"greedy": 1, "beam 5": 5}
_UPDATES = 150  # of ours and of each peer before it decodes: enough that outputs are as long as they should be
_SINGLES = 100  # words that are decoded one at a time


@dataclass
class Found:
    """What was measured of one search of one contender.

    Attributes:
        seconds: of each round.
        wrong: percent of words.
        first: seconds of the first call, compiling included.
    """

    seconds: list[float] = field(default_factory=list)
    wrong: float = 0.0
    first: float | None = None


def run(settings: Settings, table: Table) -> None:
    """A row for each search of each contender, at batch 64 and at batch 1."""
    updates = 12 if settings.quick else _UPDATES
    training = Training(JOBS["g2p"], settings.data)
    training.updates(updates)
    model = training.text_model()
    test = corpora.read_tsv(settings.data / "g2p" / "test.tsv")[: 64 if settings.quick else None]
    if settings.kit is None:
        table.note("decoding", f"no peers: {settings.why_no_kit}")
    for batch, count in ((64, len(test)), (1, min(16 if settings.quick else _SINGLES, len(test)))):
        found: dict[tuple[str, str], Found] = defaultdict(Found)
        contenders = {"ours": partial(_ours, model, test[:count], batch, found)}
        for name in settings.peers:
            contenders[name] = partial(_peer, name, settings, (batch, count, updates), found)
        contenders["ours"]()  # compiles
        for key in list(found):
            found[key] = replace(found[key], first=found[key].seconds[0], seconds=[])
        _alternate(contenders, settings.process_rounds, table)
        for (search, name), its in found.items():
            table.row("decoding", f"{search}, batch {batch}, {name}", _row(its, found, search, count))


def _alternate(contenders: dict[str, Callable[[], None]], rounds: int, table: Table) -> None:
    for number in range(rounds):
        for name in list(contenders) if number % 2 == 0 else reversed(list(contenders)):
            try:
                contenders[name]()
            except KitError as error:
                table.note("decoding", f"{name} left out of a round: {error}")


def _ours(model: TextModel, test: list[corpora.Pair], batch: int, found: dict[tuple[str, str], Found]) -> None:
    """One round of ours: every search, written out."""
    sources, targets = ([" ".join(pair[side]) for pair in test] for side in (0, 1))
    for search, decoding in variants(batch).items():
        began = time.perf_counter()
        if batch == 1:
            outputs = [model.generate([source], decoding)[0] for source in sources]
        else:
            outputs = model.generate(sources, decoding)
        with tempfile.TemporaryFile("w", encoding="utf-8") as file:
            file.writelines(f"{output}\n" for output in outputs)
        its = found[search, "ours"]
        its.seconds.append(time.perf_counter() - began)
        its.wrong = 100 * sum(a != b for a, b in zip(outputs, targets, strict=True)) / len(targets)


def _peer(name: str, settings: Settings, sizes: tuple[int, int, int], found: dict[tuple[str, str], Found]) -> None:
    """One round of a peer: its driver trains, and decodes behind."""
    batch, count, updates = sizes
    kit: Any = settings.kit
    data = corpora.cut(settings.data, "g2p", settings.work / f"test{count}", dev=min(count, 16), test=count)
    results = kit.run(name, data, "g2p", "--cell", "lstm", "--updates", updates, "--decode-batch", batch)
    for search, beam in _BEAMS.items():
        result = phase(results, "decode-test", beam)
        its = found[search, name]
        its.seconds.append(count / float(result["sent_per_s"]))
        its.wrong = float(result["wer"])


def _row(its: Found, found: dict[tuple[str, str], Found], search: str, count: int) -> dict[str, Value]:
    """Ratios and differences are to our plain search of the same kind."""
    seconds = statistics.median(its.seconds)
    plain = found[next(beam for beam in _BEAMS if search.startswith(beam)), "ours"]
    return {
        "rounds": len(its.seconds),
        "words/s": count / seconds,
        "ms/word": 1000 * seconds / count,
        "own/ours time": seconds / statistics.median(plain.seconds),
        "wrong %": its.wrong,
        "wrong - ours": its.wrong - plain.wrong,
        "first s": its.first,
    }


def variants(batch: int) -> dict[str, Decoding]:
    """Every search of ours by name: the plain ones, and each faster way that `Decoding` has an option for."""
    found: dict[str, Decoding] = {}
    for search, beam in _BEAMS.items():
        plain = Decoding(beam=beam, batch=batch)
        found[search] = plain
        for name, value in _faster():
            change: dict[str, Any] = {name: value}
            found[f"{search}, {name} {value}"] = replace(plain, **change)
    return found


def _faster() -> list[tuple[str, Any]]:
    """Options of `Decoding` that trade exactness for speed, where this version has them."""
    fields = {f.name: f for f in dataclasses.fields(Decoding)}
    ways: list[tuple[str, Any]] = []
    if "int8" in fields:
        ways.append(("int8", True))
    if "precision" in fields:
        choices = get_args(get_type_hints(Decoding)["precision"])
        ways += [
            ("precision", value) for value in choices if isinstance(value, str) and value != fields["precision"].default
        ]
    if "shortlist" in fields:
        ways.append(("shortlist", 20))  # of the 39 phonemes
    return ways
