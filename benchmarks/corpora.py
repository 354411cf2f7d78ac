"""The pairs of both jobs: files as the kit's make_data.py writes them, or made-up ones of the same sizes.

A folder g2p/ (letters to phonemes) or text/ (verse to next verse) holds {train,dev,test}.{tsv,src,tgt}, symbols parted
by spaces, and vocab.{src,tgt}, one symbol a line.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

Pair: TypeAlias = tuple[list[str], list[str]]

_SPLITS = ("train", "dev", "test")
_SIZES = {"g2p": (20_000, 1_000, 1_000), "text": (20_000, 500, 500)}
_TYPES = {"g2p": (26, 39), "text": (12_000, 12_000)}
_LENGTHS = {"g2p": (7.40, 6.32, 3, 20), "text": (24.40, 24.41, 8, 40)}  # mean source, mean target, least, most
_ZIPF = 1.0  # the n-th commonest word is 1/n as common as the commonest


def read_tsv(path: Path) -> list[Pair]:
    """The pairs of a file."""
    halves = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return [(source.split(), target.split()) for source, target in halves]


def read_types(path: Path) -> list[str]:
    """The symbols of a vocabulary, as they stand."""
    return path.read_text("utf-8").splitlines()


def lacking(data: Path, job: str) -> list[str]:
    """The files of a job that are not there."""
    names = [f"{split}.{kind}" for split in _SPLITS for kind in ("tsv", "src", "tgt")] + ["vocab.src", "vocab.tgt"]
    return [f"{job}/{name}" for name in names if not (data / job / name).exists()]


def write(folder: Path, splits: Mapping[str, Sequence[Pair]], types: tuple[Sequence[str], Sequence[str]]) -> None:
    """Write a job's files, for us and for the peers."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, pairs in splits.items():
        sides = [[" ".join(pair[side]) for pair in pairs] for side in (0, 1)]
        _lines(folder / f"{split}.tsv", ["\t".join(both) for both in zip(*sides, strict=True)])
        _lines(folder / f"{split}.src", sides[0])
        _lines(folder / f"{split}.tgt", sides[1])
    _lines(folder / "vocab.src", types[0])
    _lines(folder / "vocab.tgt", types[1])


def synthetic(data: Path) -> Path:
    """Made-up pairs of both jobs in `data`: as many, as long, of as many symbols as the real ones."""
    for job, types in _TYPES.items():
        names = ([f"s{n}" for n in range(types[0])], [f"t{n}" for n in range(types[1])])
        pairs = made_up(job, sum(_SIZES[job]), names)
        ends = np.cumsum(_SIZES[job])
        splits = {split: pairs[end - size : end] for split, size, end in zip(_SPLITS, _SIZES[job], ends, strict=True)}
        write(data / job, splits, names)
    return data


def made_up(job: str, count: int, types: tuple[Sequence[str], Sequence[str]]) -> list[Pair]:
    """Pairs that can be learnt a little: each source symbol has its target symbol; g2p leaves some out."""
    mean_source, mean_target, least, most = _LENGTHS[job]
    rng = np.random.default_rng(20261123)
    lengths = np.clip(rng.binomial(most, mean_source / most, count), least, most)
    chances = 1.0 / np.arange(1, len(types[0]) + 1) ** _ZIPF
    ids = rng.choice(len(types[0]), int(lengths.sum()), p=chances / chances.sum())
    kept = rng.random(len(ids)) < mean_target / mean_source
    pairs: list[Pair] = []
    for end, length in zip(np.cumsum(lengths), lengths, strict=True):
        word: list[int] = ids[end - length : end].tolist()
        heard = [n for n, keep in zip(word, kept[end - length : end], strict=True) if keep] or word[:1]
        pairs.append(([types[0][n] for n in word], [types[1][n % len(types[1])] for n in heard]))
    return pairs


def cut(data: Path, job: str, folder: Path, *, dev: int, test: int) -> Path:
    """The data again with fewer pairs to decode: the kit's drivers decode all of dev and test after training."""
    target = folder / job
    target.mkdir(parents=True, exist_ok=True)
    for name in ("train.tsv", "train.src", "train.tgt", "vocab.src", "vocab.tgt"):
        shutil.copyfile(data / job / name, target / name)
    for split, count in (("dev", dev), ("test", test)):
        for kind in ("tsv", "src", "tgt"):
            lines = (data / job / f"{split}.{kind}").read_text("utf-8").splitlines()
            _lines(target / f"{split}.{kind}", lines[:count])
    return folder


def _lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
