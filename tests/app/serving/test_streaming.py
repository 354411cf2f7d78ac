"""Outputs that grow: what is streamed is what is generated, and streams harm nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from seq2seq.app.decoding import Decoding
from seq2seq.app.serving.application import events
from seq2seq.app.serving.batching import Batcher, Job
from seq2seq.app.serving.operations import STREAM
from seq2seq.app.serving.refusals import RefusedError
from seq2seq.app.serving.service import Limits, Service
from seq2seq.app.serving.work import Served
from seq2seq.app.streaming import stream
from seq2seq.errors import SearchError


def parts(answer: Any) -> list[dict[str, Any]]:
    """The data of events without a name."""
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream"), answer.text
    events = answer.text.split("\n\n")
    assert events.pop() == "" and all(one.startswith("data: ") for one in events)
    return [json.loads(one.removeprefix("data: ")) for one in events]


@pytest.mark.parametrize("decoding", [Decoding(beam=1), Decoding(sample=True, temperature=1.5, seed=3, min_length=3)])
@pytest.mark.parametrize("prefix", ["", "fa"])
def test_what_is_streamed_is_what_is_found(text, decoding, prefix):
    for line, source in enumerate(("abc", "", "fedcba")):
        prefixes = [prefix] if prefix else None
        [[wanted]] = text.hypotheses([source], decoding, first_line=line, prefixes=prefixes)
        grown = list(stream(text, source, decoding, prefix, line=line))
        assert grown[-1].text == wanted.text and grown[-1].ends and not any(one.ends for one in grown[:-1])
        if source:
            assert [one.token for one in grown] == wanted.tokens
            logs = [one.log_probability for one in grown]
            np.testing.assert_allclose(logs, wanted.token_log_probabilities, atol=1e-4)


@pytest.mark.parametrize("how", [{}, {"beam": 1, "require": ("a",)}, {"sample": True, "nbest": 2}])
def test_what_needs_whole_outputs_is_refused(text, how):
    with pytest.raises(SearchError, match="whole outputs"):
        next(stream(text, "abc", Decoding(**how)))


def test_the_server_streams(client, text):
    found = parts(client.post("/stream", json={"input": "abc", "prefix": "f"}))
    [[wanted]] = text.hypotheses(["abc"], Decoding(beam=1), prefixes=["f"])
    assert found[-1]["text"] == wanted.text and found[-1]["ends"] and found[0]["model"] == "words"
    assert [one["token"] for one in found] == wanted.tokens
    body = {"input": "abc", "options": {"sample": True, "seed": 7}, "model": "twin"}
    [[drawn]] = text.hypotheses(["abc"], Decoding(sample=True, seed=7))
    assert parts(client.post("/stream", json=body))[-1]["text"] == drawn.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"input": "abc", "model": "nobody"}, 404),
        ({"input": "abc", "options": {"beam": 4}}, 422),
        ({"input": "abc", "options": {"min_length": 9, "max_length": 3}}, 422),
        ({"input": "abc", "prefix": "xyz"}, 422),
        ({}, 422),
    ],
)
def test_what_is_refused_has_a_status(post, body, status):
    assert post("/stream", body, status)["error"]["message"]


def test_streams_beside_others_change_nothing(client):
    bodies = [("/stream", {"input": word}) for word in ("abc", "fed", "bad")]
    bodies += [("/generate", {"inputs": [word], "options": {"beam": 1}}) for word in ("abc", "fed", "bad")]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: client.post(one[0], json=one[1]), bodies))
    for streamed, whole in zip(answers[:3], answers[3:], strict=True):
        assert parts(streamed)[-1]["text"] == whole.json()["outputs"][0]["hypotheses"][0]["text"]


def test_what_goes_on_finds_room_and_does_not_wait():
    batcher = Batcher(batch=8, wait=60.0, queue=1)
    assert batcher.put(Job("a", lambda asked: asked, "part", goes_on=True)).result(5) == "part"
    first = batcher.put(Job("b", lambda asked: asked, "waits"))
    with pytest.raises(RefusedError):
        batcher.put(Job("c", lambda asked: asked, "no room"))
    going = batcher.put(Job("c", lambda asked: asked, "room", goes_on=True))
    assert going.result(5) == "room" and not first.done()
    first.cancel()
    batcher.close()


def test_open_streams_are_bounded(text):
    service = Service([Served("words", text)], Limits(queue=1))

    async def several() -> tuple[bytes, bytes]:
        body = STREAM.body.read({"input": "abc"}, "")
        first = service.stream(STREAM, body)
        begun = await anext(first)
        with pytest.raises(RefusedError, match="1 outputs are being streamed and 1 may") as refused:
            await anext(service.stream(STREAM, body))
        assert refused.value.status == 429
        await first.aclose()  # as when its client goes away
        return begun, await anext(service.stream(STREAM, body))

    begun, again = asyncio.run(several())
    assert begun == again
    service.batcher.close()


async def _parts(fails: Exception | None, seconds: float = 0.0) -> AsyncGenerator[bytes]:
    yield b'{"text": "a"}'
    await asyncio.sleep(seconds)
    if fails:
        raise fails
    yield b'{"text": "ab"}'


async def _events(fails: Exception | None = None, seconds: float = 0.0, read: float = 0.0) -> list[str]:
    """The events of a stream that comes to its end, or not, whose client takes its time to read."""
    found = []
    rest = _parts(fails, seconds)
    with suppress(RuntimeError):
        async for one in events(await anext(rest), rest, 0.2):
            found.append(one.decode())
            await asyncio.sleep(read)
    return found


def test_what_goes_wrong_on_the_way_is_an_event():
    assert asyncio.run(_events()) == ['data: {"text": "a"}\n\n', 'data: {"text": "ab"}\n\n']
    assert asyncio.run(_events(read=0.3)) == asyncio.run(_events())  # a slow client
    for fails, seconds, code in (
        (RefusedError(422, "no"), 0, "invalid"),
        (RuntimeError("of a model"), 0, "internal"),
        (None, 9, "timeout"),
    ):
        *_, last = asyncio.run(_events(fails, seconds))
        assert last.startswith("event: error\ndata: {") and f'"{code}"' in last


def test_the_document_tells_of_events(client):
    document = client.get("/openapi.json").json()
    described = document["paths"]["/stream"]["post"]
    assert set(described["responses"]["200"]["content"]) == {"text/event-stream"}
    options = json.dumps(document["components"]["schemas"]["Stream"])
    assert '"temperature"' in options and '"beam"' not in options
