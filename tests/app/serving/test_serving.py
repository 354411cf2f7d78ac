"""The JSON interface: what comes back is what the library says, alone and in company."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.decoding import Decoding
from seq2seq.app.hypothesis import as_json
from seq2seq.app.pictures.projection import plane
from seq2seq.app.serving import cost, operations, requests, work
from seq2seq.app.serving.application import application
from seq2seq.app.serving.guard import Guard
from seq2seq.app.serving.programs import Programs, forget_programs, programs_made
from seq2seq.app.serving.service import Limits, Service
from seq2seq.app.serving.work import Served, _whole
from seq2seq.data import Tokenizer
from seq2seq.errors import SearchError
from seq2seq.search import force

KEEN = {"beam": 3, "nbest": 2}


def test_generate_is_what_the_library_says(post, text):
    found = post("/generate", {"inputs": ["abc", "", "fed"], "options": KEEN, "attention": True})
    expected = text.hypotheses(["abc", "", "fed"], Decoding(beam=3, nbest=2), attention=True)
    assert found["model"] == "words"
    assert [one["input"] for one in found["outputs"]] == ["abc", "", "fed"]
    for one, several in zip(found["outputs"], expected, strict=True):
        assert [h["text"] for h in one["hypotheses"]] == [h.text for h in several]
        for ours, theirs in zip(one["hypotheses"], map(as_json, several), strict=True):
            assert set(ours) == set(theirs)
            assert ours["tokens"] == theirs["tokens"]
            assert math.isclose(ours["log_probability"], theirs["log_probability"], abs_tol=1e-4)
            if theirs["attention"]:
                assert np.shape(ours["attention"]) == (len(ours["tokens"]), len(one["source_tokens"]))


def test_company_changes_no_answer(text):
    """Each request keeps its own seed and its own line numbers, whatever shares its call."""
    served = Served("words", text)
    drawn = {"sample": True, "nbest": 2}
    asked = [
        requests.Generate(("abc", "", "fed"), options=Decoding(seed=5, **drawn), attention=False),
        requests.Generate(("abc", "abc"), options=Decoding(seed=2**32 - 1, **drawn), attention=False),
    ]
    together = served.generate(asked)
    for one, ours in zip(asked, together, strict=True):
        (alone,) = served.generate([one])
        offline = text.hypotheses(one.inputs, one.options)
        for place, several in enumerate(offline):
            texts = [h.text for h in several]
            assert texts == [h.text for h in ours.outputs[place].hypotheses]
            assert texts == [h.text for h in alone.outputs[place].hypotheses]
    drawn_texts = [h.text for one in together for output in one.outputs for h in output.hypotheses]
    assert len(set(drawn_texts)) > 5  # the seed and the line count


def test_requests_at_once_share_calls(post, service):
    inputs = ["abc", "fed"] * 8
    body = [{"inputs": [one], "options": KEEN} for one in inputs]
    expected = [post("/generate", one)["outputs"][0]["hypotheses"][0]["text"] for one in body[:2]] * 8
    before = service.batcher.calls
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda one: post("/generate", one), body))
    assert [one["outputs"][0]["hypotheses"][0]["text"] for one in found] == expected
    assert service.batcher.calls - before < 16
    assert service.batcher.waiting == 0


def test_a_prefix_is_kept(post):
    outputs = post("/generate", {"inputs": ["abc", "fed"], "prefixes": ["fe", ""], "options": KEEN})["outputs"]
    assert all(h["text"].startswith("fe") for h in outputs[0]["hypotheses"])
    free = post("/generate", {"inputs": ["abc", "fed"], "options": KEEN})["outputs"][1]
    assert outputs[1]["hypotheses"][0]["text"] == free["hypotheses"][0]["text"]


def test_next_tokens_are_those_of_the_model(post, text):
    """Probabilities of next tokens multiply up to what the whole text has."""
    found = post("/next", {"input": "abc", "prefix": "cb", "count": 50})
    chosen = {one["token"]: one["log_probability"] for one in found["alternatives"]}
    assert found["prefix_tokens"] == ["c", "b"] and len(found["source_tokens"]) == 4
    # NumPy's exp and Python's may differ in the last bit.
    likeliest = pytest.approx(sorted(map(math.exp, chosen.values()), reverse=True), rel=1e-12)
    assert [one["probability"] for one in found["alternatives"]] == likeliest
    assert sum(map(math.exp, chosen.values())) <= 1 + 1e-5
    tokens, scores = text.token_scores([("abc", "cba")])[0]
    assert tokens[2] == "a" and math.isclose(chosen["a"], scores[2], abs_tol=1e-4)
    assert math.isclose(sum(found["attention"]), 1, abs_tol=1e-3)
    of_nothing = post("/next", {"input": ""})  # but its end
    assert (len(of_nothing["attention"]), of_nothing["source_tokens"]) == (1, ["<end>"])
    [forced] = post("/alignments", {"pairs": [["", "a"]]})["alignments"]
    assert np.shape(forced["attention"])[1] == len(forced["source_tokens"]) == 1
    assert [one["ends"] for one in found["alternatives"]].count(True) == 1
    assert all(one["text"] == "cb" + one["token"] * (not one["ends"]) for one in found["alternatives"])
    assert len(post("/next", {"input": "abc", "count": 2})["alternatives"]) == 2


def test_a_letter_that_is_cut_has_no_text():
    pieces = Tokenizer.train("bpe", ["abc"], vocabulary=260)  # of bytes
    ids = pieces.encode("aé")
    assert [_whole(pieces, ids[:count]) for count in range(1, len(ids) + 1)][-3:] == ["a", None, "aé"]
    assert _whole(pieces.turned(), ids[-1:]) is None  # what an output would end with


def test_a_model_that_writes_right_to_left_takes_no_beginning(text):
    turned = replace(text, target_tokenizer=text.target_tokenizer.turned())
    asked = requests.Next("abc", "a")
    with pytest.raises(SearchError, match="writes from right to left"):
        cost.of_next(turned, asked)
    assert cost.of_next(text, asked) == cost.of_next(turned, requests.Next("abc")) == cost.Cost()
    [found] = Served("m", turned).next([requests.Next("abc")])
    assert {one.text for one in found.alternatives} == {None}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_knows_the_text_up_to_each_token():
    code = (Path(work.__file__).parent / "page" / "generate.js").read_text("utf-8")
    function = re.search(r"export (function beginnings.*?\n}\n)", code, re.DOTALL)
    cases = [
        (["▁", "Ã", "©", "▁", "a", "â", "ĸ", "ģ", "b"], "é a▁b", "bpe of 300"),
        (["a", "b", "<end>"], "ab", "character"),
        (["to", "Ur"], "to Ur", "word"),
        (["Ur", "to"], "to Ur", "right-to-left word"),
    ]
    script = (
        f"{function and function[1]}; console.log(JSON.stringify({json.dumps(cases)}.map((c) => beginnings(...c))))"
    )
    found = json.loads(subprocess.run(["node", "-e", script], capture_output=True, check=True).stdout)
    wanted = ["", None, "é", "é ", "é a", None, None, "é a▁", "é a▁b"]
    assert found == [wanted, ["a", "ab", "ab<end>"], ["to", "to Ur"], [None, None]]


def test_scores_are_those_of_the_library(post, text):
    pairs = [["abc", "cba"], ["fed", "d"], ["", "a"], ["cab", ""]]
    found = post("/score", {"pairs": pairs})["scores"]
    expected = text.token_scores([tuple(pair) for pair in pairs])
    for ours, (tokens, scores) in zip(found, expected, strict=True):
        assert ours["tokens"] == tokens
        assert np.allclose(ours["token_log_probabilities"], scores, atol=1e-4)
        assert math.isclose(ours["log_probability"], sum(scores), abs_tol=1e-3)


def test_a_shortlist_is_of_what_is_generated(text):
    pairs = (("abc", "cba"), ("fed", "f"))
    whole, short = (Served("m", text, Decoding(shortlist=n)) for n in (None, 5))
    assert short.score([requests.Score(pairs)]) == whole.score([requests.Score(pairs)])
    assert short.align([requests.Alignments(pairs)]) == whole.align([requests.Alignments(pairs)])
    assert len(short.next([requests.Next("abc", count=50)])[0].alternatives) < 5


def test_the_attention_of_an_output_that_is_forced(post):
    one = post("/generate", {"inputs": ["abc"], "options": KEEN, "attention": True})["outputs"][0]
    best = one["hypotheses"][0]
    body = {"pairs": [["fed", "d"], ["abc", best["text"]]]}
    found = post("/alignments", body)["alignments"][1]
    assert found["source_tokens"] == one["source_tokens"]
    if best["finished"]:
        assert found["target_tokens"] == best["tokens"]
    count = len(found["target_tokens"]) - 1
    assert np.allclose(found["attention"][:count], best["attention"][:count], atol=1e-3)
    assert np.allclose(np.sum(found["attention"], axis=1), 1, atol=1e-3)


def test_a_long_target_and_a_long_source_of_others_are_not_laid_over_each_other(text, monkeypatch):
    shapes = []

    def forced(model, source, lengths, *targets):
        shapes.append((len(source), len(targets[0]), source.shape[1]))
        return force(model, source, lengths, *targets)

    monkeypatch.setattr(work, "force", forced)
    pairs = (("a", "abc"), ("fed" * 20, "a"), ("b", "fed" * 20))
    apart = Served("m", text).align([requests.Alignments(pairs)])
    assert max(rows for *_, rows in shapes) > 1
    shapes.clear()
    monkeypatch.setattr(work, "_MOST_WEIGHTS", 1024)
    [found] = Served("m", text).align([requests.Alignments(pairs)])
    assert len(shapes) == 3 and {rows for *_, rows in shapes} == {1}
    for one, other in zip(found.alignments, apart[0].alignments, strict=True):
        assert one.target_tokens == other.target_tokens
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-3)


def test_a_report_needs_no_model_that_is_prepared_anew(text, monkeypatch):
    served = Served("m", replace(text))
    served.ready()
    monkeypatch.setattr(Arithmetic, "of", None)
    served.listen([requests.Listen(tuple(("abc"[:n], "cba"[-n:]) for n in (1, 2, 3)))])


def test_a_model_without_attention_costs_none(text):
    asked = requests.Generate(("abc",), attention=True)
    assert cost.of_generate(text, asked).weights > 0
    blind = replace(text)
    blind.__dict__["gives_attention"] = False  # as it caches what it found
    assert cost.of_generate(blind, asked).weights == 0


def test_vectors_and_models(post, text, client):
    found = post("/embed", {"inputs": ["abc", "fed"], "model": "twin"})
    assert found["model"] == "twin"
    assert np.allclose(found["vectors"], text.embed(["abc", "fed"]), atol=1e-5)
    cards = client.get("/models").json()["models"]
    assert [card["name"] for card in cards] == ["words", "twin"]
    assert cards[0]["target_vocabulary"] == text.target_tokenizer.size
    assert client.get("/health").json() == {"status": "ok", "waiting": 0, "queue": 256}


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_is_that_of_embed_plot_whatever_else_is_asked(text, method):
    first, second = ("abc", "fed", "bad", "cab"), ("a", "b", "c")
    asked = [requests.Embed(first, method), requests.Embed(("abc",)), requests.Embed(second, "pca")]
    found = Served("words", text).embed(asked)
    assert [len(one.vectors) for one in found] == [4, 1, 3] and found[1].points is None
    assert np.allclose(found[0].points, plane(np.array(found[0].vectors, np.float32), method), atol=1e-3)
    assert np.allclose(found[2].points, plane(text.embed(list(second)), "pca"), atol=1e-3)


def test_a_map_that_cannot_be_is_refused(client, monkeypatch):
    def said(**body):
        answer = client.post("/embed", json=body)
        return answer.status_code, answer.json()["error"]["where"], answer.json()["error"]["message"]

    assert said(inputs=["a", "b"], plane="pca")[:2] == (422, "/inputs")
    assert said(inputs=["a", " ", "c"], plane="pca")[:2] == (422, "/inputs/1")
    assert said(inputs=["a", "b", "c"], plane="tnse") == (422, "/plane", "/plane: did you mean tsne?")
    monkeypatch.setattr(operations, "find_spec", lambda name: None)
    status, where, message = said(inputs=["a", "b", "c"], plane="tsne")
    assert (status, where) == (422, "/plane") and "pip install 'seq2seq-jax[plot]'" in message


def test_the_listening_report(post, trained):
    pairs = [line.split("\t") for line in (trained.parent / "pairs.tsv").read_text().splitlines()[:12]]
    found = post("/listening", {"pairs": pairs})
    assert found["report"]["listening_items"] == 10  # what fills a block
    assert found["report"]["listening_low_nats_per_token"] <= found["report"]["listening_high_nats_per_token"]
    assert len(found["outputs"]) == 12


@pytest.mark.parametrize("path", ["/generate", "/next", "/score", "/embed", "/alignments", "/listening"])
def test_every_path_is_described(client, path):
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    operation = described["paths"][path]["post"]
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert described["components"]["schemas"][name]["additionalProperties"] is False
    assert {"200", "422", "429", "504"} <= set(operation["responses"])


def test_every_reply_has_strict_headers_and_only_our_host_is_answered(client, service):
    for path in ("/", "/health", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    page = client.get("/").text
    assert "http://" not in page and "https://" not in page
    guarded = Guard(client.app, None, frozenset({"localhost"}))
    assert TestClient(guarded, base_url="http://elsewhere").get("/health").status_code == 403
    assert TestClient(guarded, base_url="http://localhost:8000").get("/health").status_code == 200


def test_programs_beyond_those_that_are_kept_are_dropped_and_answers_stay(text, monkeypatch):
    forgotten = []

    def counted(most):
        return Programs(most, forget=lambda: (forgotten.append(most), forget_programs()))

    monkeypatch.setattr("seq2seq.app.serving.service.Programs", counted)
    asked = [
        ("/generate", {"inputs": ["abc"], "options": {"beam": 2, "length_penalty": 0.3}}),
        ("/generate", {"inputs": ["abc"], "options": {"beam": 2, "length_penalty": 0.7}}),  # the same programs
        ("/next", {"input": "abc"}),
        ("/generate", {"inputs": ["abc"], "options": {"beam": 2, "length_penalty": 0.3}}),
    ]
    answers, made = [], []
    for most in (1000, 1):
        service = Service([Served("words", text)], Limits(timeout=300.0, programs=most))
        forget_programs()
        with TestClient(application(service)) as client:
            for path, body in asked:
                before = programs_made()
                answers.append(client.post(path, json=body).json())
                made.append(programs_made() - before)
        service.batcher.close()
    assert made[0] > 1 and made[1] == made[3] == 0 < made[2]
    assert forgotten == [1, 1, 1] and all(made[4:])
    assert answers[:4] == answers[4:] and answers[0] == answers[3]
