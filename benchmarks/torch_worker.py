"""PyTorch's side of the layers: run by the Python that has torch, it answers one JSON request a line.

    {"what": "versions", "threads": 2}                                    -> {"torch": "2.13.0", "threads": 2}
    {"what": "layer", "cell": "GRU", "dtype": "float32", "time": 20, "batch": 64, "input": 256, "hidden": 512,
     "iterations": 5}                                                     -> {"ms": 41.2}, the mean of an iteration

It imports nothing of ours, so that its environment needs torch alone. What it cannot do it answers by {"error": ...}.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

_LAYER = ("cell", "dtype", "time", "batch", "input", "hidden")


def layer(request: dict[str, Any]) -> Callable[[], None]:
    """One iteration: a fused recurrent layer forward and backward, gradients of weights and of the input."""
    steps, batch, width, hidden = (request[name] for name in ("time", "batch", "input", "hidden"))
    dtype = getattr(torch, request["dtype"])
    torch.manual_seed(0)
    cell = getattr(torch.nn, request["cell"])(width, hidden).to(dtype)
    xs = torch.randn(steps, batch, width, dtype=dtype, requires_grad=True)

    def run() -> None:
        cell.zero_grad(set_to_none=True)
        xs.grad = None
        cell(xs)[0].square().mean().backward()

    return run


class Server:
    """Answers requests; the last layer stays, for the next round."""

    def __init__(self) -> None:
        self._made: tuple[tuple[Any, ...], Callable[[], None]] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        match request.get("what"):
            case "versions":
                torch.set_num_threads(request["threads"])
                return {"torch": torch.__version__, "threads": torch.get_num_threads()}
            case "layer":
                return {"ms": self._milliseconds(request)}
            case other:
                return {"error": f"no request is called {other!r}; wanted versions or layer"}

    def _milliseconds(self, request: dict[str, Any]) -> float:
        shape = tuple(request[name] for name in _LAYER)
        if self._made is None or self._made[0] != shape:
            self._made = (shape, layer(request))
            self._made[1]()  # warm
        run, iterations = self._made[1], request["iterations"]
        began = time.perf_counter()
        for _ in range(iterations):
            run()
        return 1000 * (time.perf_counter() - began) / iterations


def main() -> None:
    """Answer until the input ends."""
    server = Server()
    for line in sys.stdin:
        try:
            found = server.answer(json.loads(line))
        except Exception as error:  # whatever torch raises is an answer too
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
