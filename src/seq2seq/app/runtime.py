"""The process that a command runs in: its threads, and where compiled programs are kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import jax

from seq2seq.core.precision import processor_features
from seq2seq.errors import ConfigError

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of malloc.h
_MOST_COMPILED = 2**29  # bytes of compiled programs that are kept
_LONG = 0.05  # s: a program that takes less to compile, or to read, leaves little


def use_threads(count: int | None = None) -> None:
    """Let JAX and the tokenizers use so many threads (None: all); to be called before either computes anything.

    Memory that is freed is kept for the next update (see `_keep_memory`). What JAX compiles is kept in the user's
    cache folder, so that the second run of a command begins at once; where JAX was told of a folder already
    (JAX_COMPILATION_CACHE_DIR), or none can be made, nothing is changed.

    Raises:
        ConfigError: fewer than one.
    """
    if count is not None:
        if count < 1:
            raise ConfigError(f"--threads is {count}; wanted 1 or more.")
        # Not by cores: commands side by side would be bound to the same ones.
        os.environ["NPROC"] = os.environ["RAYON_NUM_THREADS"] = str(min(count, thread_count()))
    _keep_memory()
    _keep_compiled_programs()


def thread_count() -> int:
    """The threads that computations may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("NPROC", "")
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores


def cache_folder() -> Path:
    """Where this system wants what can be made again."""
    match sys.platform:
        case "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        case "darwin":
            return Path.home() / "Library" / "Caches"
        case _:
            return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def state_folder() -> Path:
    """Where this system wants what a program remembers."""
    match sys.platform:
        case "win32":
            return cache_folder()
        case "darwin":
            return Path.home() / "Library" / "Application Support"
        case _:
            return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


@cache
def _keep_memory() -> None:
    """Let glibc keep what is freed, instead of giving large blocks back to the system.

    Each update asks for the same gradients and activations again; fresh from the system, every page of them has to be
    cleared first, which takes longer than to write the gradient of a large model.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    set_option = ctypes.CDLL(None).mallopt
    set_option(_M_MMAP_MAX, 0)
    set_option(_M_TRIM_THRESHOLD, 2**31 - 1)
    set_option(_M_ARENA_MAX, 1)
    jax.monitoring.register_event_duration_secs_listener(_give_back)


def _give_back(event: str, duration_secs: float, **_: object) -> None:
    """Give back what the compiler has left, and what programs of other shapes had for themselves."""
    if duration_secs > _LONG and ("compile" in event or "compilation_cache" in event):
        give_back_memory()


def give_back_memory() -> None:
    """Let the system have what was freed; to be called where much was, for good."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _keep_compiled_programs() -> None:
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    try:
        folder = cache_folder() / "seq2seq" / f"compiled-{_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home
        return
    _drop_oldest(folder.parent, _MOST_COMPILED)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _drop_oldest(folder: Path, most: int) -> None:
    """Of what has been compiled, for whatever processor, delete what was used longest ago while it is more bytes."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.glob("compiled-*/*"):
        with suppress(OSError):  # another process deletes it too
            told = path.stat()
            found.append((max(told.st_atime, told.st_mtime), told.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        with suppress(OSError):
            path.unlink()
        total -= size


def _processor() -> str:
    """A short name for what programs are compiled for: a home folder may be shared between unlike machines."""
    features = processor_features() or platform.processor()
    told = f"{platform.machine()} {features} {thread_count()} {jax.__version__}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]
