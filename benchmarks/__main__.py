"""`make bench`, or `python -m benchmarks`: everything side by side on this machine, as one table.

What is compared is measured in turn, in rounds of one run, and medians are shown: machines differ and are disturbed, so
trust the ratios, which are named over/under. Without torch or the kit of peers the table says what is left out and why.
Without --data the pairs are those of .bench/pairs, or else made up: the kit's `install.sh .bench NAME...` and
`make_data.py .bench/pairs` put peers and pairs where `make bench` finds them; BENCH="--only layers" passes options on.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import corpora, decoding, growth, jobs, kit, layers, machine, quality, replies, start
from benchmarks.settings import Settings
from benchmarks.table import Table
from benchmarks.timing import BenchmarkError
from benchmarks.torch_client import TorchError, TorchWorker
from seq2seq.app.runtime import use_threads

_ROOT = Path(__file__).parents[1]
_PARTS: dict[str, Callable[[Settings, Table], None]] = {
    "layers": layers.run,
    "jobs": jobs.run,
    "decoding": decoding.run,
    "start": start.run,
    "growth": growth.run,
    "quality": quality.run,
    "replies": replies.run,
}


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    usual = [part for part in _PARTS if part != "replies"]  # which takes hours
    parser.add_argument("--only", default=",".join(usual), help=f"parts, with commas between: {', '.join(_PARTS)}")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each measurement (default 7)")
    parser.add_argument("--quick", action="store_true", help="as small as can be: to see that it works")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--torch", type=Path, metavar="PYTHON", help="an interpreter that has torch")
    parser.add_argument("--kit", type=Path, metavar="FOLDER", help="the kit of peers (run_one.sh and its drivers)")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="one virtual environment for each peer")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="g2p/ and text/, as the kit's make_data.py writes")
    options = parser.parse_args()
    options.parts = [part.strip() for part in options.only.split(",")]
    if unknown := [part for part in options.parts if part not in _PARTS]:
        parser.error(f"--only {unknown[0]}: wanted some of {', '.join(_PARTS)}")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: wanted 1 or more")
    for name in ("torch", "kit", "peers", "data"):
        path = getattr(options, name)
        if path is not None and not path.exists():
            parser.error(f"--{name} {path}: there is no such file or folder")
    return options


def main() -> None:
    """Measure and print."""
    options = arguments()
    use_threads()
    table = Table(options.json)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True)))
        settings = _settings(options, table, work, stack)
        for part in options.parts:
            try:
                _PARTS[part](settings, table)
            except BenchmarkError as error:
                table.note(part, f"the rest is left out: {error}")


def _settings(options: argparse.Namespace, table: Table, work: Path, stack: ExitStack) -> Settings:
    """The machine, told first; then torch, peers and data."""
    table.note("machine", machine.description())
    peaks = machine.peaks(options.rounds, quick=options.quick)
    for peak in peaks:
        found = f"{peak.gflops:,.0f} GFLOP/s" if peak.gflops else peak.why
        table.note("machine", f"matrix products, peak, {peak.name}: {found}")
    worker, why_no_torch = _worker(options.torch, stack)
    if worker:
        table.note("machine", f"torch {worker.version}")
    beside = _ROOT.parent / "shared" / "peers"
    folder = options.kit or (beside if beside.exists() else None)
    places = [None if path is None else path.absolute() for path in (folder, options.peers, options.torch)]
    peers, why_no_kit = kit.find(places[0], places[1], places[2], work)
    usual = _ROOT / ".bench" / "pairs"
    data, synthetic = _data(options.data or (usual if usual.exists() else None), work)
    if synthetic:
        table.note("data", "made-up pairs of the sizes of the real ones; give the folder of the real ones by --data")
    return Settings(
        rounds=1 if options.quick else options.rounds,
        quick=options.quick,
        work=work,
        data=data,
        synthetic=synthetic,
        worker=worker,
        why_no_torch=why_no_torch,
        kit=peers,
        why_no_kit=why_no_kit,
        peaks=peaks,
    )


def _worker(python: Path | None, stack: ExitStack) -> tuple[TorchWorker | None, str]:
    if python is None:
        return None, "give an interpreter that has it by --torch"
    try:
        return stack.enter_context(TorchWorker(python.absolute())), ""
    except (TorchError, OSError) as error:
        return None, f"{python} cannot be used ({error})"


def _data(given: Path | None, work: Path) -> tuple[Path, bool]:
    """The folder of the pairs, and whether they are made up.

    Raises:
        SystemExit: the folder that was given lacks a file.
    """
    if given is None:
        return corpora.synthetic(work / "data"), True
    if lacking := [name for job in ("g2p", "text") for name in corpora.lacking(given, job)]:
        raise SystemExit(f"error: {given} has no {lacking[0]}; benchmarks/corpora.py tells what it must hold.")
    return given.absolute(), False


if __name__ == "__main__":
    main()
