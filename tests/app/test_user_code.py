"""Cells and models of the user's, in files of their own, from the command line."""

from __future__ import annotations

import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, write_pairs
from user_models import CELL, MODEL

import seq2seq
from seq2seq.app.commands.distill import DistillOptions
from seq2seq.app.commands.train import options_from
from seq2seq.app.construct import model_class, options_of, settings_of
from seq2seq.app.names import class_name, named_class
from seq2seq.app.options import TrainOptions
from seq2seq.app.prepare import _hashes
from seq2seq.app.user_code import copy_code, find_class, name_of
from seq2seq.errors import ConfigError


@pytest.fixture
def pairs(tmp_path):
    return write_pairs(tmp_path / "pairs.tsv")


def forget(stem: str) -> None:
    """As if a new process began."""
    found = [name for name in sys.modules if name.startswith(f"{stem}_")]
    assert found
    for name in found:
        del sys.modules[name]


def test_a_cell_of_ones_own_trains_and_is_loaded(run, fails, pairs, tmp_path):
    (tmp_path / "my_cell.py").write_text(CELL)
    words = ("--out", "run", *TINY, "--model.attention", "none", "--model.no-bidirectional", "--updates", 1)
    ran = run("train", "pairs.tsv", *words, "--model.cell", "my_cell.py:Leaky")
    assert ran.code == 0
    assert 'cell = "my_cell.py:Leaky"' in (tmp_path / "run" / "config.toml").read_text()
    message = fails("generate", "run", stdin=b"abc\n")
    assert "Leaky" in message and "--types FILE.py:Leaky" in message
    found = [
        run("generate", "run", "--beam", 1, "--types", "my_cell.py:Leaky", stdin=b"abc\n"),
        run("generate", "--types", "my_cell.py:Leaky", "run", "--beam", 1, stdin=b"abc\n"),
    ]
    cell = find_class("my_cell.py:Leaky")
    python = seq2seq.load("run", types=[cell]).generate(["abc"], seq2seq.Decoding(beam=1))
    forget("my_cell")
    (tmp_path / "my_cell.py").unlink()
    found.append(run("generate", "run", "--beam", 1, "--trust-code", stdin=b"abc\n"))
    assert [one.code for one in found] == [0, 0, 0]
    assert [one.out for one in found] == [f"{python[0]}\n"] * 3


def test_a_run_goes_on_where_its_cell_has_moved_to(run, fails, pairs, tmp_path):
    (tmp_path / "my_cell.py").write_text(CELL)
    words = ("--out", "run", *TINY, "--model.attention", "none", "--model.no-bidirectional", "--updates", 1)
    assert run("train", "pairs.tsv", *words, "--model.cell", "my_cell.py:Leaky").code == 0
    forget("my_cell")
    (tmp_path / "sub").mkdir()
    (tmp_path / "my_cell.py").rename("sub/my_cell.py")
    again = ("train", "--resume", "--out", "run", "--updates", 2)
    assert "my_cell.py: no such file" in fails(*again)
    assert run(*again, "--model.cell", "sub/my_cell.py:Leaky").code == 0


def test_a_file_that_ends_the_program_has_its_word(run, pairs, tmp_path):
    (tmp_path / "bad.py").write_text("import sys; sys.exit('please set FOO first')")
    ran = run("train", "pairs.tsv", "--out", "run", "--model.cell", "bad.py:X")
    assert (ran.code, ran.err) == (1, "please set FOO first\n")


def test_types_take_the_place_of_those_of_a_file(tmp_path):
    (tmp_path / "my.toml").write_text('types = ["gone.py:Cell"]')
    (tmp_path / "my_cell.py").write_text(CELL)
    words = ["pairs.tsv", "--out", "run", "--config", "my.toml", "--types", "my_cell.py:Leaky"]
    assert options_from(words, DistillOptions, "distill").types == ("my_cell.py:Leaky",)


@pytest.mark.parametrize("base", ["(s2s.Model)", ""])
def test_a_model_with_start_and_step_only(run, pairs, tmp_path, base):
    other = "\n\n@s2s.module\nclass Other:\n    size: int\n"
    (tmp_path / "my_model.py").write_text(MODEL.replace("(s2s.Model)", base) + other)
    named = ("--model.type", "my_model.py:MyModel")
    words = ("train", "pairs.tsv", "--out", "run", *named, "--updates", 2, "--log-every", 1)
    missing = run(*words)
    assert missing.code == 2 and "--model.width" in missing.err
    ran = run(*words, "--model.width", 5, "--model.names", "x", "y")
    assert ran.code == 0 and "MyModel, " in ran.err
    ran = run("generate", "run", "--types", "my_model.py:MyModel", "--nbest", 2, "--beam", 2, stdin=b"abc\n")
    assert ran.code == 0 and len(ran.out.splitlines()) == 2
    ran = run("evaluate", "run", "pairs.tsv", "--types", "my_model.py:MyModel", "--json", "--beam", 1)
    assert ran.code == 0
    if base:
        forget("my_model")
        assert run("train", "--resume", "--out", "run", "--updates", 3).code == 0
        with np.load("run/model.npz") as found:
            assert found["embed/table"].shape == (10, 5)
        tuned = ("--out", "tuned", "--from", "run", "--types", "my_model.py:Other", "--updates", 1)
        assert run("train", "pairs.tsv", *tuned).code == 0
        assert run("train", "--resume", "--out", "tuned", "--updates", 2).code == 0
        assert (tmp_path / "tuned" / "code" / "my_model.py").exists()
        assert "width = 5" in run("inspect", "tuned").out


