"""Our end of `torch_worker.py`: a torch process that stays, so that its rounds and ours alternate."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.timing import BenchmarkError, Measure, enough
from seq2seq.app.runtime import thread_count

_WORKER = Path(__file__).with_name("torch_worker.py")


class TorchError(BenchmarkError):
    """The worker could not do what it was asked for."""


class TorchWorker:
    """A running worker; `with TorchWorker(python) as worker: worker.ask({...})`."""

    def __init__(self, python: Path):
        threads = thread_count()
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [python, _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            self.version = str(self.ask({"what": "versions", "threads": threads})["torch"])
        except TorchError:
            self.close()
            raise

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            TorchError: the worker has ended, or answers by an error.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise TorchError("the torch worker has no pipes.")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise TorchError(f"the torch worker has ended ({error.strerror}); see its messages above.") from None
        line = self._process.stdout.readline()
        if not line:
            raise TorchError("the torch worker has ended; see its messages above.")
        found = json.loads(line)
        if "error" in found:
            raise TorchError(f"torch: {found['error']}")
        return found

    def layer(self, cell: str, dtype: str, shape: dict[str, int]) -> Measure:
        """A layer of torch as a measure; the first call finds out how often to run."""
        request = {"what": "layer", "cell": cell, "dtype": dtype, **shape, "iterations": 1}

        def measure() -> float:
            took = self.ask(request)["ms"]
            if request["iterations"] == 1:
                request["iterations"] = enough(took)
            return took

        return measure

    def close(self) -> None:
        """Let the worker end."""
        if self._process.stdin:
            with suppress(OSError):  # what it could not be sent
                self._process.stdin.close()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
