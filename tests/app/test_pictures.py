"""Pictures hold what they should: the log's numbers, a cell for each weight, tokens that can be read."""

from __future__ import annotations

import io
import json
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seq2seq
from seq2seq.app.pictures import fonts, terminal
from seq2seq.app.pictures.attention import look
from seq2seq.app.pictures.curves import Line, Panel, curves_of
from seq2seq.app.pictures.fonts import choose, fonts_for
from seq2seq.app.pictures.projection import plane
from seq2seq.app.pictures.terminal import Screen
from seq2seq.app.text_model import Decoding, TextModel
from seq2seq.core.seams import END, Prediction
from seq2seq.data import Tokenizer
from seq2seq.errors import DataError, ModuleError

WEIGHTS = np.array([[0.9, 0.1, 0.0], [0.25, 0.5, 0.26]], np.float32)


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", head[16:])


def test_the_curves_are_the_numbers_of_the_log(trained):
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    updated = [event for event in log if event["event"] == "updated"]
    evaluated = [event for event in log if event["event"] == "evaluated" and not event["averaged"]]
    found = curves_of((trained / "log.jsonl").read_text().splitlines(), "log.jsonl")
    assert not found.notes
    lines = {(panel.title, line.name): line for panel in found.panels for line in panel.lines}
    for title, name, field in (
        ("loss, nats/token", "training", "loss"),
        ("gradient norm", "", "gradient_norm"),
        ("tokens/s", "", "tokens_per_second"),
        ("learning rate", "", "rate"),
    ):
        assert lines[title, name].values == [event[field] for event in updated]
        assert lines[title, name].updates == [event["update"] for event in updated]
    dev = lines["loss, nats/token", "dev"]
    assert dev.values == [event["scores"]["loss_nats_per_token"] for event in evaluated]
    assert dev.best == [place for place, event in enumerate(evaluated) if event["is_best"]]
    assert len(found.panels) == 5


def test_what_a_killed_run_left_is_drawn_and_the_rest_told():
    whole = '{"event": "updated", "update": 5, "loss": null, "rate": 0.1}'
    lines = [whole, "", "[1]", '{"event": "evaluated", "update": 5, "scores": 3}', '{"event": "upda']
    found = curves_of(lines, "log.jsonl")
    assert found.notes == ["log.jsonl: 3 lines are no events and are left out (first: line 3)."]
    assert [panel.title for panel in found.panels] == ["loss, nats/token", "learning rate"]
    assert np.isnan(found.panels[0].lines[0].values).all()
    assert "never a finite number" in terminal.charts(found.panels)


def test_a_line_that_ends_in_no_number_ends_where_it_does():
    title, top, bottom, axis = terminal.chart("loss", Line("", [0, 1, 2, 3], [np.nan, 1.0, 2.0, np.nan], []), 17, 2)
    assert title.rstrip() == "loss: nan"
    assert bottom[3:7].isspace() and bottom[7] == "▁"  # 1.0 at a third of the way, nothing before
    assert top.endswith("█    ") and bottom.endswith("█    ")  # 2.0 at two thirds
    assert axis.rstrip().endswith("update 0 to 3")


def test_a_run_is_drawn_as_png_svg_and_in_the_terminal(run, trained, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "60")
    ran = run("plot", trained)
    assert ran.code == 0 and "learning rate" in ran.out and "\x1b" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= 60
    for name in ("run.png", "run.svg"):
        ran = run("plot", trained, "-o", name)
        assert (ran.code, ran.out) == (0, "") and f"Wrote {name}" in ran.err
    width, height = png_size(Path("run.png"))
    assert 1000 < width < 4000 and 500 < height < 2000
    assert ET.parse("run.svg").getroot().tag.endswith("svg")
    assert run("plot", trained, "-o", "again.svg").code == 0
    assert Path("again.svg").read_bytes() == Path("run.svg").read_bytes()


def test_the_figure_of_a_run_has_a_line_for_each_line(trained):
    pytest.importorskip("matplotlib")
    from seq2seq.app.pictures.figures import curves_figure

    panels = curves_of((trained / "log.jsonl").read_text().splitlines(), "log.jsonl").panels
    figure = curves_figure(panels)
    assert [axes.get_title() for axes in figure.axes] == [panel.title for panel in panels]
    for axes, panel in zip(figure.axes, panels, strict=True):
        for line in panel.lines:
            assert any(np.array_equal(drawn.get_ydata(), line.values) for drawn in axes.lines)


def test_the_attention_drawn_is_that_of_the_model(run, trained):
    pytest.importorskip("matplotlib")
    from seq2seq.app.pictures.figures import attention_figure

    model = seq2seq.load(trained)
    best = model.hypotheses(["abc"], attention=True)[0][0]
    found = look(model, "abc")
    assert found.source == ["a", "b", "c", "<end>"] == best.source_tokens
    assert found.target == best.tokens
    np.testing.assert_array_equal(found.attention, best.attention)
    figure = attention_figure(found.attention, found.source, found.target, fonts_for("abc<end>"))
    (axes, _) = figure.axes
    np.testing.assert_array_equal(axes.images[0].get_array(), best.attention)
    assert [label.get_text() for label in axes.get_xticklabels()] == found.source
    assert [label.get_text() for label in axes.get_yticklabels()] == found.target
    ran = run("plot", trained, "--attention", "abc", "-o", "attention.png")
    assert ran.code == 0 and min(png_size(Path("attention.png"))) > 200