def test_a_model_says_what_of_it_is_for_training():
    class Mine:
        of_training = ("noise",)

        @classmethod
        def init(cls, key, vocabulary: int, width: int, noise: float = 0.0, deep: bool = False): ...

    made = settings_of(Mine, {"noise": 0.5, "deep": True, "width": 3})
    assert made() == made(noise=0.5) and [field.name for field in fields(made)] == ["noise"]


def test_a_changed_file_is_another_run(run, fails, pairs, tmp_path):
    (tmp_path / "my_model.py").write_text(MODEL)
    words = ("--out", "run", "--model.type", "my_model.py:MyModel", "--model.width", 5)
    assert run("train", "pairs.tsv", *words, "--updates", 2, "--log-every", 1).code == 0
    forget("my_model")
    (tmp_path / "my_model.py").write_text(MODEL.replace("state + 1", "state + 2"))
    assert "source of MyModel was" in fails("train", "--resume", "--out", "run", "--updates", 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("    out: s2s.FF\n", "    out: s2s.FF\n    act: Callable = jnp.sin\n"), "MyModel.act = "),
        (("out", "header"), "a leaf cannot be named 'header'"),
    ],
)
def test_what_no_file_can_hold_is_refused_before_the_first_update(fails, pairs, tmp_path, change, said):
    code = MODEL.replace("import jax\n", "import jax\nfrom collections.abc import Callable\n").replace(*change)
    if change[1] == "header":
        code = code.replace("header: s2s.FF", "header: jax.Array").replace(
            "s2s.FF.init(b, 2 * width, vocabulary)", "jnp.zeros((2 * width, vocabulary))"
        )
    (tmp_path / "odd.py").write_text(code)
    words = ("--model.type", "odd.py:MyModel", "--model.width", 5, "--updates", 2)
    assert said in fails("train", "pairs.tsv", "--out", "run", *words)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_changed_helper_is_another_run_too(run, fails, pairs, tmp_path):
    (tmp_path / "helped.py").write_text(
        MODEL.replace("state + 1", "more(state)") + "\ndef more(x):\n    return x + 1\n"
    )
    words = ("--out", "run", "--model.type", "helped.py:MyModel", "--model.width", 5)
    assert run("train", "pairs.tsv", *words, "--updates", 2).code == 0
    forget("helped")
    (tmp_path / "helped.py").write_text(
        MODEL.replace("state + 1", "more(state)") + "\ndef more(x):\n    return x + 2\n"
    )
    assert "source of MyModel was" in fails("train", "--resume", "--out", "run", "--updates", 3)


def test_a_run_goes_on_from_another_folder(run, tmp_path, monkeypatch):
    write_pairs(tmp_path / "pairs.tsv")
    (tmp_path / "far.py").write_text(MODEL)
    words = ("--out", tmp_path / "run", "--model.type", f"{tmp_path}/far.py:MyModel", "--model.width", 5)
    assert run("train", tmp_path / "pairs.tsv", *words, "--updates", 2).code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    forget("far")
    assert run("train", "--resume", "--out", tmp_path / "run", "--updates", 3).code == 0


def test_files_of_one_name_are_both_kept(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cell.py").write_text(CELL)
    copy_code([find_class("a/cell.py:Leaky"), find_class("b/cell.py:Leaky")], tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "code").iterdir()) == ["cell.py", "cell_2.py"]


