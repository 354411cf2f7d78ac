from __future__ import annotations

import functools
from pathlib import Path
from typing import BinaryIO

import jax
import numpy as np
import pytest
from tiny_run import Tiny, bits

from seq2seq.core import archive
from seq2seq.core.archive import Archive, read, write
from seq2seq.errors import ArchiveError, LeafError, NewerFormatError, ResumeError
from seq2seq.training.checkpoint import Checkpoints, Fingerprint, Snapshot, machine, on_host
from seq2seq.training.optimizer import OptimizerConfig, build
from seq2seq.training.progress import Progress
from seq2seq.training.state import TrainState, begin

PRINT = Fingerprint({"data": "abc"}, {"jax": "1"})


@functools.cache
def state_of(seed: int = 0) -> TrainState:
    model = Tiny.init(seed)
    return begin(model, build(OptimizerConfig(freeze=("decoder.b",)), model))


def snapshot(update: int, recent: int = 0) -> Snapshot:
    models = tuple(on_host(Tiny.init(seed)) for seed in range(recent))
    return Snapshot(state_of(update), models, Progress(update=update, best_cost=(0.1, 0.2)), PRINT)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    saved = snapshot(7, recent=2)
    Checkpoints(tmp_path / "new" / "checkpoints").save(saved)
    found, warnings = Checkpoints(tmp_path / "new" / "checkpoints").load(state_of(1), PRINT)
    assert bits(found.state) == bits(saved.state)
    assert bits(found.recent) == bits(saved.recent)
    assert jax.tree.structure(found.state) == jax.tree.structure(saved.state)
    assert found.progress == saved.progress
    assert not warnings


def test_the_latest_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for update in (1, 20, 3, 100):
        checkpoints.save(snapshot(update))
    assert [path.name for path in checkpoints.paths()] == ["update-000000100.npz", "update-000000020.npz"]


def test_a_copy_under_another_name_is_left_alone(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    path = checkpoints.save(snapshot(1))
    path.rename(tmp_path / "update-000000001-good.npz")
    checkpoints.save(snapshot(2))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["update-000000001-good.npz", "update-000000002.npz"]
    assert [path.name for path in checkpoints.paths()] == ["update-000000002.npz"]


def cut(content: bytes) -> bytes:
    return content[:-500]


def flipped(content: bytes) -> bytes:
    return content[:300] + bytes([content[300] ^ 1]) + content[301:]


@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_bad_one_is_named_and_the_one_before_it_is_used(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(snapshot(1))
    path = checkpoints.save(snapshot(2))
    path.write_bytes(damage(path.read_bytes()))
    (tmp_path / ".update-000000003.npz.77.tmp").write_bytes(b"half")
    found, (warning,) = checkpoints.load(state_of(), PRINT)
    assert found.progress.update == 1
    assert path.name in warning
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["update-000000001.npz", "update-000000002.npz.bad"]


def headerless(path: Path) -> None:
    np.savez(path, w=np.ones(2))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def signed_nonsense(path: Path) -> None:
    write(path, Archive({}, {"kind": "checkpoint", "progress": 3}))


@pytest.mark.parametrize("spoil", [headerless, a_folder, signed_nonsense])
def test_what_cannot_be_read_as_a_checkpoint_does_not_bar_the_one_before_it(tmp_path, spoil):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(snapshot(1))
    path = checkpoints.save(snapshot(2))
    spoil(path)
    found, (warning,) = checkpoints.load(state_of(), PRINT)
    assert found.progress.update == 1
    assert path.name in warning and "\n" not in warning
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["update-000000001.npz", "update-000000002.npz.bad"]


def test_one_whose_header_lacks_something_does_not_bar_the_one_before_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for update in (1, 2):
        checkpoints.save(snapshot(update))
    newest = checkpoints.paths()[0]
    found = read(newest)
    write(newest, Archive(found.arrays, {name: value for name, value in found.header.items() if name != "recent"}))
    loaded, warnings = checkpoints.load(state_of(1), PRINT)
    assert loaded.progress.update == 1 and "recent is missing" in warnings[0]


def test_a_disk_that_cannot_read_the_newest_does_not_bar_the_one_before_it(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(snapshot(1))
    path = checkpoints.save(snapshot(2))

    def failing(file: BinaryIO) -> int:
        if file.name == str(path):
            raise OSError(5, "Input/output error")
        return path.stat().st_size

    monkeypatch.setattr(archive, "_size", failing)
    found, (warning,) = checkpoints.load(state_of(), PRINT)
    assert found.progress.update == 1
    assert path.name in warning and "Input/output error" in warning
    assert path.exists()  # it may be sound, and the disk ill for a while


def test_what_a_newer_version_wrote_is_not_set_aside(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(snapshot(1))
    monkeypatch.setattr(archive, "FORMAT", 2)
    path = checkpoints.save(snapshot(2))
    monkeypatch.setattr(archive, "FORMAT", 1)
    with pytest.raises(NewerFormatError, match=r"update-000000002\.npz: has format 2"):
        checkpoints.load(state_of(), PRINT)
    assert path.exists()


def test_without_a_good_one_there_is_no_resume(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    (tmp_path.parent / "model.npz").touch()
    with pytest.raises(ResumeError, match="no checkpoint to resume from; begin with its model: --from"):
        checkpoints.load(state_of(), PRINT)
    (tmp_path.parent / "model.npz").unlink()
    with pytest.raises(ResumeError, match="no checkpoint to resume from; leave out --resume"):
        checkpoints.load(state_of(), PRINT)
    checkpoints.save(snapshot(1)).write_bytes(b"")
    with pytest.raises(ResumeError, match=r"no good checkpoint.*update-000000001"):
        checkpoints.load(state_of(), PRINT)


def test_what_changed_is_said(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(snapshot(1))
    with pytest.raises(ResumeError, match="data was abc and is now xyz; model was absent and is now big"):
        checkpoints.load(state_of(), Fingerprint({"data": "xyz", "model": "big"}, {}))
    _, (warning,) = checkpoints.load(state_of(), Fingerprint({"data": "abc"}, {"jax": "2"}))
    assert warning == "resumed, but perhaps not bit for bit: jax was 1 and is now 2."


def test_leaves_that_do_not_fit_are_named_with_their_file(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(snapshot(1))
    other = begin(Tiny.init(), build(OptimizerConfig(name="adadelta"), Tiny.init()))
    with pytest.raises(LeafError, match=path.name):
        checkpoints.load(other, PRINT)


def test_another_archive_in_the_folder_is_refused(tmp_path):
    write(tmp_path / "update-000000009.npz", Archive({"w": np.ones(2)}, {"kind": "model"}))
    with pytest.raises(ResumeError, match="not a checkpoint"):
        Checkpoints(tmp_path).load(state_of(), PRINT)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(ArchiveError, match="cannot be made") as caught:
        Checkpoints(tmp_path / "run" / "checkpoints").save(snapshot(1))
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    old = checkpoints.save(snapshot(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArchiveError, match=r"update-000000002\.npz: cannot be written \(No space left on device\)"):
        checkpoints.save(snapshot(2))
    assert list(tmp_path.iterdir()) == [old]


def test_the_machine_is_told_by_versions():
    assert machine()["jax"] == jax.__version__


def test_a_newer_one_that_could_not_be_read_costs_none_of_the_latest(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for update in (2, 500, 3, 4):  # a run that went on from 2
        checkpoints.save(snapshot(update))
    assert [int(path.stem.rpartition("-")[2]) for path in checkpoints.paths()] == [500, 4, 3]
