"""The ASGI application: routes, bodies within bounds, answers and refusals as JSON, and the files of the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from importlib import resources
from typing import Any

from seq2seq.app.hypothesis import as_json
from seq2seq.app.serving.guard import Guard
from seq2seq.app.serving.openapi import document
from seq2seq.app.serving.operations import OPERATIONS, STREAM, Operation
from seq2seq.app.serving.refusals import RefusedError
from seq2seq.app.serving.service import Service, as_bytes

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_INTERNAL = "something went wrong here, not in your request; the server's log tells what."


def application(service: Service, token: str | None = None, hosts: frozenset[str] | None = None) -> Any:
    """The application, which any ASGI server runs; needs Starlette.

    Args:
        service: what answers.
        token: what `Authorization: Bearer` must say; None for anybody.
        hosts: the host names that a request may be for; None for any. (A page elsewhere may point a name of its own
            at this machine; its requests say that name.)
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    def reply(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        return Response(content, status, headers, "application/json")

    def post(operation: Operation) -> Route:
        async def endpoint(request: Request) -> Response:
            body = await read_body(request, service)
            asked = service.read(operation, body)
            return reply(await in_time(request, service.answer(operation, asked), service))

        return Route(operation.path, endpoint, methods=["POST"])

    async def stream(request: Request) -> Response:
        asked = service.read(STREAM, await read_body(request, service))
        parts = service.stream(STREAM, asked)
        first = await in_time(request, anext(parts), service)  # so that what is refused has a status of its own
        return StreamingResponse(events(first, parts, service.limits.timeout), media_type=STREAM.media)

    def get(path: str, make: Any) -> Route:
        async def endpoint(request: Request) -> Response:
            return reply(as_bytes(make()))

        return Route(path, endpoint, methods=["GET"])

    async def page(request: Request) -> Response:
        content, kind = page_file(request.path_params.get("name", "index.html"))
        return Response(content, media_type=kind)

    async def refused(request: Request, error: Exception) -> Response:
        found = error if isinstance(error, RefusedError) else RefusedError(500, _INTERNAL)
        return reply(as_bytes(found.body()), found.status, found.headers)

    async def unknown(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        message = {404: "there is nothing here; GET /openapi.json tells what there is."}.get(
            status, "not allowed here."
        )
        headers = error.headers if isinstance(error, HTTPException) else None
        return reply(as_bytes(RefusedError(status, message).body()), status, dict(headers or {}))

    described = document()
    routes = [
        *map(post, OPERATIONS),
        Route(STREAM.path, stream, methods=["POST"]),
        get("/models", lambda: as_json(service.cards())),
        get("/health", lambda: as_json(service.health())),
        get("/openapi.json", lambda: described),
        Route("/", page, methods=["GET"]),
        Route("/page/{name}", page, methods=["GET"]),
    ]
    handlers = {RefusedError: refused, HTTPException: unknown, Exception: refused}
    inner = Starlette(routes=routes, exception_handlers=handlers)
    inner.router.redirect_slashes = False  # what is not there is not there
    return Guard(inner, token, hosts)


async def events(first: bytes, rest: AsyncGenerator[bytes], timeout: float) -> AsyncIterator[bytes]:
    """Server-sent events, each with a part of an answer; what goes wrong on the way is an event called "error".

    The parts have `timeout` seconds together; what the client takes to read them does not count.
    """
    async with aclosing(rest):
        yield event(first)
        left = timeout
        while True:
            began = time.monotonic()
            try:
                part = await asyncio.wait_for(anext(rest), left)
            except StopAsyncIteration:
                return
            except TimeoutError:
                yield failure(RefusedError(504, f"not done within {timeout:g} s."))
                return
            except RefusedError as error:
                yield failure(error)
                return
            except Exception:
                yield failure(RefusedError(500, _INTERNAL))
                raise  # for the log
            left -= time.monotonic() - began
            yield event(part)


def event(part: bytes) -> bytes:
    r"""A server-sent event, of JSON.

    Example:
        >>> event(b'{"text": "a"}')
        b'data: {"text": "a"}\n\n'
    """
    return b"data: " + part + b"\n\n"


def failure(error: RefusedError) -> bytes:
    """The last event of a stream that comes to no end."""
    return b"event: error\n" + event(as_bytes(error.body()))


async def read_body(request: Any, service: Service) -> bytes:
    """The body, of JSON, no larger and no slower than allowed.

    Raises:
        RefusedError: 408, 413 or 415.
    """
    from starlette.requests import ClientDisconnect

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, f"the body is {kind[:60] or 'of no type'}; send Content-Type: application/json.")
    most = service.limits.max_body
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > most:
        raise too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(service.limits.timeout):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise too_large(most)
    except TimeoutError:
        raise RefusedError(408, f"the body did not arrive within {service.limits.timeout:g} s.") from None
    except ClientDisconnect:  # nobody will read this; any other error would be one of ours, and in the log
        raise RefusedError(408, "the body did not arrive: the client went away.") from None
    return bytes(body)


def too_large(most: int) -> RefusedError:
    """A body of more than `most` bytes."""
    return RefusedError(413, f"the body is larger than {most} bytes; send fewer inputs at once.")


async def in_time(request: Any, answering: Any, service: Service) -> Any:
    """The answer, unless it takes too long or the client goes away, which both take the request out of the queue.

    Raises:
        RefusedError: 504, it takes too long.
    """

    async def stop_without_client() -> None:
        await _gone(request)
        if not time_left.expired():
            time_left.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(service.limits.timeout) as time_left:
            watching = asyncio.ensure_future(stop_without_client())
            try:
                return await answering
            finally:
                watching.cancel()
    except TimeoutError:
        message = f"no answer within {service.limits.timeout:g} s; ask for less, or try again later."
        raise RefusedError(504, message) from None


async def _gone(request: Any) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def page_file(name: str) -> tuple[bytes, str]:
    """A file of the page and its type; `name` only chooses among those that are there.

    Raises:
        RefusedError: 404, there is none of this name.
    """
    folder = resources.files("seq2seq.app.serving") / "page"
    known = {file.name: file for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}
    if name not in known:
        raise RefusedError(404, "there is no such file of the page.")
    return known[name].read_bytes(), _KINDS[name.rpartition(".")[2]]
