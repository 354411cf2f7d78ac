"""Connections: those that ask or take nothing are closed, and there are never more than the process may have files."""

from __future__ import annotations

import asyncio
import os
from typing import Any

_OTHER_FILES = 32
"""Descriptors for what is no connection: compiled programs, the page, and a burst that is accepted at once."""
_LARGEST_HEAD = 32_768
"""Bytes: the parser keeps a head until it is whole, and what stands between the pieces of a body."""


def most_connections() -> int:
    """The connections that this process has descriptors for, beside what is open now."""
    try:
        import resource

        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(files - len(os.listdir("/dev/fd")) - _OTHER_FILES, 8)
    except (ImportError, OSError):  # Windows, which has no such bound
        return 4096


def protocol(patience: float, most: int) -> Any:
    """uvicorn's protocol of a connection, within bounds.

    Args:
        patience: seconds until the head of a request is there, from when there was none, and until a client takes more
            of an answer that waits for it; then the connection is closed. So is one whose head has no end.
        most: connections; one more closes that which has asked nothing for longest, or is itself closed.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Protocol(HttpToolsProtocol):
        _head: asyncio.TimerHandle | None = None  # closes, while no head is there
        _unread: asyncio.TimerHandle | None = None  # closes, while the client takes nothing
        _bytes = 0  # since a head was whole, or a piece of a body

        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            super().connection_made(transport)
            self._wait()
            if len(self.connections) > most:
                self._make_room()

        def data_received(self, data: bytes) -> None:
            self._bytes += len(data)
            super().data_received(data)
            if self._bytes > _LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response(f"The head of the request is larger than {_LARGEST_HEAD} bytes.")
            self._wait()

        def on_headers_complete(self) -> None:
            self._bytes = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._bytes = 0
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._bytes = 0
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(patience, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._unread = _stopped(self._unread)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._head, self._unread = _stopped(self._head), _stopped(self._unread)

        def _wait(self) -> None:
            """Begin to wait for a head where none is answered; go on where one is waited for; else stop."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._head = _stopped(self._head)
            elif self._head is None:
                self._head = self.loop.call_later(patience, self.transport.close)

        def _make_room(self) -> None:
            idle = [one for one in self.connections if isinstance(one, Protocol) and one._head and one is not self]
            open_ones = [one for one in idle if not one.transport.is_closing()]
            longest = min(open_ones, key=lambda one: one._head.when() if one._head else 0.0, default=self)
            longest.transport.close()

    return Protocol


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
