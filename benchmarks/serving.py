"""`python -m benchmarks.serving MODEL INPUT`: a server under load, on this machine, which its clients share with it.

In turn: `generate` over the lines of INPUT in one process; as many clients as a batch has inputs, who each ask for one
line and wait for its answer; the same beside clients that send their request a byte a second and clients that go away
at once; and one client alone. Medians of rounds. Then the memory that is no file's after ever more requests, and after
requests that each have options that no other had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvloop

import seq2seq
from benchmarks import machine
from benchmarks.commands import environment
from benchmarks.table import Table, Value
from seq2seq import Decoding
from seq2seq.app.runtime import use_threads

_PROGRAMS = 16
_WARM = 4


class Load(NamedTuple):
    """What clients saw.

    Attributes:
        rate: answers per second.
        waits: seconds for each answer.
        statuses: how often each.
    """

    rate: float
    waits: Sequence[float]
    statuses: Counter[int]

    def percentile(self, share: float) -> float:
        """Of the waits, in ms."""
        return 1000 * float(np.percentile(self.waits, share))


class Server:
    """`seq2seq serve` in a process of its own."""

    def __init__(self, model: Path, *options: str):
        command = [sys.executable, "-m", "seq2seq", "serve", str(model), "--port", "0", *options]
        self.process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit("the server did not begin.")
        self.port = int(line.rpartition(":")[2])

    @property
    def memory(self) -> float:
        """MiB that are no file's."""
        return machine.anonymous_memory(self.process.pid) or float("nan")


@contextmanager
def serving(model: Path, *options: str) -> Iterator[Server]:
    """A server, until the end of the block."""
    server = Server(model, *options)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait()


def request(line: str, options: dict[str, object]) -> bytes:
    """What asks for the outputs of a line."""
    body = json.dumps({"inputs": [line], "options": options, "attention": False}).encode()
    head = (
        f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


async def load(port: int, requests: Sequence[bytes], clients: int, *, hostile: int = 0) -> Load:
    """Clients who share the requests, each waiting for one answer before the next, with their connection kept.

    `hostile` more are slow, and as many go away again and again.
    """
    left, waits, statuses = iter(requests), list[float](), Counter[int]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for one in left:
            began = time.perf_counter()
            writer.write(one)
            statuses[await _answer(reader)] += 1
            waits.append(time.perf_counter() - began)
        writer.close()

    rude = [asyncio.ensure_future(each(port, requests[0])) for each in (_slow, _leaving) for _ in range(hostile)]
    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    for one in rude:
        one.cancel()
    await asyncio.gather(*rude, return_exceptions=True)
    return Load(len(waits) / seconds, waits, statuses)


def _run(loading: Coroutine[Any, Any, Load]) -> Load:
    """With the loop that costs least, for the server has what the clients leave of the machine."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(loading)


async def _answer(reader: asyncio.StreamReader) -> int:
    """The status; the body is read too."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length.partition(":")[2]))
    return int(head.split(maxsplit=2)[1])


async def _slow(port: int, one: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for byte in one:
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def _leaving(port: int, one: bytes) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(one)
            await writer.drain()
            writer.close()
        await asyncio.sleep(0.1)


def measure(model: Path, lines: Sequence[str], options: argparse.Namespace, table: Table) -> None:
    """Throughput and waits, beside `generate`; then memory."""
    text, clients = seq2seq.load(model), options.clients
    for beam in (1, 5):
        decoding = Decoding(beam=beam, batch=clients)
        requests = [request(line, {"beam": beam}) for line in lines]
        with serving(model, "--batch", str(clients)) as server:
            text.generate(lines, decoding)
            for _ in range(_WARM):  # until batches of each size have been compiled
                _run(load(server.port, requests, clients))
                _run(load(server.port, requests, clients, hostile=16))
            rates, alone, beside, single = [], [], [], []
            for _ in range(options.rounds):
                began = time.perf_counter()
                text.generate(lines, decoding)
                rates.append(len(lines) / (time.perf_counter() - began))
                alone.append(_run(load(server.port, requests, clients)))
                beside.append(_run(load(server.port, requests, clients, hostile=16)))
                single.append(_run(load(server.port, requests[:50], 1)))
        for what, found in (
            (f"{clients} clients", alone),
            (f"{clients} clients beside 16 slow and 16 leaving ones", beside),
            ("1 client", single),
        ):
            table.row("serving", f"beam {beam}, {what}", _medians(rates, found))
    _growth(model, lines, options, table)


def _medians(rates: Sequence[float], found: Sequence[Load]) -> dict[str, Value]:
    """Over rounds, `rates` being those of `generate`."""
    values: dict[str, Value] = {
        "generate /s": float(np.median(rates)),
        "served /s": float(np.median([one.rate for one in found])),
        "served/generate": float(np.median([one.rate / rate for one, rate in zip(found, rates, strict=True)])),
    }
    values |= {f"p{p} ms": float(np.median([one.percentile(p) for one in found])) for p in (50, 99)}
    return values | {"not 200": sum(map(_refused, found))}


def _growth(model: Path, lines: Sequence[str], options: argparse.Namespace, table: Table) -> None:
    """Memory after ever more requests, and after ever more sets of options."""
    with serving(model) as server:
        requests = [request(line, {"beam": 1}) for line in islice(cycle(lines), options.requests)]
        done = 0
        for share in (0.05, 0.25, 0.5, 0.75, 1):
            part = requests[done : round(share * len(requests))]
            found = _run(load(server.port, part, options.clients))
            done += len(part)
            table.row("memory", f"after {done:,} requests", {"MiB": server.memory, "not 200": _refused(found)})
    with serving(model, "--programs", str(_PROGRAMS)) as server:
        for several in range(1, 5):
            numbers = range((several - 1) * _PROGRAMS, several * _PROGRAMS)
            part = [request(lines[0], {"sample": True, "top_k": 1 + n}) for n in numbers]
            found = _run(load(server.port, part, 1))
            what = f"after {several * _PROGRAMS} sets of options, --programs {_PROGRAMS}"
            table.row("memory", what, {"MiB": server.memory, "not 200": _refused(found)})


def _refused(found: Load) -> int:
    return sum(found.statuses.values()) - found.statuses[200]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("model", type=Path, help="a run's folder or its model.npz")
    parser.add_argument("input", type=Path, help="lines to generate from")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000, help="of the first table of memory")
    options = parser.parse_args()
    use_threads()
    table = Table()
    table.note("machine", machine.description())
    lines = [line for line in options.input.read_text("utf-8").splitlines() if line]
    measure(options.model.absolute(), lines, options, table)


if __name__ == "__main__":
    main()
