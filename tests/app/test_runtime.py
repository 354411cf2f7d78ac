"""What a command takes of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from seq2seq.app import runtime
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


CACHES = """
from seq2seq.app import runtime
runtime._MOST_COMPILED = 4
runtime.use_threads()
import jax
print(jax.config.jax_compilation_cache_dir)
"""


@pytest.fixture
def other(tmp_path):
    """The compiled programs of another machine that shares the folder, a the oldest."""
    other = tmp_path / "seq2seq" / "compiled-for-another-processor"
    other.mkdir(parents=True)
    for age, (name, size) in enumerate([("c", 3), ("b", 4), ("a", 3)]):
        (other / name).write_bytes(b"x" * size)
        os.utime(other / name, (1000 - age, 1000 - age))
    (tmp_path / "seq2seq" / "note").write_text("not ours to delete")
    return other


@pytest.mark.parametrize(("most", "left"), [(10, ["a", "b", "c"]), (8, ["b", "c"]), (4, ["c"]), (2, [])])
def test_compiled_programs_used_longest_ago_are_dropped_when_they_are_too_many(tmp_path, other, most, left):
    runtime._drop_oldest(tmp_path / "seq2seq", most)
    assert sorted(path.name for path in other.iterdir()) == left
    assert (tmp_path / "seq2seq" / "note").exists()


def test_a_command_keeps_its_programs_in_the_users_cache_and_drops_the_oldest(tmp_path, other):
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", CACHES]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment | {"XDG_CACHE_HOME": str(tmp_path)}
    )
    assert ran.stdout.startswith(str(tmp_path / "seq2seq" / "compiled-"))
    assert [path.name for path in other.iterdir()] == ["c"]
