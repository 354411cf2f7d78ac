"""Two runs never train in one folder, and a lock dies with its holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.errors import ConfigError
from seq2seq.training.lock import FolderLock

HOLD = "import sys, time, pathlib; from seq2seq.training.lock import FolderLock\n"
HOLD += "with FolderLock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_lock_dies_with_its_holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid}, since"), FolderLock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with FolderLock(tmp_path):  # at once
        pass


def test_a_folder_that_cannot_be_written_is_said():
    with pytest.raises(ConfigError, match="cannot be written"), FolderLock(Path("/proc/nowhere")):
        pass
