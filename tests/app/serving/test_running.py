"""A real server in a process of its own: tokens, hosts, clients that go away, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import pytest
import uvicorn

import seq2seq
from seq2seq.app.commands.serve import listen
from seq2seq.app.serving.connections import protocol
from seq2seq.errors import ConfigError

TOKEN = "a-secret"
FULL = {"inputs": ["abc"] * 64}
"""As many as are answered together, and so at once."""
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}


class Server:
    """`seq2seq serve` at a free port."""

    def __init__(self, run: Path, *options: str, files: int | None = None):
        command = [sys.executable, "-m", "seq2seq", "serve", str(run), "--port", "0", *options]
        path = os.pathsep.join([str(Path(seq2seq.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        caching = {
            "PYTHONPATH": path,  # this very tree
            "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        if files is not None:
            command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **caching}
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("Serving run at http://127.0.0.1:"), line + self.process.communicate()[1]
        self.port = int(line.rpartition(":")[2])

    def ask(self, method: str, path: str, body: Any = None, headers: Any = HEADERS) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith(b"{") else content.decode()
        finally:
            connection.close()

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(300), self.process.communicate()[1]


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the tests here, which the last of them stops."""
    secret = tmp_path_factory.mktemp("secret") / "token"
    secret.write_text(TOKEN + "\n")
    made = Server(
        trained, "--token-file", str(secret), "--wait-ms", "4000"
    )  # so that a slow machine too sees them wait
    yield made
    made.process.kill()
    made.process.wait()
    made.process.communicate()


def test_a_token_is_wanted_where_there_is_one(server):
    assert server.ask("GET", "/models")[0] == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer \xff"}):
        status, body = server.ask("GET", "/models", headers=headers)
        assert (status, body["error"]["code"]) == (401, "unauthorised")
    assert server.ask("GET", "/health", headers={})[1]["status"] == "ok"
    assert server.ask("GET", "/", headers={})[0] == 200


def test_a_client_that_goes_away_leaves_the_queue(server):
    body = json.dumps({"inputs": ["abc"] * 40}).encode()
    lines = "POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    lines += f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(lines.encode() + body)
        held = []
        while 40 not in held:
            held.append(server.ask("GET", "/health")[1]["waiting"])
            assert len(held) < 200
    while server.ask("GET", "/health")[1]["waiting"]:
        held.append(0)
        assert len(held) < 400
    assert server.ask("POST", "/embed", FULL)[0] == 200


def test_a_head_without_end_is_refused(trained):
    server = Server(trained)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client, suppress(ConnectionError):
        client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        for n in range(100):
            client.sendall(f"X-{n}: {'a' * 100_000}\r\n".encode())
        client.sendall(b"\r\n")
        assert b" 200 " not in client.recv(1000)
    assert server.ask("GET", "/health")[1]["status"] == "ok"
    assert server.stop() == (0, "WARNING:  Invalid HTTP request received.\n")


