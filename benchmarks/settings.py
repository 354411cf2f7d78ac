"""What all parts of the benchmark need to know: how much to measure, and where peers and data are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.kit import Kit
from benchmarks.machine import Peak
from benchmarks.torch_client import TorchWorker


@dataclass(frozen=True)
class Settings:
    """One run of the benchmark.

    Attributes:
        rounds: rounds of what is measured within the process.
        quick: make everything as small as it can be: to see that it works, not to measure.
        work: a folder for what is only needed now.
        data: g2p/ and text/ as the kit's make_data.py writes them.
        synthetic: whether the data is made up.
        worker: torch for the layers, or None.
        why_no_torch: in one line.
        kit: the peers, or None.
        why_no_kit: in one line.
        peaks: the machine's own product peaks.
    """

    rounds: int
    quick: bool
    work: Path
    data: Path
    synthetic: bool
    worker: TorchWorker | None
    why_no_torch: str
    kit: Kit | None
    why_no_kit: str
    peaks: list[Peak]

    @property
    def process_rounds(self) -> int:
        """Rounds of what needs a process of its own each time."""
        return 1 if self.quick else min(5, self.rounds)

    @property
    def peers(self) -> list[str]:
        """The peers to run."""
        return self.kit.names[: 1 if self.quick else None] if self.kit else []

    @property
    def peak(self) -> float:
        """The float32 peak, GFLOP/s."""
        return next(peak.gflops for peak in self.peaks if peak.gflops)
