"""The process that a command runs in: its threads, and where compiled programs are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jax

from seq2seq.errors import ConfigError


def use_threads(count: int | None) -> None:
    """Let JAX and the tokenizers use so many threads; to be called before either computes anything.

    Raises:
        ConfigError: fewer than one.
    """
    if count is None:
        return
    if count < 1:
        raise ConfigError(f"--threads is {count}; wanted 1 or more.")
    os.environ["NPROC"] = os.environ["RAYON_NUM_THREADS"] = str(count)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def thread_count() -> int:
    """The threads that computations may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_compiled_programs() -> None:
    """Keep what JAX compiles in the user's cache folder, so that the second run of a command begins at once.

    Where JAX was told already (JAX_COMPILATION_CACHE_DIR), or the folder cannot be made, nothing is changed.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    folder = cache_folder() / "seq2seq" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cache_folder() -> Path:
    """Where this system wants what can be made again."""
    match sys.platform:
        case "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        case "darwin":
            return Path.home() / "Library" / "Caches"
        case _:
            return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
