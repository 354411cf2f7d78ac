"""Whatever is sent, the answer is 200 or says what was wrong and where: never 500."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.app.serving.operations import OPERATIONS

PATHS = [operation.path for operation in OPERATIONS]
NAMES = sorted({name for operation in OPERATIONS for name in operation.body.shapes})
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(10**400)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
BODIES = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=4)


@given(st.sampled_from(PATHS), BODIES | VALUES)
@settings(max_examples=60)
def test_hostile_values(client, path, body):
    answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), (answer.status_code, answer.text)
    assert answer.json()["error"]["message"]


@given(st.sampled_from(PATHS), st.binary(max_size=40))
@settings(max_examples=30)
def test_hostile_bytes(client, path, body):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


@given(st.text(max_size=12), st.text(max_size=6))
@settings(max_examples=25)
def test_any_text_is_scored_or_refused(client, source, target):
    answer = client.post("/score", content=json.dumps({"pairs": [[source, target]]}), headers=JSON)
    assert answer.status_code in (200, 422), answer.text


JSON = {"content-type": "application/json"}
DEEP = b"[" * 20_000 + b"]" * 20_000


@pytest.mark.parametrize(
    ("path", "body", "status", "where", "said"),
    [
        ("/generate", b"{", 400, None, "not JSON"),
        ("/generate", b"\xff", 400, None, "UTF-8 at byte 0"),
        ("/generate", DEEP, 400, None, ""),
        ("/generate", b'{"inputs": ["a"], "options": {"beam": NaN}}', 400, None, "NaN"),
        ("/generate", b"[]", 422, "", "wanted a table with inputs"),
        ("/generate", b"{}", 422, "", "inputs is missing"),
        ("/generate", b'{"inputs": "abc"}', 422, "/inputs", "wanted a list"),
        ("/generate", b'{"inputs": []}', 422, "/inputs", "0 items; wanted 1 to 256"),
        ("/generate", b'{"inputs": ["a", 1]}', 422, "/inputs/1", "/inputs/1 is 1; wanted a text"),
        ("/generate", b'{"inputs": ["a\\ud800"]}', 422, "/inputs/0", "surrogate"),
        ("/generate", b'{"inputs": ["a", "b\\u0000"]}', 422, "/inputs/1", "NUL"),
        ("/generate", b'{"inputs": ["a"], "beam": 3}', 422, "", "nothing is called 'beam'"),
        ("/generate", b'{"inputs": ["a"], "options": {"bean": 3}}', 422, "/options", "did you mean ban or beam?"),
        ("/generate", b'{"inputs": ["a"], "options": {"beam": 3.5}}', 422, "/options/beam", "a whole number"),
        ("/generate", b'{"inputs": ["a"], "options": {"beam": 1e99}}', 422, "/options/beam", "out of range"),
        ("/generate", b'{"inputs": ["a"], "options": {"beam": true}}', 422, "/options/beam", "a whole number"),
        ("/generate", b'{"inputs": ["a"], "options": {"batch": 1}}', 422, "/options", "nothing is called 'batch'"),
        ("/generate", b'{"inputs": ["a"], "options": {"nbest": 9}}', 422, "/options", "--nbest 9 needs"),
        ("/generate", b'{"inputs": ["a"], "options": {"mbr": "chr"}}', 422, "/options/mbr", "did you mean chrf?"),
        ("/generate", b'{"inputs": ["a"], "options": {"ban": ["?"]}}', 422, "", "not in the model's vocabulary"),
        ("/generate", b'{"inputs": ["a", "b"], "prefixes": ["", "xyz"]}', 422, "/prefixes/1", "'x', which is not in"),
        ("/stream", b'{"input": "a", "prefix": "xyz"}', 422, "/prefix", "'x', which is not in"),
        ("/next", b'{"input": "a", "prefix": "xyz"}', 422, "/prefix", "'x', which is not in"),
        ("/next", b'{"input": "a", "prefix": " "}', 422, "/prefix", "' ', which is not in"),
        ("/generate", b'{"inputs": ["a"], "prefixes": []}', 422, "/prefixes", "0 items for 1 inputs"),
        ("/generate", b'{"inputs": ["a"], "model": "wrods"}', 404, "/model", "did you mean words?"),
        ("/score", b'{"pairs": [["a"]]}', 422, "/pairs/0", "1 items; wanted 2 to 2"),
        ("/next", b'{"input": "a", "count": 0}', 422, "/count", "wanted a whole number from 1 to 50"),
    ],
)
def test_what_is_wrong_and_where(client, path, body, status, where, said):
    answer = client.post(path, content=body, headers=JSON)
    error = answer.json()["error"]
    assert (answer.status_code, error.get("where")) == (status, where), error
    assert said in error["message"] and "\n" not in error["message"]


LONG = "abcdef" * 300


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/generate", {"inputs": ["abc"] * 99, "options": {"beam": 64, "max_length": 1000}}, "6,336,000 target tokens"),
        ("/generate", {"inputs": ["abc"] * 99, "options": {"beam": 64, "min_length": 1000}}, "6,399,360 target tokens"),
        ("/generate", {"inputs": ["abc"] * 9, "options": {"beam": 64}, "prefixes": [LONG] * 9}, "target tokens"),
        ("/generate", {"inputs": [LONG], "options": {"max_length": 500}, "attention": True}, "weights of attention"),
        ("/alignments", {"pairs": [[LONG, LONG]] * 2}, "weights of attention"),
        ("/listening", {"pairs": [[f"{n}", LONG] for n in range(20)]}, "target tokens"),
        ("/score", {"pairs": [["abc", LONG]] * 20}, None),
    ],
)
def test_what_costs_too_much(client, path, body, said):
    answer = client.post(path, json=body)
    if said is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 422 and said in answer.json()["error"]["message"], answer.text


def test_other_refusals(client):
    assert client.get("/nothing").status_code == 404
    answer = client.get("/generate")
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert client.post("/score", content=b"{}").status_code == 415
    assert client.post("/score", content=b" " * 50_001, headers=JSON).status_code == 413
    assert client.post("/score", content=iter([b" " * 30_000] * 2), headers=JSON).status_code == 413
    for name in ("../service.py", "..%2fservice.py", "nothing.js", "%2e%2e", "index.html/"):
        assert client.get(f"/page/{name}").status_code == 404
