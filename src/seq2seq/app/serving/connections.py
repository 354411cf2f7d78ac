"""Connections: those that ask or take nothing are closed, and there are never more than the process may have files."""

from __future__ import annotations

import asyncio
import os
from typing import Any

_OTHER_FILES = 32
"""Descriptors for what is no connection: compiled programs, the page, and a burst that is accepted at once."""


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
        patience: seconds until the head of a request is there, from when there was none, and in which a client may
            take nothing of an answer that waits for it; then the connection is closed.
        most: connections; one more closes that which has asked nothing for longest, or is itself closed.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        _head: asyncio.TimerHandle | None = None  # closes, while no head is there
        _unread: asyncio.TimerHandle | None = None  # closes, while the client takes nothing

        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # so that a client is watched while any byte waits for it
            self._wait()
            if len(self.connections) > most:
                self._make_room()

        def handle_events(self) -> None:
            super().handle_events()
            self._wait()

        def _unsupported_upgrade_warning(self) -> None:
            """Whoever offers another protocol is answered in this one (RFC 9110, 7.8): nothing is missing here."""

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._unread = _stopped(self._unread)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._head, self._unread = _stopped(self._head), _stopped(self._unread)

        def _watch(self, before: float = float("inf")) -> None:
            """Give a client up that has taken nothing since there were so many bytes for it."""
            left = self.transport.get_write_buffer_size()
            if left < before:
                self._unread = self.loop.call_later(patience, self._watch, left)
            else:
                self.transport.abort()

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