def test_attention_to_a_given_target_is_that_of_the_search(trained):
    model = seq2seq.load(trained)
    best = model.hypotheses(["abc"], Decoding(precision="float32"), attention=True)[0][0]
    assert best.attention is not None
    given = look(model, "abc", target=best.text)
    length = len(best.tokens) if best.finished else len(best.tokens) - 1  # what stands where it was cut off is no end
    assert given.source == best.source_tokens and given.target[:length] == best.tokens[:length]
    np.testing.assert_allclose(given.attention[:length], best.attention[:length], atol=1e-5)


def test_the_heat_map_in_the_terminal_is_these_characters():
    drawn = terminal.heat_map(WEIGHTS, ["a", " ", "<end>"], ["x", "\u0301"], Screen(60))
    assert drawn.splitlines() == [
        "   a  ␣  <end>",
        "x  ██ ·  ·",
        "◌́  ░░ ▒▒ ░░░░░",
    ]
    narrow = terminal.heat_map(WEIGHTS, ["a", " ", "<end>"], ["x", "y"], Screen(9))
    assert narrow.splitlines() == ["   a  ␣", "x  ██ ·", "y  ░░ ▒▒", "", "   <end>", "x  ·", "y  ░░░░░"]


def test_wide_and_right_to_left_tokens_keep_their_columns():
    drawn = terminal.heat_map(np.eye(3, dtype=np.float32), ["한국", "שלום", "z"], ["א", "b", "c"], Screen(60))
    cells = [line.replace("\u200e", "") for line in drawn.splitlines()]
    assert cells == ["   한국 שלום z", "א  ████ ·    ·", "b  ·    ████ ·", "c  ·    ·    ██"]
    assert "\u200eשלום\u200e" in drawn  # else a terminal would turn the row around
    assert "\u200e٣ \u200e" in terminal.heat_map(np.eye(2, dtype=np.float32), ["٣", "٤"], ["a", "b"])


def test_joiners_and_letters_for_private_use_stay_as_they_are():
    persian, private = "می\u200cخواهم", "\ue000"
    assert terminal.shown(persian) == persian and terminal.shown(private) == private
    assert choose(private + "\u200c", ["Private"], lambda name: frozenset([0xE000] * (name == "Private"))) == (
        ["DejaVu Sans", "Private"],
        [],
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_have_them():
    able = {"COLORTERM": "truecolor"}
    assert Screen.of(Terminal(), able).colours
    for stream, environment in (
        (io.StringIO(), able),
        (Terminal(), {}),
        (Terminal(), able | {"NO_COLOR": "1"}),
        (Terminal(), able | {"TERM": "dumb"}),
    ):
        assert not Screen.of(stream, environment).colours
    coloured = terminal.heat_map(WEIGHTS, ["a", "b", "c"], ["x", "y"], Screen(60, colours=True))
    assert coloured.count("\x1b[48;2;") == coloured.count("\x1b[0m") == WEIGHTS.size


def test_charts_fit_the_screen():
    line = Line("training", list(range(100)), [float(n) for n in range(100)], [])
    panels = [Panel("loss, nats/token", [line, line._replace(name="dev")])] * 2
    for width in (20, 80, 120):
        rows = terminal.charts(panels, Screen(width)).splitlines()
        assert max(map(len, rows)) <= width
        assert sum("training: loss" in row for row in rows) >= (2 if width < 100 else 1)


def test_a_font_installed_after_matplotlib_looked_is_found(monkeypatch):
    from matplotlib import font_manager

    every = font_manager.fontManager.ttflist
    usual, installed = ([e for e in every if e.name == name] for name in ("DejaVu Sans", "STIXGeneral"))
    has = [frozenset(font_manager.get_font(entries[0].fname).get_charmap()) for entries in (usual, installed)]
    character = next(chr(code) for code in sorted(has[1] - has[0]) if chr(code).isprintable())
    monkeypatch.setattr(font_manager.fontManager, "ttflist", usual)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    fonts._files.cache_clear()
    assert fonts_for(character).missing == [character]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [entry.fname for entry in installed])
    assert fonts_for(character) == fonts.Fonts(["DejaVu Sans", "STIXGeneral"], [])
    monkeypatch.undo()
    fonts._files.cache_clear()


