"""What is trained and measured for each table, and the published numbers that it stands beside.

The data are folders as the corpora's authors laid them out; none of them comes with seq2seq. A test file is measured
where it is there, after everything was chosen on dev data.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

Options = tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """One data set with one way to train on it.

    Attributes:
        name: of the row.
        train: the words after `seq2seq train`, or the other command: files and options.
        measured: the words after `seq2seq evaluate MODEL`, by what they are called: dev, test.
        minutes: of training.
        judge: the task whose runs choose, beside those of this one, among the outputs that these find; "" for none.
        command: what trains: train, or distill.
    """

    name: str
    train: tuple[str | Path, ...]
    measured: Mapping[str, tuple[str | Path, ...]]
    minutes: float
    judge: str = ""
    command: str = "train"


@dataclass(frozen=True)
class AccuracyTable:
    """A published table.

    Attributes:
        published: lines of the document: whose numbers these are.
        metric: the number of `evaluate --json` that it is about.
        tasks: what to run, given the folder of all data and one to write prepared files to.
        mean: whether the table's number is the mean over the tasks (macro).
        ensemble: whether the seeds of a task are measured together too.
    """

    published: str
    metric: str
    tasks: Callable[[Path, Path], Iterator[Task]]
    mean: bool = False
    ensemble: bool = False


def _both_ways(task: Task) -> Iterator[Task]:
    """The task, and the same right to left, whose runs may judge it."""
    judge = replace(task, name=f"{task.name} right-to-left", train=(*task.train, "--right-to-left"))
    yield replace(task, judge=judge.name)
    yield judge


def cmudict(data: Path, work: Path) -> Iterator[Task]:
    """The classic training file, from which 2,670 words are held out; some words have several pronunciations."""
    lines = (data / "cmudict_g2p" / "g014b2b.train").read_text("utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line]
    words = sorted({word for word, _ in pairs})
    held = set(random.Random(2020).sample(words, 2670))
    files = {split: work / f"cmudict.{split}.tsv" for split in ("train", "dev")}
    for split, path in files.items():
        kept = (pair for pair in pairs if (pair[0] in held) == (split == "dev"))
        path.write_text("".join(f"{word}\t{phones}\n" for word, phones in kept), "utf-8")
    measured: dict[str, tuple[str | Path, ...]] = {"dev": (files["dev"],)}
    if (test := data / "cmudict_g2p" / "g014b2b.test").exists():
        measured["test"] = (test,)
    train = (files["train"], "--dev", files["dev"], "--source-tokens", "character", "--preset", "large")
    yield from _both_ways(Task("cmudict", train, measured, 115.0))


def sigmorphon2020(data: Path, work: Path) -> Iterator[Task]:
    """All languages of SIGMORPHON 2020 task 1, with one recipe: the defaults."""
    folder = data / "sigmorphon2020_task1"
    for train in sorted((folder / "train").glob("*_train.tsv")):
        language = train.name[:3]
        dev, test = (folder / split / f"{language}_{split}.tsv" for split in ("dev", "test"))
        measured: dict[str, tuple[str | Path, ...]] = {"dev": (dev,)} | ({"test": (test,)} if test.exists() else {})
        yield Task(language, (train, "--dev", dev), measured, 8.0)


def sigmorphon2016(data: Path, work: Path) -> Iterator[Task]:
    """Inflection: lemma TAB features TAB form."""
    folder = data / "sigmorphon2016_task1"
    for language in ("german", "navajo", "turkish"):
        files = {split: folder / f"{language}-task1-{split}" for split in ("train", "dev", "test")}
        options = ("--format", "sigmorphon")
        measured = {split: (files[split], *options) for split in ("dev", "test")}
        yield from _both_ways(Task(language, (files["train"], "--dev", files["dev"], *options), measured, 20.0))


_SCAN = {"simple": 25.0, "length": 10.0, "addprim_jump": 10.0}
"""Minutes of each split: in ten the simple one is not learnt to its end; the others ask whether a model composes."""


def scan(data: Path, work: Path) -> Iterator[Task]:
    """SCAN: commands to actions. There is no dev file: some training pairs are held out."""
    for split in _SCAN:
        train, test = (data / "scan" / f"tasks_{part}_{split}.txt" for part in ("train", "test"))
        yield Task(split, (train, "--format", "scan"), {"test": (test, "--format", "scan")}, _SCAN[split])


def multi30k_ende(data: Path, work: Path) -> Iterator[Task]:
    """English to German, lower-cased Moses tokens, scored as these."""
    yield from _both_ways(_multi30k(data, "en", "de", "en-de", (), 60.0))


_EQUAL = (
    *("--source-tokens", "word", "--target-tokens", "word", "--minimum-count", "2", "--vocabulary", "10000"),
    *("--model.embedding", "256", "--model.dropout", "0.3", "--batch-pairs", "80"),
    *("--optimizer.name", "adam", "--optimizer.learning-rate", "0.001", "--optimizer.schedule", "constant"),
    *("--optimizer.clip", "1", "--optimizer.per", "token", "--model.normal", "0", "--model.uniform", "0"),
)
_CHO = ("--model.hidden", "512", "--model.output-rank", "0", "--no-deduplicate")
_PAPERS: dict[str, Options] = {
    "sutskever2014": ("--preset", "sutskever2014", *_EQUAL, "--model.hidden", "512", "--model.layers", "2"),
    "sutskever2014 forward": (
        *("--preset", "sutskever2014", *_EQUAL, "--model.hidden", "512", "--model.layers", "2"),
        "--model.no-reverse-source",
    ),
    "cho2014": ("--preset", "cho2014", *_EQUAL, *_CHO),
    "cho2014 reversed": ("--preset", "cho2014", *_EQUAL, *_CHO, "--model.reverse-source"),
    "bahdanau2015": ("--preset", "bahdanau2015", *_EQUAL, "--model.hidden", "512", "--model.encoder-hidden", "1024"),
}


def multi30k_papers(data: Path, work: Path) -> Iterator[Task]:
    """German to English: the models of three papers at one size, words, Adam; greedy, as the published row."""
    for name, options in _PAPERS.items():
        yield _multi30k(data, "de", "en", name, options, 25.0, ("--beam", "1"))


def _multi30k(
    data: Path, source: str, target: str, name: str, options: Options, minutes: float, search: Options = ()
) -> Task:
    folder = data / "multi30k" / "tok"

    def files(split: str, prefix: str = "") -> tuple[str | Path, ...]:
        words: list[str | Path] = []
        for side, language in (("source", source), ("target", target)):
            words += [f"--{prefix}{side}", folder / f"{split}.lc.norm.tok.{language}"]
        return tuple(words)

    train = (*files("train"), *files("val", "dev-"), *options)
    measured = {"dev": (*files("val"), *search), "test": (*files("test_2016_flickr"), *search)}
    return Task(name, train, measured, minutes)


TABLES: dict[str, AccuracyTable] = {
    "cmudict": AccuracyTable(
        "wrong words of the test file: g2p-seq2seq LSTM 23.3; Toshniwal and Livescu 2016, released code 20.74, ensemble"
        " of five 20.24. Ours is measured on 2,670 words held out of the training file",
        "wer_percent",
        cmudict,
        ensemble=True,
    ),
    "sigmorphon2020": AccuracyTable(
        "wrong words, macro over 15 test files: n-gram 22.00, LSTM 16.84, Transformer 17.51, winner 13.81",
        "wer_percent",
        sigmorphon2020,
        mean=True,
        ensemble=True,
    ),
    "sigmorphon2016": AccuracyTable(
        "right forms of the test files, the winner, an ensemble of five: German 95.80, Navajo 91.48, Turkish 98.93",
        "exact_match_percent",
        sigmorphon2016,
        ensemble=True,
    ),
    "scan": AccuracyTable(
        "right actions: simple 99.8; length 13.8 to 20.8; jump at most 1.2",
        "exact_match_percent",
        scan,
    ),
    "multi30k-ende": AccuracyTable(
        "BLEU of test2016: LIUM-CVC GRU 39.00, a small Transformer 41.02",
        "bleu",
        multi30k_ende,
        ensemble=True,
    ),
    "multi30k-papers": AccuracyTable(
        "BLEU of test2016, tutorial models: Sutskever's way 13.76, Cho's 20.61, Bahdanau's 28.30",
        "bleu",
        multi30k_papers,
    ),
}
