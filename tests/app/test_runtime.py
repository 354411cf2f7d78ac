"""What a command takes of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from seq2seq.app.runtime import thread_count, use_threads
from seq2seq.errors import ConfigError

COMPUTES = """
import os, pathlib, sys
from seq2seq.app.runtime import thread_count, use_threads
cores = os.sched_getaffinity(0)
use_threads(int(sys.argv[1]))
import jax.numpy as jnp
x = jnp.ones((500, 500))
(x @ x).block_until_ready()
names = [(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()]
print(names.count("tf_XLAEigen"), thread_count(), cores == os.sched_getaffinity(0))
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="looks at the threads that Linux names")
@pytest.mark.parametrize("count", [1, 2])
def test_computations_take_as_many_threads_as_asked_for_on_any_core(count):
    wanted = min(count, len(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", COMPUTES, str(count)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.split() == [str(wanted), str(wanted), "True"]


def test_more_threads_than_cores_are_as_many_as_cores(monkeypatch):
    monkeypatch.setenv("NPROC", "0")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    cores = thread_count()
    use_threads(10**6)
    assert thread_count() == cores
    with pytest.raises(ConfigError, match="--threads is 0"):
        use_threads(0)
