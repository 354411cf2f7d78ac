"""A file is written whole or not at all, where its name leads; what was written is there after a power cut."""

from __future__ import annotations

import os
import shutil
import stat

import numpy as np
import pytest

from seq2seq.core import archive
from seq2seq.core.archive import Archive, read, write
from seq2seq.core.files import atomic_write, make_folder
from seq2seq.errors import ArchiveError

TREE = {"w": np.arange(6.0)}


def is_whole(path) -> bool:
    return {name: found.tolist() for name, found in read(path).arrays.items()} == {"w": TREE["w"].tolist()}


@pytest.fixture
def done(monkeypatch):
    """What reaches the disk, and what gets its name, in order."""
    found, replace = [], os.replace

    def synced(handle):
        about = os.fstat(handle)
        found.append((stat.S_ISDIR(about.st_mode), about.st_ino))

    def renamed(old, new):
        replace(old, new)
        found.append("renamed")

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", renamed)
    return found


def test_a_name_reaches_the_disk_after_what_it_names(tmp_path, done):
    path = tmp_path / "tree.npz"
    write(path, Archive({"w": np.ones(2)}))
    assert done == [(False, path.stat().st_ino), "renamed", (True, tmp_path.stat().st_ino)]


def test_a_new_folder_reaches_the_disk_in_the_one_above(tmp_path, done):
    folder = tmp_path / "a" / "b"
    for _ in range(2):  # the second time there is nothing new
        make_folder(folder)
    assert {number for _, number in done} == {tmp_path.stat().st_ino, folder.parent.stat().st_ino}
    assert len(done) == 2 and all(is_folder for is_folder, _ in done)
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        make_folder(tmp_path / "file" / "below")


def test_what_takes_the_place_of_a_file_has_its_mode(tmp_path):
    path = tmp_path / "tree.npz"
    write(path, Archive(TREE))
    path.chmod(0o600)
    write(path, Archive(TREE))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "tree.npz", Archive.of(TREE))
    return tmp_path / "tree.npz"


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(path):
    before = path.read_bytes()

    def fill(temporary):
        temporary.write_bytes(b"half of the")
        raise OSError(28, "No space left on device")

    with pytest.raises(ArchiveError, match=r"tree.npz: cannot be written \(No space left on device\)"):
        atomic_write(path, fill)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, lambda temporary: (_ for _ in ()).throw(KeyboardInterrupt))
    assert path.read_bytes() == before and [found.name for found in path.parent.iterdir()] == ["tree.npz"]


def test_the_file_is_whole_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "tree.npz", []

    def replace(temporary, target):
        seen.append((target.exists(), is_whole(temporary), temporary.parent == target.parent))
        shutil.move(temporary, target)

    monkeypatch.setattr(archive.os, "replace", replace)
    write(path, Archive.of(TREE))
    assert seen == [(False, True, True)] and is_whole(path)


def test_a_pipe_stays_one_and_a_link_goes_on_pointing(path, tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link.npz"
    os.mkfifo(pipe)
    with pytest.raises(ArchiveError, match="pipe: is a device or a pipe"):
        write(pipe, Archive.of(TREE))
    assert pipe.is_fifo()
    link.symlink_to(path)
    write(link, Archive.of({"other": np.ones(2)}))
    assert link.is_symlink() and list(read(path).arrays) == ["other"]


def test_a_name_that_cannot_be_is_an_error_of_ours(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("a" * 300, "loop"):
        with pytest.raises(ArchiveError, match="cannot be written"):
            write(tmp_path / name, Archive.of(TREE))


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(ArchiveError, match="cannot be written"):
        write(tmp_path / "nowhere" / "tree.npz", Archive.of(TREE))