def test_an_init_that_looks_at_its_numbers_through_numpy(run, pairs, tmp_path):
    made = "s2s.FF(w=jnp.asarray(np.linalg.qr(np.asarray(jax.random.normal(b, (vocabulary, vocabulary))))[0])"
    code = MODEL.replace("import jax\n", "import jax\nimport numpy as np\n").replace(
        "s2s.FF.init(b, 2 * width, vocabulary)", made + ", b=jnp.zeros(vocabulary))"
    )
    (tmp_path / "looks.py").write_text(code)
    words = ("--model.type", "looks.py:MyModel", "--model.width", 5, "--updates", 1)
    assert run("train", "pairs.tsv", "--out", "run", *words).code == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.py:MyModel", "x = (\n", "bad.py:1: "),
        ("bad.py:MyModel", "import nothing_of_this_name", "importing it raised ModuleNotFoundError"),
        ("bad.py:MyModel", MODEL.replace("MyModel", "MyModell"), "did you mean MyModell?"),
        ("bad.py:MyModel", MODEL.replace("@s2s.module", ""), "decorate the class with @seq2seq.module"),
        ("bad.py:MyModel", MODEL.replace("def init", "def make"), "a model needs `init(key, ...)`"),
        ("bad.py:MyModel", MODEL.replace("    @classmethod\n", ""), "make it a @classmethod"),
        (
            "bad.py:MyModel",
            MODEL.replace("def step", "def stp").replace("(s2s.Model)", ""),
            "either `loss`, or `start`",
        ),
        ("bad.py:MyModel", MODEL.replace("width: int", "width"), "give the argument width a type"),
        ("bad.py:MyModel", MODEL.replace("width: int", "width: 'Inte'"), "the annotation 'Inte' cannot be found"),
        ("missing.py:MyModel", "", "missing.py: no such file"),
        ("bad.py", "", "known are"),
        ("bad:MyModel", "", "write it as my_file.py:MyClass"),
    ],
)
def test_bad_files(fails, pairs, tmp_path, name, text, message):
    (tmp_path / "bad.py").write_text(text)
    assert message in fails("train", "pairs.tsv", "--out", "run", "--model.type", name, "--model.width", 3)


def test_a_file_that_needs_another_beside_it_is_told(fails, pairs, tmp_path):
    (tmp_path / "my_parts.py").write_text("x = 1\n")
    (tmp_path / "mine.py").write_text("import my_parts\n")
    message = fails("train", "pairs.tsv", "--out", "run", "--model.type", "mine.py:MyModel")
    assert "No module named 'my_parts'; a run keeps this file alone: write what it needs into it" in message


def test_a_file_may_be_called_as_a_module_of_pythons(tmp_path):
    (tmp_path / "json.py").write_text(MODEL)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "json.py").write_text(MODEL)
    first, second = find_class("json.py:MyModel"), find_class("other/json.py:MyModel")
    assert first is not second and first is find_class("json.py:MyModel")


def test_code_is_trusted_where_a_model_needs_some(run, fails, pairs, trained, tmp_path):
    assert run("generate", trained, "--trust-code", stdin=b"abc\n").code == 0  # which has none
    (tmp_path / "my_cell.py").write_text(CELL)
    words = ("--out", "run", *TINY, "--model.cell", "my_cell.py:Leaky", "--updates", 1)
    assert run("train", "pairs.tsv", *words).code == 0
    beside = ("--second-model", trained, "--trust-code")
    assert run("generate", "run", *beside, stdin=b"abc\n").code == 0
    shutil.rmtree("run/code")
    assert "--trust-code: there is no code in run/code" in fails("generate", "run", "--trust-code")


def test_names_of_classes_are_found_again(tmp_path):
    for name in ("lstm", "gru", "cho-gru", "elman", "encoder-decoder"):
        assert class_name(named_class(name)) == name
    (tmp_path / "mine.py").write_text(CELL)
    found = find_class("mine.py:Leaky")
    assert name_of(found) == "mine.py:Leaky" and find_class(name_of(found)) is found
    assert class_name(found) == "mine.py:Leaky"


def test_the_options_of_a_model_are_the_arguments_of_its_init(tmp_path):
    (tmp_path / "opts.py").write_text(MODEL)
    made = options_of(model_class("opts.py:MyModel"))
    assert {name: field.type for name, field in made.__dataclass_fields__.items()} == {  # pyright: ignore
        "width": int,
        "names": tuple[str, ...],
        "sharp": float,
    }
    with pytest.raises(ConfigError):
        model_class("lstmm")


def test_an_error_in_the_users_step_is_one_line_that_says_where(fails):
    write_pairs(Path("pairs.tsv"))
    Path("bad.py").write_text(
        "import jax.numpy as jnp\n"
        "from jax import Array\n"
        "from seq2seq import Cell, module\n"
        "@module\n"
        "class Bad(Cell):\n"
        "    w: Array\n"
        "    @classmethod\n"
        "    def init(cls, key, i, h): return cls(w=jnp.ones((i, h + 1)))\n"
        "    def initial_state(self, batch): return jnp.zeros((batch, self.w.shape[1] - 1))\n"
        "    def step(self, h, x): return h, x @ self.w + h\n",
        "utf-8",
    )
    message = fails("train", "pairs.tsv", "--out", "run", *TINY, "--model.cell", "bad.py:Bad")
    assert message.startswith("bad.py:10: TypeError: ") and "--debug" in message


def test_two_files_with_classes_of_one_name_both_count(tmp_path):
    code = "import seq2seq\n\n\n@seq2seq.module\nclass Mine:\n    width: int = "
    for name, width in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.py").write_text(f"{code}{width}\n")
    hashes = [_hashes(TrainOptions(types=names)) for names in (("one.py:Mine",), ("one.py:Mine", "two.py:Mine"))]
    assert hashes[1]["Mine"].split()[0] == hashes[0]["Mine"] and len(hashes[1]["Mine"].split()) == 2
