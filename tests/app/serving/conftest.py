"""A service over the shared small run, in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import seq2seq
from seq2seq.app.serving.application import application
from seq2seq.app.serving.service import Limits, Service
from seq2seq.app.serving.work import Served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Starlette, which prefers a package that does the same
    from starlette.testclient import TestClient

Post = Callable[..., Any]


@pytest.fixture(scope="session")
def text(trained: Path) -> seq2seq.TextModel:
    return seq2seq.load(trained)


@pytest.fixture(scope="session")
def service(text: seq2seq.TextModel) -> Iterator[Service]:
    made = Service([Served("words", text), Served("twin", text)], Limits(timeout=300.0, max_body=50_000))
    yield made
    made.batcher.close()


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(application(service), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def post(client: TestClient) -> Post:
    """`post("/score", {...})`: the JSON of the answer; with `status`, that of the refusal."""

    def call(path: str, body: Any, status: int = 200) -> Any:
        answer = client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    return call
