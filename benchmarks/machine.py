"""The machine that all is measured on: its name, its units, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from benchmarks.products import FLOAT32, Product, Types, matmul, milliseconds
from seq2seq.app.runtime import thread_count

_SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (1920, 512, 3000))
_UNITS = {
    "bf16": (("bfloat16", "bfloat16", "float32"), ("avx512_bf16", "amx_bf16")),
    "s8": (("int8", "int8", "int32"), ("avx512_vnni", "avx_vnni", "amx_int8")),
}


class Peak(NamedTuple):
    """The fastest product found, in GFLOP/s; None, and why, where the processor has no unit for it."""

    name: str
    gflops: float | None
    why: str = ""


@cache
def flags() -> frozenset[str]:
    """What the processor says it can do; empty where the system does not tell."""
    found = next((line for line in _cpuinfo() if line.startswith(("flags", "Features"))), "")
    return frozenset(found.partition(":")[2].split())


def lacks(kind: str) -> str:
    """Why the machine has no fast products of this kind ("bf16", "s8"); empty if it has."""
    names = _UNITS[kind][1]
    return "" if flags() & set(names) else f"the processor has none of {', '.join(names)}"


def description() -> str:
    """Processor, cores and versions."""
    name = next((line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), "")
    packages = ("seq2seq-jax", "jax", "jaxlib", "numpy", "optax")
    versions = [f"{package} {metadata.version(package)}" for package in packages]
    processor = name or platform.processor() or platform.machine()
    return ", ".join([processor, f"{thread_count()} cores", f"Python {platform.python_version()}", *versions])


def anonymous_memory(process: int) -> float | None:
    """MiB of a process's memory that is no file's, now; None if it has ended or the system does not tell."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text("utf-8"))
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


def peaks(rounds: int, *, quick: bool = False) -> list[Peak]:
    """The peak of float32, and of bfloat16 and 8-bit products where the machine has them."""
    found = [Peak("f32", _peak(FLOAT32, rounds, quick))]
    for name, (types, _) in _UNITS.items():
        why = lacks(name)
        found.append(Peak(name, None, why) if why else Peak(name, _peak(types, rounds, quick)))
    return found


def _peak(types: Types, rounds: int, quick: bool) -> float:
    kinds: list[Product] = [matmul(*shape, types) for shape in (_SHAPES[:1] if quick else _SHAPES)]
    return max(product.flops / took / 1e6 for product, took in milliseconds(kinds, rounds).items())


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return []
