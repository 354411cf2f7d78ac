"""A model file whose checksums are right but whose words are not: refused, or another model, and nothing else."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import mutations
from benchmarks.mutations import Found, resigned
from seq2seq import EncoderDecoder, EncoderDecoderConfig
from seq2seq.app.text_model import TextModel, TextSettings
from seq2seq.core import archive
from seq2seq.core.archive import Archive
from seq2seq.data import Tokenizer
from seq2seq.errors import ArchiveError, ConfigError, CorruptArchiveError
from seq2seq.models.model import load_model


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    letters = Tokenizer.train("character", ["abc"])
    config = EncoderDecoderConfig(hidden=4, embedding=4)
    model = EncoderDecoder.init(jax.random.key(0), letters.size, letters.size, config)
    path = tmp_path_factory.mktemp("sound") / "model.npz"
    TextModel(model, letters, letters, provenance={"seed": 1}).save(path)
    return path


def changed(sound: Path, path: Path, name: str, value: object) -> Path:
    """The sound model with another entry in its header, signed anew."""
    found = archive.read(sound)
    archive.write(path, Archive(found.arrays, {**found.header, name: value}, found.texts))
    return path


def test_signed_anew_it_is_refused_or_another_model(sound, tmp_path):
    path, refused, count = tmp_path / "spoilt.npz", 0, 150
    for seed in range(count):
        path.write_bytes(resigned(sound.read_bytes(), random.Random(seed)))
        try:
            TextModel.load(path).settings.limit(np.array([1, 20_000]))
        except ArchiveError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert count / 2 < refused < count


@pytest.mark.parametrize(
    "settings",
    [
        *({side: length} for side in ("source_longest", "target_longest") for length in (0, -1, 10**9, 100_001)),
        *({"target_longest": length} for length in ("x", "50", None, True, 50.0, [50], {})),
        *({"format": None}, {"format": 3}, {"unknown": 1}),
    ],
    ids=str,
)
def test_text_settings_that_no_training_writes_are_corrupt(sound, tmp_path, settings):
    path = changed(sound, tmp_path / "model.npz", "text", settings)
    with pytest.raises(CorruptArchiveError, match=r"model\.npz: .*text setting"):
        TextModel.load(path)


def test_what_a_search_makes_room_for_is_bounded(sound, tmp_path):
    with pytest.raises(ConfigError, match=r"longest target has 1,000,000 tokens; wanted 1 to 100,000: --max-length"):
        TextSettings(target_longest=10**6)
    path = changed(sound, tmp_path / "model.npz", "text", {"source_longest": 1, "target_longest": 100_000})
    assert TextModel.load(path).settings.limit(np.array([1, 20_000])).tolist() == [100_000, 100_000]


@pytest.mark.parametrize("name", ["source_tokenizer", "target_tokenizer", "config"])
def test_a_text_that_is_missing_is_corrupt(sound, tmp_path, name):
    found = archive.read(sound)
    texts = {key: text for key, text in found.texts.items() if key != name}
    archive.write(tmp_path / "model.npz", Archive(found.arrays, found.header, texts))
    with pytest.raises(CorruptArchiveError, match=rf"model\.npz: .*texts/{name} is missing"):
        TextModel.load(tmp_path / "model.npz")


def test_a_name_of_a_class_without_end_is_corrupt(sound, tmp_path):
    node = {**archive.read(sound).header["model"], "class": "seq2seq" + ".x" * 1000}
    path = changed(sound, tmp_path / "model.npz", "model", node)
    with pytest.raises(CorruptArchiveError, match=r"model\.npz: .*nested too deeply"):
        load_model(path)


@pytest.mark.parametrize(
    ("outcome", "took", "wanted"),
    [("refused", 20, 0), ("5a17", 20, 0), ("refused", 21, 1), ("5a17", 21, 1), ("77ab", 1, 1), ("UNCAUGHT", 1, 1)],
)
def test_the_series_fails_for_memory_too(outcome, took, wanted, tmp_path, monkeypatch, capsys):
    found = iter([Found("5a17", 10), Found(outcome, took)])
    monkeypatch.setattr(mutations, "loaded", lambda path: next(found))
    monkeypatch.setattr(mutations, "KINDS", (mutations.flipped,))
    (tmp_path / "model.npz").write_bytes(b"whatever")
    monkeypatch.setattr(sys, "argv", ["mutations", str(tmp_path / "model.npz"), "--count", "1", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        mutations.main()
    assert end.value.code == wanted
    assert (tmp_path / "seed-0.npz").exists() == bool(wanted)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux")
def test_a_file_is_loaded_in_a_process_of_its_own(sound, tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.mutations",
        str(sound),
        "--count",
        "2",
        "--out",
        str(tmp_path),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["sound MiB"] > 0
