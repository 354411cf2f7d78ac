"""Do replies listen? The 2015 program's complaint and its advice (clauses, reversed sources), measured on the KJV.

    python -m benchmarks.replies --jobs 2 --out .bench/replies

trains every cell of {clause, sentence} x {forward, reversed} x {attention, none}, about three minutes each on one
core, and verses made to listen, about half an hour. Each is one `seq2seq train` command, which is printed; then
`seq2seq evaluate --listening` on pairs of whole books that no training pair comes from, with plain beam search; the
models of verses with --mmi and as an ensemble too. What ends a run is its number of updates, not the
clock, so that what else the machine does changes nothing. A cell that is finished stands in OUT/results.jsonl and is
not run again; one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby, product
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from benchmarks.commands import seq2seq, share_cores
from benchmarks.series import Series
from benchmarks.settings import Settings
from benchmarks.table import Table, Value
from seq2seq.app.listening import blocks, first
from seq2seq.data import Corpus, Pair, hold_out
from seq2seq.data.examples import KJV_HELD_OUT, kjv
from seq2seq.data.sentences import next_pairs, split_text

Unit: TypeAlias = Literal["clause", "sentence", "verse"]
KJV_TEST = ("Ecclesiastes", "Hosea", "Amos", "Romans", "Galatians")
"""Held out whole, for the numbers of the table; KJV_HELD_OUT are the dev pairs that choose among checkpoints."""
COMMON = [
    *("--metric", "loss_nats_per_token", "--patience", "None", "--evaluate-every", "1000"),
    *("--batch-tokens", "1024", "--source-dropout", "0.1"),
    *("--model.cell", "gru", "--model.hidden", "256", "--model.no-input-feeding", "--model.label-smoothing", "0"),
    *("--model.dropout", "0.1", "--optimizer.warmup-updates", "200"),
]
"""Of every cell."""
SEARCH = ["--no-repeat-ngram", "3", "--max-length", "50"]
MMI = ["--mmi", "1", "--candidates", "20", "--groups", "10", "--diversity", "1"]
_READING = {
    "forward": ["--model.no-bidirectional"],
    "reversed": ["--model.no-bidirectional", "--model.reverse-source"],
    "both ways": [],
}
_ATTENTION = {"attention": ["--model.attention", "general"], "none": ["--model.attention", "none"]}
_PLAIN = [
    *("--source-tokens", "word", "--target-tokens", "word", "--vocabulary", "4000", "--max-length", "80"),
    *("--model.tied", "--model.embedding", "256"),
    *("--optimizer.schedule", "cosine", "--optimizer.learning-rate", "0.002", "--moving-average", "0"),
]
# Pieces, not words: all unknown words are one token to a decoder that copies, so that one is taken for any other.
_LISTENING = [
    *("--source-tokens", "bpe", "--target-tokens", "bpe", "--vocabulary", "8000", "--max-length", "120"),
    *("--model.embedding", "128", "--model.copy", "--target-dropout", "0.3"),
    *("--optimizer.schedule", "constant", "--optimizer.learning-rate", "0.001"),
]
_TOKEN = re.compile(r"[\w'-]+|[^\w\s]")


class Size(NamedTuple):
    """How long a cell is trained, and on how much it is measured.

    Attributes:
        updates: of training.
        pairs: of the test books, evenly spread, that it replies to.
        items: so many of these for what costs 100 scores each.
    """

    updates: int
    pairs: int
    items: int


GRID, VERSES = Size(1000, 1000, 200), Size(16000, 1000, 1000)


class Cell(NamedTuple):
    """One row of the table."""

    unit: Unit
    reading: str
    attention: str

    def __str__(self) -> str:
        return ", ".join([*self, *["made to listen"] * self.listening])

    @property
    def listening(self) -> bool:
        """Whether everything is done that makes the decoder listen: copying, and words that it must guess without."""
        return self.unit == "verse"

    def options(self) -> list[str]:
        """Of its `seq2seq train`."""
        more = _LISTENING if self.listening else _PLAIN
        return [*COMMON, *_READING[self.reading], *_ATTENTION[self.attention], *more]


class Study(NamedTuple):
    """What to run, and where: cells of these units, each with every seed, so many at a time."""

    out: Path
    seeds: Sequence[int]
    units: Sequence[Unit]
    grid: Size = GRID
    verses: Size = VERSES
    jobs: int = 1

    def size(self, unit: Unit) -> Size:
        """Of the cells of a unit."""
        return self.verses if unit == "verse" else self.grid


def cells(units: Sequence[Unit]) -> list[Cell]:
    """All cells.

    Example:
        >>> [str(cell) for cell in cells(["verse"])]
        ['verse, both ways, attention, made to listen']
        >>> [str(cell) for cell in cells(["clause"])]  # doctest: +ELLIPSIS
        ['clause, forward, attention', 'clause, forward, none', ... 'clause, reversed, none']
    """
    grid = [Cell(*names) for names in product(units, ("forward", "reversed"), _ATTENTION) if names[0] != "verse"]
    return [Cell("verse", "both ways", "attention")] * ("verse" in units) + grid


def study(plan: Study, table: Table) -> None:
    """Run what is not yet run, then print the table of all."""
    series = Series(plan.out, table, "replies")
    overlap = {unit: write(plan, unit) for unit in plan.units}
    every = list(product(plan.seeds, cells(plan.units)))
    with ThreadPoolExecutor(plan.jobs) as pool:
        found = list(pool.map(lambda one: _cell(plan, series, one[1], [one[0]]), every))
    for cell in cells(plan.units):
        rows = [row for (_, of), row in zip(every, found, strict=True) if of == cell and row is not None]
        if rows:
            table.row("replies", str(cell), _row(rows, overlap[cell.unit]))
        if cell.listening and len(rows) == len(plan.seeds) > 1 and (row := _cell(plan, series, cell, plan.seeds)):
            table.row("replies", f"{cell}, ensemble", _row([row], overlap[cell.unit]))


def _cell(plan: Study, series: Series, cell: Cell, seeds: Sequence[int]) -> dict[str, Any] | None:
    """The row of a cell with a seed, or of the ensemble of several."""
    key = {"cell": str(cell), "seeds": list(seeds), **plan.size(cell.unit)._asdict()}
    return series.cell(key, partial(measured, plan, cell, seeds, series))


def measured(plan: Study, cell: Cell, seeds: Sequence[int], series: Series) -> dict[str, Any]:
    """Train, and measure plain beam search and re-ranking: the numbers of `evaluate --json` twice, and the commands."""
    size = plan.size(cell.unit)
    files = {split: plan.out / f"{cell.unit}.{split}.jsonl" for split in ("train", "dev", "test")}
    runs = [series.folder(str(cell), size.updates, seed) for seed in seeds]
    words = [files["train"], "--dev", files["dev"], *cell.options()]
    limits = ["--updates", size.updates]
    told = [series.train(run, [*words, "--seed", seed], limits) for run, seed in zip(runs, seeds, strict=True)]
    asked = ["evaluate", *runs, files["test"], "--json", "--listening", "--distractors-from", "document", *SEARCH]
    asked += ["--listening-items", size.items]
    ways = {"beam": []} | ({"mmi": MMI} if cell.listening and len(runs) == 1 else {})
    return {"commands": told, **{how: json.loads(seq2seq(*asked, *options)) for how, options in ways.items()}}


def write(plan: Study, unit: Unit) -> float:
    """The files of a unit; how often tf-idf ranks the true target of a test pair first of 100, in percent."""
    corpus = Corpus(list(_pairs(unit)), format="next sentence")
    train, held, _ = hold_out(corpus, documents=(*KJV_HELD_OUT, *KJV_TEST))
    pairs = plan.size(unit).pairs
    # Every dev evaluation generates too: few pairs, so that the time goes into training.
    dev = thinned([pair for pair in held if pair.document in KJV_HELD_OUT], min(200, pairs))
    test = thinned([pair for pair in held if pair.document in KJV_TEST], pairs)
    for split, pairs in (("train", train), ("dev", dev), ("test", test)):
        lines = (json.dumps(pair._asdict()) + "\n" for pair in pairs)
        (plan.out / f"{unit}.{split}.jsonl").write_text("".join(lines), "utf-8")
    return tf_idf_recall(train, test)


def _pairs(unit: Unit) -> Iterable[Pair]:
    """Each unit of a chapter with the next, in lower case, words and punctuation parted by spaces."""
    for (book, _), chapter in groupby(kjv(), key=lambda verse: verse[:2]):
        verses = [verse.text.lower() for verse in chapter]
        units = verses if unit == "verse" else split_text(" ".join(verses), unit)
        yield from next_pairs((" ".join(_TOKEN.findall(text)) for text in units), book)


def thinned(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """At most so many, evenly spread, every document with its share."""
    return [pairs[int(n)] for n in np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round()]


def tf_idf_recall(train: Iterable[Pair], test: Sequence[Pair]) -> float:
    """Recall at 1 of 100 by the cosine of tf * log(N / df) of source and target, N and df over training targets."""
    words = [re.findall(r"[\w']+", pair.target) for pair in train]
    ids = {word: n for n, word in enumerate(sorted({word for text in words for word in text}))}
    counts = np.zeros(len(ids))
    for text in words:
        counts[[ids[word] for word in set(text)]] += 1

    def vectors(texts: Iterable[str]) -> np.ndarray:
        rows = []
        for text in texts:
            known = [ids[word] for word in re.findall(r"[\w']+", text) if word in ids]
            rows.append(np.bincount(known, minlength=len(ids)) * np.log(len(words) / counts))
        table = np.array(rows, np.float32)
        return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)

    similar = vectors(pair.source for pair in test) @ vectors(pair.target for pair in test).T
    sources, targets, documents = zip(*test, strict=True)
    found = blocks(targets, sources, documents, len(test), seed=0)
    return first("x", [similar[np.ix_(block, block)] for block in found]).get("x_at_1_of_100_percent", float("nan"))


def _row(rows: list[dict[str, Any]], overlap: float) -> dict[str, Value]:
    """Means over the seeds; the interval is from the lowest end of a seed's interval to the highest."""

    def over(how: str, name: str, of: Callable[[list[float]], float] = fmean) -> Value:
        values = [row[how][name] for row in rows if name in row.get(how, {})]
        return float(of(values)) if values else None

    return {
        "seeds": len(rows),
        "loss": over("beam", "loss_nats_per_token"),
        "nats/token": over("beam", "listening_nats_per_token"),
        "low": over("beam", "listening_low_nats_per_token", min),
        "high": over("beam", "listening_high_nats_per_token", max),
        "recall@1/100 %": over("beam", "recall_at_1_of_100_percent"),
        "by PMI %": over("beam", "pmi_recall_at_1_of_100_percent"),
        "tf-idf %": overlap,
        "unique %": over("beam", "unique_outputs_percent"),
        "mmi unique %": over("mmi", "unique_outputs_percent"),
        "own %": over("beam", "own_source_at_1_of_100_percent"),
        "mmi own %": over("mmi", "own_source_at_1_of_100_percent"),
    }


def run(settings: Settings, table: Table) -> None:
    """As a part of `python -m benchmarks`: all cells, or with --quick one as short as can be."""
    if settings.quick:
        study(Study(settings.work / "replies", [1], ["verse"], verses=Size(20, 120, 100)), table)
        return
    study(Study(Path(".bench/replies"), [1, 2, 3], get_args(Unit)), table)


def main() -> None:
    """The study by itself."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replies", description=__doc__)
    parser.add_argument("--seeds", default="1,2,3", help="with commas between (default 1,2,3)")
    parser.add_argument("--units", default=",".join(get_args(Unit)), help="some of clause,sentence,verse")
    parser.add_argument("--jobs", type=int, default=1, help="so many cells side by side, which share the cores")
    parser.add_argument("--out", type=Path, default=Path(".bench/replies"), help="where runs and results stay")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    units = options.units.split(",")
    if unknown := [unit for unit in units if unit not in get_args(Unit)]:
        parser.error(f"--units {unknown[0]}: wanted some of {', '.join(get_args(Unit))}")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    share_cores(options.jobs)
    study(Study(options.out, seeds, units, jobs=options.jobs), Table(options.json))


if __name__ == "__main__":
    main()
