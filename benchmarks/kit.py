"""The peers: other libraries and a hand-written torch program, each run by a driver of the kit, one process each."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import BenchmarkError

_KNOWN = ("torch", "yoyodyne", "eole", "onmt", "joeynmt")


class KitError(BenchmarkError):
    """A peer failed."""


@dataclass(frozen=True)
class Kit:
    """The kit's folder, the folder with one virtual environment a peer, and a folder to work in."""

    folder: Path
    peers: Path
    work: Path

    @property
    def names(self) -> list[str]:
        """The peers that are installed, the hand-written torch first."""
        there = [name for name in _KNOWN if self.python(name).exists()]
        return [name for name in there if (self.folder / f"run_{name}.py").exists()]

    def python(self, name: str) -> Path:
        """The interpreter of a peer."""
        return self.peers / name / "bin" / "python"

    def driver(self, name: str, data: Path, job: str, *options: str | int | float) -> list[str]:
        """The command of a peer's driver. The kit's own run_one.sh would give it less of a busy machine than we get."""
        return list(map(str, [self.python(name), self.folder / f"run_{name}.py", data, self.work, job, *options]))

    def environment(self) -> dict[str, str]:
        """The variables under which the kit runs a driver."""
        threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
        alone = {"CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
        return os.environ | threads | alone | {"PYTHONPATH": str(self.folder), "PYTHONWARNINGS": "ignore"}

    def run(self, name: str, data: Path, job: str, *options: str | int | float) -> list[dict[str, Any]]:
        """Run a peer to its end: its results, one for each phase.

        Raises:
            KitError: it failed; the last lines of its log.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        command = self.driver(name, data, job, *options)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment())
        if done.returncode:
            told = [*done.stdout.splitlines(), *done.stderr.splitlines()][-3:]
            raise KitError(f"{name} {job}, exit code {done.returncode}: {' / '.join(told)[-300:]}")
        return results(done.stdout)


def results(text: str) -> list[dict[str, Any]]:
    """What a driver reported.

    Example:
        >>> results('a log line\\nRESULT {"what": "train", "rss_mb": 566}\\n')
        [{'what': 'train', 'rss_mb': 566}]
    """
    marked = [line.removeprefix("RESULT ") for line in text.splitlines() if line.startswith("RESULT ")]
    return [json.loads(line) for line in marked]


def phase(found: list[dict[str, Any]], what: str, beam: int | None = None) -> dict[str, Any]:
    """The result of one phase: "train", or "decode-test" with a beam.

    Raises:
        KitError: it is not there.
    """
    for result in found:
        if result.get("what") == what and (beam is None or result.get("beam") == beam):
            return result
    raise KitError(f"no result {what}{'' if beam is None else f' with beam {beam}'}; found {len(found)} others.")


def find(folder: Path | None, peers: Path | None, torch: Path | None, work: Path) -> tuple[Kit | None, str]:
    """The kit, or why there is none. Without `peers`, the environment of `torch` is the one peer if it is so called."""
    if folder is None or not any(folder.glob("run_*.py")):
        return None, "no kit of peers here; give its folder by --kit"
    if peers is None and torch is not None and torch.parents[1].name == "torch":
        peers = torch.parents[2]
    if peers is None:
        return None, "no environments of peers; give the folder that the kit's install.sh filled by --peers"
    kit = Kit(folder, peers, work)
    return (kit, "") if kit.names else (None, f"{peers} has no environment of a peer that the kit knows")
