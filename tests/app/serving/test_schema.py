"""The OpenAPI document against the server: what it says is taken is taken, and what it says is refused is refused."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_running import Server

from seq2seq.app.serving.operations import OPERATIONS, STREAM

CONFIG = """
[checks]
# The names of models are not in the schema.
positive_data_acceptance.expected-statuses = ["2xx", "404"]

# That one number may not be above another (nbest and beam, min_length and max_length) no JSON Schema says.
[[operations]]
include-path = ["/generate", "/stream"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]

[generation]
mode = "all"
"""


def fits(schema: Any, value: Any) -> bool:
    """Whether a value goes with what a schema says of values that go together."""
    if schema is False:
        return False
    if "if" in schema and not fits(schema["then" if fits(schema["if"], value) else "else"], value):
        return False
    if value != schema.get("const", value) or (isinstance(value, list) and len(value) > schema.get("maxItems", 256)):
        return False
    if not isinstance(value, dict):
        return True
    inner = schema.get("properties", {})
    return set(schema.get("required", ())) <= set(value) and all(fits(inner.get(n, {}), v) for n, v in value.items())


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, True),
        ({"temperature": 1, "top_p": 1.0}, True),
        ({"temperature": 0.5}, False),
        ({"sample": False, "top_k": 3}, False),
        ({"sample": True, "temperature": 0.5, "top_k": 3, "top_p": 0.9}, True),
        ({"sample": True, "length_norm": "power", "groups": 1, "require": []}, True),
        ({"sample": True, "require": ["a"]}, False),
        ({"sample": True, "length_norm": "gnmt"}, False),
        ({"length_norm": "gnmt", "coverage_penalty": 0.5}, True),
    ],
)
def test_the_schema_says_which_options_go_together(client, options, taken):
    body = {"inputs": ["abc"], "options": options}
    assert client.post("/generate", json=body).status_code == (200 if taken else 422)
    schema = OPERATIONS[0].body.schema()["properties"]["options"]
    assert fits(schema, options) == taken
    if set(options) <= set(STREAM.body.shapes["options"].schema()["properties"]):
        status = client.post("/stream", json={"input": "abc", "options": options}).status_code
        assert status == (200 if taken else 422)
        assert fits(STREAM.body.schema()["properties"]["options"], options) == taken


def test_no_prefixes_are_no_list_of_them(client):
    (several, _) = OPERATIONS[0].body.schema()["properties"]["prefixes"]["anyOf"]
    assert several["minItems"] == 1


def test_schemathesis_finds_nothing(trained: Path, tmp_path: Path):
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("no schemathesis here: pip install schemathesis, into a folder of PYTHONPATH if you like")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    server = Server(trained, "--timeout", "120")
    try:
        words = ["run", f"http://127.0.0.1:{server.port}/openapi.json", "--phases", "coverage", "--seed", "1"]
        words += [
            word for path in ("/generate", "/next", "/stream", "/alignments") for word in ("--include-path", path)
        ]
        command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", *words]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=900, env={**os.environ, "NO_COLOR": "1"})
    finally:
        server.stop()
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
