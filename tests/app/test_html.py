"""What a notebook shows of an output: a cell for each weight, text escaped, no script."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import seq2seq
from seq2seq.app.hypothesis import EMPTY, Hypothesis

EVIL = '<script>alert("1")</script>&'


def table(hypothesis: Hypothesis) -> list[list[ET.Element]]:
    page = hypothesis._repr_html_().replace("&nbsp;", " ")
    return [list(row) for row in ET.fromstring(page).iter("tr")]  # well formed, or this fails


def test_a_cell_for_each_weight(trained):
    best = seq2seq.load(trained).hypotheses(["abc"], attention=True)[0][0]
    assert best.attention is not None
    head, *rows = table(best)
    assert [cell.text or "" for cell in head] == ["", "a", "b", "c", "<end>", "p"]
    assert [row[0].text for row in rows] == best.tokens
    shares = [[re.findall(r"([\d.]+) %", cell.get("title", ""))[0] for cell in row[1:-1]] for row in rows]
    np.testing.assert_allclose(np.array(shares, float) / 100, best.attention, atol=6e-4)
    probabilities = [float((row[-1].text or "").rstrip(" %")) for row in rows]
    np.testing.assert_allclose(probabilities, 100 * np.exp(best.token_log_probabilities), atol=0.06)


def test_without_attention_there_are_probabilities_alone(trained):
    best = seq2seq.load(trained).hypotheses(["abc"])[0][0]
    assert [cell.text or "" for cell in table(best)[0]] == ["", "p"]
    assert [[cell.text or "" for cell in row] for row in table(EMPTY)] == [["", "p"]]


@pytest.mark.parametrize("nan", [False, True])
def test_text_is_text(nan):
    weights = np.full((1, 1), np.nan if nan else 1.0, np.float32)
    page = Hypothesis(EVIL, 0.0, 0.0, False, [EVIL], [-1.0], weights, source_tokens=[EVIL])._repr_html_()
    assert "<script" not in page and page.count("&lt;script&gt;") == 4 and "cut off" in page
    assert not re.search(r"https?:|url\(|nan", page)
