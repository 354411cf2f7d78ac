"""What stands before every route: who may ask, for which host, and the headers of every reply."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from seq2seq.app.serving.refusals import RefusedError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page runs and loads nothing but its own files, and no other page may frame it."""
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_OPEN = ("/", "/health")  # and the files of the page: none of them tells anything
Application = Callable[[Any, Any, Any], Awaitable[None]]


class Guard:
    """An ASGI application around another.

    Args:
        inner: what answers.
        token: what `Authorization: Bearer` must say; None for anybody.
        hosts: the host names that a request may be for; None for any.
    """

    def __init__(self, inner: Application, token: str | None = None, hosts: frozenset[str] | None = None):
        self._inner, self._hosts = inner, hosts
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse a request, or let it through."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._inner(scope, receive, with_headers)
            return
        headers = [(b"content-type", b"application/json")]
        headers += [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        await with_headers({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await with_headers({"type": "http.response.body", "body": json.dumps(refusal.body()).encode()})

    def _refusal(self, scope: Any) -> RefusedError | None:
        headers = dict(scope["headers"])
        if self._hosts is not None and host_name(headers.get(b"host", b"")) not in self._hosts:
            return RefusedError(403, "this server answers for its own address only; see seq2seq serve --host.")
        path = scope["path"]
        if self._token is None or path in _OPEN or path.startswith("/page/"):
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return None
        return RefusedError(401, "wanted Authorization: Bearer TOKEN.", headers={"WWW-Authenticate": "Bearer"})


def host_name(host: bytes) -> str:
    """The name in a Host header, without the port.

    Example:
        >>> host_name(b"[::1]:8000"), host_name(b"LocalHost:80")
        ('[::1]', 'localhost')
    """
    text = host.decode("latin-1").lower()
    return text.partition("]")[0] + "]" if text.startswith("[") else text.partition(":")[0]