def test_tokens_that_no_font_has_are_code_points_and_told():
    pytest.importorskip("matplotlib")
    from seq2seq.app.pictures.figures import attention_figure

    fonts = fonts_for(["aא", "e\u0301"])._replace(missing=["한"])
    assert "no font here has 한" in fonts.note
    figure = attention_figure(WEIGHTS, ["$x_1$", "א", "한é"], ["\u0301", " "], fonts)
    (axes, _) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["$x_1$", "א", "U+D55Cé"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["◌\u0301", "␣"]
    figure.draw_without_rendering()  # a formula in a token would be an error, a missing character a warning


def test_principal_components_keep_what_is_flat():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 2)) * [5.0, 1.0]
    turned = flat @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:2]
    points = plane(turned.astype(np.float32))

    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=-1)

    np.testing.assert_allclose(distances(points), distances(flat), atol=1e-5)
    np.testing.assert_array_equal(points, plane(turned.astype(np.float32)))


def test_a_map_labels_without_overlap(run, trained):
    pytest.importorskip("matplotlib")
    from seq2seq.app.pictures.figures import map_figure, map_labels

    points = np.random.default_rng(0).normal(size=(400, 2))
    figure = map_figure(points, [f"text {n}" for n in range(400)], "t", fonts_for("text"))
    (axes,) = figure.axes
    boxes = [np.array(text.get_window_extent().extents) for text in axes.texts]
    assert 30 < len(boxes) <= 150
    for place, one in enumerate(boxes):
        assert not any((one[:2] < b[2:]).all() and (b[:2] < one[2:]).all() for b in boxes[:place])
    assert map_labels(["e\u0301" * 40])[0] == "e\u0301" * 15 + "…"  # no letter without its mark
    ran = run("embed", trained, "--plot", "map.svg", stdin=b"abc\n\nfed\nba\x01d\n")
    assert ran.code == 0 and "a map of 3 lines" in ran.err and ran.out == ""
    assert ET.parse("map.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_equal_vectors_are_one_point(method):
    if method == "tsne":
        pytest.importorskip("sklearn")
    points = plane(np.full((5, 3), 0.1, np.float32), method)
    np.testing.assert_array_equal(points, np.zeros((5, 2)))


def test_vectors_that_are_no_numbers_have_no_place_and_one_number_each_has():
    with pytest.raises(DataError, match="have no place on a map"):
        plane(np.array([[1.0], [np.nan], [2.0]], np.float32))
    line = np.arange(6, dtype=np.float32)[:, None]
    assert np.isfinite(plane(line)).all()
    pytest.importorskip("sklearn")
    assert np.isfinite(plane(line, "tsne")).all()


def test_tsne_keeps_clusters_together():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(10, 5)), 50 + rng.normal(size=(10, 5))]).astype(np.float32)
    points = plane(vectors, "tsne")
    middles = points[:10].mean(axis=0), points[10:].mean(axis=0)
    near = [np.linalg.norm(points - middle, axis=1) for middle in middles]
    assert ((near[0] < near[1]) == (np.arange(20) < 10)).all()


def test_what_cannot_be_drawn_is_one_line(fails, trained, monkeypatch, tmp_path):
    assert "run.jpeg: the name of a picture ends in .png or .svg" in fails("plot", trained, "-o", "run.jpeg")
    assert "log.jsonl: no such file; plot needs the folder of a run" in fails("plot", tmp_path)
    (tmp_path / "log.jsonl").write_text('{"event": "started", "update": 0}\n')
    assert "no update and no evaluation" in fails("plot", tmp_path)
    assert "modle.npz: no such file or folder" in fails("plot", trained / "modle.npz")
    assert "add --attention" in fails("plot", trained, "--target", "abc")
    assert "add --attention" in fails("plot", trained, "--beam", 3)
    assert "leave one out" in fails("plot", trained, "--attention", "abc", "--target", "cba", "--beam", 3)
    assert "add --plot" in fails("embed", trained, "--method", "tsne", stdin=b"abc\n")
    assert "--batch is 0; wanted 1 or more" in fails("embed", trained, "--batch", 0, stdin=b"abc\n")
    assert "the text is empty" in fails("plot", trained, "--attention", " ")
    assert "needs 3 texts or more" in fails("embed", trained, "--plot", "map.png", stdin=b"abc\n")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'seq2seq-jax[plot]'" in fails("plot", trained, "-o", "run.png")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.chdir(tmp_path)
    assert "--method pca does without" in fails("embed", trained, "--plot", "map.png", "--method", "tsne")


@jax.tree_util.register_static
class Blind:
    """Says its end, and looks nowhere."""

    def start(self, source, lengths):
        return (), lengths

    def step(self, memory, state, token):
        logits = jnp.log(jnp.where(jnp.arange(5) == END, 0.9, 0.1))
        return state, Prediction(logits + 0.0 * state[:, None])


def test_a_model_without_attention_is_told(monkeypatch):
    letters = Tokenizer.train("character", ["a"])
    model = TextModel(Blind(), letters, letters)
    for target in (None, "a"):
        with pytest.raises(ModuleError, match="Blind gives no attention"):
            look(model, "a", target)
    with monkeypatch.context() as patch:  # and takes no room
        patch.setattr("seq2seq.app.demands._MOST_WEIGHTS", 1)
        assert model.hypotheses(["a"], attention=True)[0][0].attention is None
