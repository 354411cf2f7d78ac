"""`seq2seq inspect MODEL`: what is in the file, without the user's classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from seq2seq.app.arguments import ModelPath, parse, refuse_more_models
from seq2seq.app.hypothesis import as_json
from seq2seq.app.text_model import model_file
from seq2seq.core import archive
from seq2seq.data import Tokenizer


@dataclass(frozen=True)
class InspectOptions:
    """What is in a model file: where it comes from, its configuration, its tokenizers and its arrays."""

    model: ModelPath
    """A model.npz, or the folder of a run."""
    json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """One JSON object."""


def main(arguments: Sequence[str]) -> int:
    """Inspect."""
    refuse_more_models("inspect", [word for word in arguments if not word.startswith("-")][1:])
    options = parse(InspectOptions, "inspect", arguments)
    path = model_file(options.model)
    found = archive.read(path)
    if "provenance" in found.header:
        found.expect(path, {"provenance": dict})
    if options.json:
        shapes = {name: [str(array.dtype), *array.shape] for name, array in found.arrays.items()}
        told = {"format": archive.FORMAT, **found.header, "arrays": shapes, "config": found.texts.get("config", "")}
        print(json.dumps(as_json(told)))
        return 0
    total = sum(array.size for array in found.arrays.values())
    size = sum(array.nbytes for array in found.arrays.values())
    print(f"{path}: {total:,} parameters in {len(found.arrays)} arrays, {size / 2**20:.1f} MiB")
    for name, value in found.header.get("provenance", {}).items():
        print(f"{name:<16}{_flat(value)}")
    for side in ("source", "target"):
        if text := found.texts.get(f"{side}_tokenizer"):
            tokenizer = Tokenizer.from_json(text)
            print(f"{side + ' tokens':<16}{tokenizer.rule}, {tokenizer.size:,} different")
    print(f"\n{found.texts.get('config', '')}")
    for name, array in found.arrays.items():
        print(f"{name:<48}{array.dtype}{list(array.shape)}")
    return 0


def _flat(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items()) or "-"
    return f"{value:,}" if isinstance(value, int) else value


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
