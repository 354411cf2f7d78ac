"""The page in a real browser: type, look at a token, force a prefix, see the heat map and the map of vectors."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_running import Server

CHROMIUM = shutil.which("chromium")
FOLDER = Path(__file__).parents[3] / ".browser"
"""Where `make browser` puts playwright, and where pictures are left."""


def test_the_page(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium here: make browser installs it, or says how")
    monkeypatch.syspath_prepend(FOLDER / "python")
    try:
        driver: Any = importlib.import_module("playwright.sync_api")
    except ImportError:
        pytest.skip("no playwright here: make browser installs it")
    pictures = FOLDER / "pictures"
    server = Server(trained, "--timeout", "120")
    said: list[str] = []
    try:
        with driver.sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.set_default_timeout(90_000)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(f"http://127.0.0.1:{server.port}/")
            look(page)
            page.screenshot(path=pictures / "generate.png", full_page=True)
            force(page)
            page.screenshot(path=pictures / "forced.png", full_page=True)
            go_without_attention(page)
            grow(page)
            turn(page)
            draw(page)
            page.screenshot(path=pictures / "map.png", full_page=True)
            page.set_viewport_size({"width": 390, "height": 844})
            page.emulate_media(color_scheme="dark")
            page.click("#tab-generate")
            page.screenshot(path=pictures / "phone.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") == 390  # nothing sticks out
            browser.close()
    finally:
        server.stop()
    refused = [text for text in said if "422" in text]  # the browser's own word on the attention of a long input
    assert len(refused) == 1 and said == refused


def look(page: Any) -> None:
    """An output, and the alternatives and the attention of tokens that are focused, walked to or hovered."""
    page.locator("#card", has_text="EncoderDecoder").wait_for()
    page.fill("#input", "abc")
    page.keyboard.press("Enter")
    page.locator("#hypotheses li").nth(4).wait_for()
    assert page.locator("#heat th[scope=col]").all_text_contents() == ["a", "b", "c", "<end>"]
    tokens = page.locator("#hypotheses li").first.locator("button.piece")
    tokens.first.focus()
    page.locator("#alternatives h3", has_text="First token").wait_for()
    page.keyboard.press("ArrowRight")
    first = tokens.first.text_content()
    page.locator("#alternatives h3", has_text=f"After “{first}”").wait_for()
    assert page.locator("#heat tr.current th").text_content() == tokens.nth(1).text_content()
    tokens.first.hover()
    page.locator("#alternatives h3", has_text="First token").wait_for()
    assert page.locator("#heat tr.current th").text_content() == first
    assert page.locator("#alternatives li.taken button").text_content() == first


def force(page: Any) -> None:
    """The outputs that begin with a token, and those that begin with an alternative of it."""
    first = page.locator("#hypotheses button.piece").first
    wanted = first.text_content()
    first.click()
    page.locator("button.forced").first.wait_for()
    assert page.input_value("#prefix") == wanted
    page.click("#free")
    page.locator("button.forced").first.wait_for(state="detached")
    page.locator("#hypotheses button.piece").first.focus()
    page.locator("#alternatives h3", has_text="First token").wait_for()
    others = page.locator("#alternatives li:not(.taken) button")
    others.nth(1).wait_for()
    other = others.nth(1).text_content()
    others.nth(1).click()
    page.locator("button.forced").first.wait_for()
    assert page.input_value("#prefix") == other
    firsts = page.locator("#hypotheses li button.piece:first-child").all_text_contents()
    assert len(firsts) == 5 and set(firsts) == {other}


def go_without_attention(page: Any) -> None:
    """An input whose attention would be too much for one answer has outputs all the same."""
    page.fill("#input", "fedcba" * 300)
    page.fill("#prefix", "")
    page.click("#ask button.main")
    page.locator("#heat", has_text="too long").wait_for()
    assert page.locator("#hypotheses li").count() == 5
    assert "bad" not in (page.locator("#status").get_attribute("class") or "")


def grow(page: Any) -> None:
    """One greedy output comes token by token, and then with what is known of it."""
    page.evaluate(
        """() => {
            window.grown = [];
            const seen = () => window.grown.push(document.getElementById("growing").textContent);
            new MutationObserver(seen).observe(document.getElementById("growing"), { childList: true });
        }"""
    )
    page.fill("#input", "fedcba")
    page.fill("#prefix", "")
    page.fill("#nbest", "1")
    page.fill("#beam", "1")
    with page.expect_response("**/stream"), page.expect_response("**/generate"):
        page.click("#ask button.main")
    page.locator("#growing", has_text="").wait_for(state="hidden")
    page.locator("#hypotheses li").first.wait_for()
    assert page.locator("#hypotheses li").count() == 1
    label = page.locator("#hypotheses li").first.get_attribute("aria-label")
    assert page.evaluate("window.grown.at(-1)") == label.removeprefix("Output 1: ")


def turn(page: Any) -> None:
    """A model that writes from right to left is asked for no beginning."""
    page.fill("#prefix", "a")
    offer = "async (rule) => (await import('/page/generate.js')).offer({ target_tokens: rule })"
    page.evaluate(offer, "right-to-left symbols")
    assert page.is_disabled("#prefix") and page.is_disabled("#free") and not page.input_value("#prefix")
    page.evaluate(offer, "symbols")
    assert page.is_enabled("#prefix")


def draw(page: Any) -> None:
    """Three lines as three points, two of which a search finds."""
    page.locator("#tab-generate").focus()
    page.keyboard.press("ArrowRight")
    page.fill("#lines", "abc\nabd\nfed")
    for method, told in (("tsne", "near points are alike"), ("pca", "of the variance")):
        page.select_option("#plane", method)
        page.click("#map-form button.main")
        page.locator("#map p", has_text=told).wait_for()
    assert page.locator("#map g").count() == 3
    page.locator("#map g circle").nth(2).hover()
    assert page.text_content("#point") == "fed"
    page.fill("#search", "ab")
    assert page.locator("#map g.found").count() == 2
