"""The process of a server: until it is told to stop, and then until all that was accepted is answered."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from types import FrameType

from seq2seq.app.serving.application import application
from seq2seq.app.serving.connections import most_connections, protocol
from seq2seq.app.serving.service import Service

_SWITCH = 0.0005
"""Seconds until a thread that computes nothing gives the interpreter to one that wants it. By Python's own 5 ms the
thread that computes would wait for the other at each of its calls, where answers are many and small."""


def run(service: Service, bound: socket.socket, token: str | None, hosts: frozenset[str] | None) -> None:
    """Serve at a bound socket until SIGTERM or Ctrl-C; a second Ctrl-C does not wait for answers.

    Raises:
        ImportError: uvicorn or Starlette is not installed.
    """
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            service.closing = True
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        application(service, token, hosts),
        log_level="warning",
        lifespan="off",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        proxy_headers=False,
        # httptools would be quicker than h11, but reads heads without end, and loses the body of a request that offers
        # to go on in HTTP/2, as Java's client does.
        http=protocol(service.limits.timeout, most_connections()),
        timeout_graceful_shutdown=round(service.limits.timeout) + 1,
        h11_max_incomplete_event_size=32768,
    )
    host, port = bound.getsockname()[:2]
    server = Server(config)

    def early(sig: int, frame: FrameType | None) -> None:
        if not server.started:  # uvicorn hears signals meanwhile, and raises them again when all is answered
            server.handle_exit(sig, frame)

    before = {number: signal.signal(number, early) for number in (signal.SIGTERM, signal.SIGINT)}
    print(f"Serving {', '.join(service.models)} at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    sys.setswitchinterval(_SWITCH)
    gc.freeze()  # models and modules are there to stay, and are not gone through again and again
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[bound]))
        if server.force_exit:  # what is being computed cannot be stopped otherwise
            sys.stdout.flush()
            os._exit(130)
    for number, handler in before.items():
        signal.signal(number, handler)
    service.batcher.close()
