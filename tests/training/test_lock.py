"""Two runs never train in one folder, and a lock dies with its holder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.errors import ConfigError, TrainingError
from seq2seq.training import lock
from seq2seq.training.lock import FolderLock, check_lock

HOST = socket.gethostname()
HOLD = "import sys, time, pathlib; from seq2seq.training.lock import FolderLock\n"
HOLD += "with FolderLock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_lock_dies_with_its_holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid}, since .*, on {HOST} is"), FolderLock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with FolderLock(tmp_path):  # at once
        pass


def test_a_folder_that_cannot_be_written_is_said():
    with pytest.raises(ConfigError, match="cannot be written"), FolderLock(Path("/proc/nowhere")):
        pass


def test_a_lock_is_lost_with_its_folder(tmp_path):
    folder = tmp_path / "run"
    with FolderLock(folder):
        check_lock(folder)
        shutil.rmtree(folder)
        with pytest.raises(TrainingError, match="run: the folder, or the lock in it, was moved or removed while"):
            check_lock(folder)
        with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as holder:
            assert holder.stdout and holder.stdout.readline() == b"held\n"
            with pytest.raises(TrainingError, match=f"process {holder.pid}, since .*, on {HOST} trains here now while"):
                check_lock(folder)
            holder.kill()


def test_a_file_that_is_removed_before_it_is_locked_is_no_lock(tmp_path, monkeypatch):
    locked = lock._locked

    def removed(file):
        monkeypatch.undo()
        (tmp_path / "lock").unlink()
        return locked(file)

    monkeypatch.setattr(lock, "_locked", removed)
    with FolderLock(tmp_path) as taken:
        assert taken._file and os.path.samestat(os.fstat(taken._file.fileno()), taken.path.stat())
        check_lock(tmp_path)


def test_where_no_file_is_the_same_twice_there_is_a_lock_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_is_at", lambda *_: False)
    with FolderLock(tmp_path):
        check_lock(tmp_path)
        with pytest.raises(ConfigError, match="is training here"), FolderLock(tmp_path):
            pass