def test_trailers_without_end_are_refused(trained):
    server = Server(trained)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client, suppress(ConnectionError):
        head = "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n".encode())
        for n in range(100):
            client.sendall(f"X-{n}: {'a' * 100_000}\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert server.ask("GET", "/health")[1]["status"] == "ok"
    assert server.stop() == (0, "WARNING:  Invalid HTTP request received.\n")


def test_a_body_is_read_where_http_2_is_offered(server):
    """As Java's client offers it with each first request."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    assert server.ask("POST", "/embed", FULL, HEADERS | offer)[0] == 200


@asynccontextmanager
async def flooding(pieces: int, size: int, patience: float) -> AsyncIterator[tuple[uvicorn.Server, socket.socket]]:
    """A server whose answer is so many pieces of so many bytes, and a client who has asked for it."""

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for left in reversed(range(pieces)):
            await send({"type": "http.response.body", "body": b"a" * size, "more_body": left > 0})

    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(flood, lifespan="off", log_level="critical", http=protocol(patience, 9)))
    serving = asyncio.ensure_future(server.serve(sockets=[bound]))
    with socket.create_connection(bound.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        client.setblocking(False)
        yield server, client
    server.should_exit = True
    await serving


@pytest.mark.parametrize(("pieces", "size"), [(300, 100_000), (1, 30_000_000)])
def test_who_takes_nothing_of_an_answer_is_given_up(pieces, size):
    async def left() -> int:
        async with flooding(pieces, size, 0.2) as (server, _):
            deadline = time.monotonic() + 30
            while not server.server_state.total_requests + len(server.server_state.connections):
                await asyncio.sleep(0.01)  # until it has come
            for connection in server.server_state.connections:  # however little waits, the client is watched
                assert connection.transport.get_write_buffer_limits() == (0, 0)
            while server.server_state.connections and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            return len(server.server_state.connections)

    assert asyncio.run(left()) == 0


def test_who_takes_an_answer_slowly_has_all_of_it():
    async def taken() -> int:
        loop, found = asyncio.get_running_loop(), 0
        async with flooding(1, 30_000_000, 10.0) as (_, client):
            while part := await loop.sock_recv(client, 1 << 20):
                found += len(part)
                await asyncio.sleep(0.1)
        return found

    assert asyncio.run(taken()) > 30_000_000  # the head too


def is_closed(client: socket.socket) -> bool:
    with suppress(ConnectionError):
        return client.recv(1000) == b""
    return True


@pytest.mark.skipif(os.name != "posix", reason="needs ulimit")
def test_connections_that_ask_nothing_lock_nobody_out_and_are_closed(trained):
    server = Server(trained, "--timeout", "3", files=100)
    head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    try:
        with ExitStack() as stack:
            clients = list[socket.socket]()
            for _ in range(100):
                clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60)))
                with suppress(ConnectionError):
                    clients[-1].sendall(head)
            assert server.ask("GET", "/health")[1]["status"] == "ok"  # whatever they wait for
            kept = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            kept.sendall(head + b"\r\n")
            said = b""
            while b'"ok"' not in said:
                said += kept.recv(1000)
                assert said
            kept.sendall(head)  # nor is half of a second one waited for
            began = time.monotonic()
            assert all(map(is_closed, clients)) and is_closed(kept)
            assert time.monotonic() - began < 30
    finally:
        assert server.stop()[0] == 0


def test_an_end_answers_what_was_accepted(server):
    found: list[int] = []
    ask = {"inputs": ["abc"], "options": {"beam": 2}}
    clients = [threading.Thread(target=lambda: found.append(server.ask("POST", "/generate", ask)[0])) for _ in range(4)]
    for client in clients:
        client.start()
    deadline = time.monotonic() + 60
    while server.ask("GET", "/health")[1]["waiting"] < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    code, said = server.stop()
    for client in clients:
        client.join()
    assert found == [200] * 4
    assert (code, said) == (0, "")


STUBBORN = """
import time
from seq2seq.app.commands.serve import listen
from seq2seq.app.serving.running import run
from seq2seq.app.serving.service import Limits, Service

class Slow:
    name, text = "slow", None
    def embed(self, asked):
        print("computing", flush=True)
        time.sleep(300)

run(Service([Slow()], Limits(timeout=300.0)), listen("127.0.0.1", 0), None, None)
"""


def test_a_client_that_leaves_in_its_body_is_not_logged_and_a_second_ctrl_c_does_not_wait():
    path = os.pathsep.join([str(Path(seq2seq.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", STUBBORN]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout and process.stderr
        port = int(process.stdout.readline().rpartition(b":")[2])
        head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head + b"{")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head + b'{"inputs":["a"]}')
            assert process.stdout.readline() == b"computing\n"
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:  # the second one does not wait
                process.send_signal(signal.SIGINT)
                time.sleep(0.5)
            process.kill()
        said = process.stderr.read().decode()
    assert process.returncode == 130 and "Traceback" not in said and "Exception in ASGI" not in said


def test_what_cannot_be_served(fails, trained, tmp_path):
    assert "no MODEL" in fails("serve")
    assert "two models are called run" in fails("serve", trained, trained)
    assert "--queue is 0; wanted 1 or more" in fails("serve", trained, "--queue", 0)
    assert "--wait-ms is 60000; wanted less than --timeout" in fails("serve", trained, "--wait-ms", 60_000)
    assert "at most 86,400" in fails("serve", trained, "--timeout", 1e10)
    assert "--timeout is 0.0" in fails("serve", trained, "--timeout", 0)
    assert "--port is 70000" in fails("serve", trained, "--port", 70000)
    (tmp_path / "token").write_text("two words")
    assert "one ASCII word" in fails("serve", trained, "--token-file", tmp_path / "token")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.listen()
        assert "try another --port" in fails("serve", trained, "--port", taken.getsockname()[1])
    for host in ("192.0.2.1", "a" * 64):  # of no machine, and of none that could be
        with pytest.raises(ConfigError, match="try another --host"):
            listen(host, 0)


def test_small_answers_do_not_wait_for_company():
    """With Nagle's algorithm on, a client that acknowledges late would wait 40 ms for each."""

    async def option() -> int:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        found = asyncio.get_running_loop().create_future()
        async with await asyncio.start_server(answer, sock=listen("127.0.0.1", 0)) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.close()
            return await found

    assert asyncio.run(option())
