"""What the scripts of the page do, by node and a document of a few lines; a real browser is another test's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from seq2seq.app.serving import work

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
PAGE = Path(work.__file__).parent / "page"
BEGIN = """
import { readFileSync } from "node:fs";
import { stand } from "./page_dom.mjs";

const html = readFileSync("index.html", "utf8");
const card = (name, rule) => ({ name, type: "T", source_tokens: rule, target_tokens: rule, source_vocabulary: 9,
  target_vocabulary: 9, source_longest: 9, target_longest: 9, embeds: true });
const output = (...tokens) => ({ text: tokens.join(" "), score: -1, log_probability: -1, finished: false, tokens,
  token_log_probabilities: tokens.map(() => -0.5), attention: null });
const found = (...hypotheses) => ({ model: "words", outputs: [{ input: "in", source_tokens: ["in"], hypotheses }] });
const next = (token) => ({ prefix_tokens: [], alternatives: [{ token, text: token, probability: 0.5, ends: false }] });
const asked = [];
const answers = { "/models": { models: [card("words", "word"), card("letters", "character")] } };
const of = (path) => asked.filter(([one]) => one === path).map(([_, body]) => body);
const rest = (ms = 0) => new Promise((done) => setTimeout(done, ms)); // 200 and the pointer has come to rest
const generate = async () => { $("model").value = "words"; await $("ask").hear("submit"); };
const piece = (at) => $("hypotheses").querySelectorAll("button.piece")[at];
"""


def play(folder: Path, script: str, navigator: str = "{}") -> Any:
    """What the script tells, as JSON, after the page has begun."""
    shutil.copytree(PAGE, folder / "page")
    shutil.copy(Path(__file__).with_name("page_dom.mjs"), folder / "page")
    (folder / "page" / "package.json").write_text('{"type": "module"}')
    made = f'const $ = stand(html, answers, asked, {navigator});\nawait import("./main.js");\nawait rest();\n'
    (folder / "page" / "test.js").write_text(BEGIN + made + script)
    ran = subprocess.run(["node", "test.js"], cwd=folder / "page", capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("event", ["mouseenter", "focus"])
def test_a_token_that_is_looked_at_shows_its_alternatives(tmp_path, event):
    script = """
        answers["/generate"] = found(output("to", "Ur"));
        answers["/next"] = next("Haran");
        await generate();
        await piece(1).hear("EVENT");
        await rest(200);
        const label = $("alternatives").querySelector("button").textContent;
        console.log(JSON.stringify([of("/next"), label, piece(1).getAttribute("aria-current")]));
    """
    wanted = {"model": "words", "input": "in", "prefix": "to", "count": 10}
    assert play(tmp_path, script.replace("EVENT", event)) == [[wanted], "Haran", "true"]


def test_a_token_forces_by_the_rule_of_the_model_that_said_it(tmp_path):
    script = """
        answers["/generate"] = found(output("to", "Ur", "of"));
        answers["/next"] = next("Haran");
        await generate();
        $("model").value = "letters";
        await piece(1).hear("mouseenter");
        await rest(200);
        await piece(1).hear("click");
        await rest();
        console.log(JSON.stringify([of("/next")[0], of("/generate").at(-1).prefixes]));
    """
    looked, forced = play(tmp_path, script)
    assert (looked["model"], looked["prefix"], forced) == ("words", "to", ["to Ur"])


def test_a_pointer_that_passes_looks_at_nothing(tmp_path):
    script = """
        answers["/generate"] = found(output("to", "Ur"), output("of", "Ur"));
        answers["/next"] = next("Haran");
        await generate();
        await piece(0).hear("focus");
        for (const at of [1, 2, 3]) for (const event of ["mouseenter", "mouseleave"]) await piece(at).hear(event);
        await rest(200);
        const stops = $("hypotheses").querySelectorAll("button.piece").map((one) => one.tabIndex);
        console.log(JSON.stringify([of("/next").length, stops]));
    """
    assert play(tmp_path, script) == [1, [0, -1, -1, -1]]  # one stop of Tab: the next is an alternative


def test_a_token_forces_for_the_input_that_it_was_said_to(tmp_path):
    script = """
        answers["/generate"] = found(output("to", "Ur"));
        answers["/next"] = next("Haran");
        $("input").value = "in";
        await generate();
        $("input").value = "something else";
        await piece(0).hear("click");
        await rest();
        console.log(JSON.stringify([of("/generate").at(-1), $("by").textContent]));
    """
    asked, by = play(tmp_path, script)
    assert (asked["inputs"], asked["prefixes"], by) == (["in"], ["to"], "of words")


def test_a_word_of_an_input_method_is_not_sent(tmp_path):
    script = """
        let sent = 0;
        $("ask").requestSubmit = () => sent++;
        for (const more of [{ isComposing: true }, { keyCode: 229 }, { shiftKey: true }, {}]) {
            await $("input").hear("keydown", { key: "Enter", ...more });
        }
        console.log(JSON.stringify(sent));
    """
    assert play(tmp_path, script) == 1


def test_what_cannot_be_seen_has_a_name(tmp_path):
    script = r"""
        const { named, shown } = await import("./dom.js");
        const tokens = [" ", "\u00a0", "\u0301", "\t", "a", "\u200dx", ""];
        console.log(JSON.stringify([tokens.map(shown), named(" ")]));
    """
    assert play(tmp_path, script) == [["␣", "U+00A0", "◌\u0301", "U+0009", "a", "\u200dx", ""], "space"]


def test_tokens_taken_apart_have_their_places(tmp_path):
    script = r"""
        const { beginnings } = await import("./generate.js");
        const tokens = ["▁가나".normalize("NFD"), "다".normalize("NFD"), "▁x", "<end>"];
        console.log(JSON.stringify(beginnings(tokens, "가나다 x", "bpe in NFD").map((one) => one?.normalize("NFC"))));
    """
    assert play(tmp_path, script)[:3] == ["가나", "가나다", "가나다 x"]


def test_a_token_of_another_alphabet_is_told(tmp_path):
    script = """
        $("token").value = "пароль";
        await $("token-form").hear("submit");
        console.log(JSON.stringify([$("status").textContent, asked.length]));
    """
    said, asked = play(tmp_path, script)
    assert "one word of ASCII" in said and asked == 1


def test_attention_too_large_to_draw_is_told(tmp_path):
    script = """
        const { heatMap } = await import("./heatmap.js");
        const many = Array(200).fill("a");
        const made = heatMap(many, { tokens: many, attention: many.map(() => many.map(() => 0)) }, "");
        console.log(JSON.stringify([made.name, made.textContent.slice(0, 17)]));
    """
    assert play(tmp_path, script) == ["p", "Too large to draw"]


def test_a_finger_looks_at_a_token_before_it_forces(tmp_path):
    script = """
        answers["/generate"] = found(output("to", "Ur", "of"));
        answers["/next"] = next("Haran");
        await generate();
        const counts = [];
        for (let tap = 0; tap < 2; tap++) {
            await piece(1).hear("pointerdown", { pointerType: "touch" });
            for (const event of ["mouseenter", "focus", "click"]) await piece(1).hear(event);
            await rest(200);
            counts.push([of("/next").length, of("/generate").length]);
        }
        await piece(2).hear("pointerdown", { pointerType: "touch" });
        await piece(2).hear("click"); // the finger looks
        await piece(2).hear("click"); // a key
        await rest();
        counts.push([of("/generate").length]);
        console.log(JSON.stringify([counts, of("/generate").at(-1).prefixes]));
    """
    counts, forced = play(tmp_path, script)
    assert counts[0] == [1, 1] and counts[1][1] == 2 and counts[2] == [3] and forced == ["to Ur of"]


def test_alternatives_that_come_late_are_not_shown_beside_another_answer(tmp_path):
    script = """
        let send;
        answers["/generate"] = found(output("to", "Ur"));
        answers["/next"] = () => new Promise((done) => (send = done));
        await generate();
        const looking = piece(1).hear("focus");
        answers["/generate"] = found(output("from", "Ur"));
        await generate();
        send(next("late"));
        await looking;
        console.log(JSON.stringify($("alternatives").textContent));
    """
    assert play(tmp_path, script) == "Here come the alternatives of a token."


@pytest.mark.parametrize(
    "navigator", ["{}", '{ clipboard: { writeText: () => Promise.reject(new Error("no")) } }'], ids=["none", "refused"]
)
@pytest.mark.parametrize("able", [True, False])
def test_an_answer_is_copied_where_the_browser_lends_no_clipboard(tmp_path, navigator, able):
    script = """
        answers["/generate"] = found(output("to", "Ur"));
        await generate();
        document.execCommand = () => ABLE;
        await $("copy").hear("click");
        const left = $("json").querySelectorAll("textarea").length;
        console.log(JSON.stringify([JSON.parse(document.selected).model, left, $("status").textContent]));
    """
    model, left, said = play(tmp_path, script.replace("ABLE", str(able).lower()), navigator)
    assert (model, left) == ("words", 0 if able else 1)
    assert said == "Copied." if able else "copy what is selected" in said


@pytest.mark.parametrize(
    ("method", "told"),
    [("pca", "across 75.0 % of the variance, upwards 25.0 %"), ("tsne", "near points are alike")],
)
def test_a_map_has_a_point_for_each_line_and_says_what_its_axes_are(tmp_path, method, told):
    script = r"""
        answers["/embed"] = { vectors: [[3, 1, 5], [0, -2, 5], [-3, 1, 5]], points: [[3, 1], [0, -2], [-3, 1]] };
        $("model").value = "words";
        $("plane").value = "METHOD";
        $("lines").value = "a\nb\n\nc";
        await $("map-form").hear("submit");
        console.log(JSON.stringify([of("/embed"), $("map").textContent]));
    """
    (asked,), said = play(tmp_path, script.replace("METHOD", method))
    assert asked == {"model": "words", "inputs": ["a", "b", "c"], "plane": method} and told in said


def test_what_is_asked_before_the_models_are_known_is_told(tmp_path):
    script = """
        $("model").value = "";
        await $("ask").hear("submit");
        console.log(JSON.stringify([$("status").textContent, asked.map(([path]) => path)]));
    """
    said, asked = play(tmp_path, script)
    assert said == "No model is known here yet: give the token above, or load the page again." and asked == ["/models"]
