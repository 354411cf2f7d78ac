"""What was written is there after a power cut: files, their names, and the folders these are in."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest

from seq2seq.core.archive import Archive, write
from seq2seq.core.files import make_folder


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
