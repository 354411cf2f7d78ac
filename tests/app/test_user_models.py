"""Models of the user's: what they are asked before they train, and what their `init` may ask for."""

from __future__ import annotations

import pytest
from command_line import report, write_pairs
from user_models import CELL, LOSS, MODEL, job_of

import seq2seq
from seq2seq.app.commands.train import options_from
from seq2seq.errors import ConfigError


@pytest.fixture
def pairs(tmp_path):
    return write_pairs(tmp_path / "pairs.tsv")


def test_a_model_that_only_has_a_loss_is_judged_by_it(pairs, tmp_path):
    loss = "    def loss(self, batch, key):\n        return s2s.Loss(self.out.w.sum() ** 2, batch.target_mask.sum())\n"
    (tmp_path / "lossy.py").write_text(MODEL[: MODEL.index("    def start")] + loss)
    made = job_of("lossy.py:MyModel", "--model.width", "5")
    assert made.options.metric == "loss_nats_per_token"
    assert set(made.evaluation(made.text_model.model)) == set(made.evaluation.names)
    assert "MyModel" in report(made)
    with pytest.raises(seq2seq.errors.ModuleError, match="it trains, but cannot generate"):
        made.text_model.hypotheses(["abc"], attention=True)


def test_a_loss_that_is_no_loss(pairs, tmp_path):
    text = (
        MODEL[: MODEL.index("    def start")]
        + "    def loss(self, batch, key):\n        return batch.target_mask.sum()\n"
    )
    (tmp_path / "scalar.py").write_text(text)
    with pytest.raises(seq2seq.Seq2SeqError, match=r"MyModel.loss returned .*wanted Loss\(sum, count\)"):
        job_of("scalar.py:MyModel", "--model.width", "5")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("s2s.Prediction(self.out(", "(self.out(", r"MyModel.step returned \(state, ...\) with a ShapeDtypeStruct"),
        ("return state + 1, s2s", "return state.astype(jnp.bfloat16), s2s", "step: state went in as float32.3, 1"),
        ("0).sum(axis=0), jnp", "0), jnp", r"start: memory is \(5, 3, 5\), wanted the batch, 3, first"),
        ("jnp.zeros((source.shape[1], 1))", "jnp.zeros(())", r"start: state is \(\), wanted the batch"),
        (", 2 * width, vocabulary)", ", 2 * width, vocabulary + 3)", r"logits are \(3, 13\), wanted .*\(3, 10\)"),
        ("sum(axis=0), jnp", "sum(axis=0), 0, jnp", "start returned a tuple of 3; wanted .memory, state"),
        ("    def step", f"{LOSS}    def step", r"loss\(batch, None\): .*key is None in an evaluation"),
    ],
)
def test_what_an_evaluation_would_find_is_found_before_the_first_update(pairs, tmp_path, before, after, said):
    assert MODEL.count(before) == 1
    (tmp_path / "wrong.py").write_text(MODEL.replace(before, after))
    with pytest.raises(seq2seq.Seq2SeqError, match=said):
        job_of("wrong.py:MyModel", "--model.width", "5")


def test_the_other_classes_of_a_file_are_known_too(run, pairs, tmp_path):
    code = CELL + MODEL.replace("    out: s2s.FF\n", "    out: s2s.FF\n    cell: Leaky\n").replace(
        "return cls(", "return cls(cell=Leaky.init(a, width, width), "
    )
    (tmp_path / "both.py").write_text(code)
    words = ("--model.type", "both.py:MyModel", "--model.width", 5, "--updates", 1)
    ran = run("train", "pairs.tsv", "--out", "run", *words)
    assert ran.code == 0 and "--types both.py:MyModel" in ran.err
    assert run("generate", "run", "--types", "both.py:MyModel", stdin=b"abc\n").code == 0


def test_a_class_that_is_named_goes_before_one_that_stands_somewhere(run, pairs, tmp_path):
    (tmp_path / "mine.py").write_text(MODEL)
    words = ("--model.type", "mine.py:MyModel", "--model.width", 5, "--updates", 1)
    assert run("train", "pairs.tsv", "--out", "run", *words).code == 0
    before = run("score", "run", "pairs.tsv", "--trust-code").out
    (tmp_path / "mended.py").write_text(MODEL.replace("s2s.Prediction(", "s2s.Prediction(0 * "))
    after = run("score", "run", "pairs.tsv", "--trust-code", "--types", "mended.py:MyModel").out
    assert before and after and before != after


def test_a_class_need_not_be_called_as_its_file_calls_it(run, pairs, tmp_path):
    code = CELL + "\nSlow = Leaky\nfrom seq2seq import Stack\n"
    (tmp_path / "slow.py").write_text(code)
    assert options_from(["pairs.tsv", "--model.cell", "slow.py:Slow"]).model.cell.__name__ == "Leaky"
    assert options_from(["pairs.tsv", "--model.cell", "slow.py:Stack"]).model.cell is seq2seq.Stack


def test_a_helper_called_encode_bars_nobody_from_training(pairs, tmp_path):
    helper = "    def encode(self, source, lengths):\n        return source\n\n"
    (tmp_path / "helps.py").write_text(MODEL.replace("    def step", f"{helper}    def step"))
    made = job_of("helps.py:MyModel", "--model.width", "5")
    with pytest.raises(seq2seq.errors.ModuleError, match=r"MyModel.encode gives \(5, 3\).*another name"):
        made.text_model.embed(["abc"])


def test_of_two_classes_of_one_name_each_model_has_its_own(run, pairs, tmp_path):
    for name, scale in (("one", ""), ("two", "2 * ")):
        (tmp_path / f"{name}.py").write_text(MODEL.replace("s2s.Prediction(", f"s2s.Prediction({scale}"))
        words = ("--model.type", f"{name}.py:MyModel", "--model.width", 5, "--updates", 1)
        assert run("train", "pairs.tsv", "--out", name, *words).code == 0
    types = ("--types", "one.py:MyModel", "--types", "two.py:MyModel")
    alone, beside = (run("score", "two", "pairs.tsv", *words).out for words in (types[2:], types))
    assert alone == beside and alone


def test_signatures_that_python_takes(run, pairs, tmp_path):
    legal = "width: int, sizes: list[int] = [2, 3], more: Sequence[float] = (1, 2), sharp: float = 1, *, needed: int"
    code = MODEL.replace("width: int, names: tuple[str, ...] = (), sharp: float = 1.0", legal)
    (tmp_path / "legal.py").write_text("from collections.abc import Sequence\n" + code)
    words = ("--model.type", "legal.py:MyModel", "--model.width", 5, "--model.needed", 3)
    assert run("train", "pairs.tsv", "--out", "run", *words, "--updates", 1).code == 0
    again = run("train", "--resume", "--out", "run", "--updates", 2)
    assert again.code == 0, again.err


def test_the_default_of_an_argument_that_stands_for_its_fields(tmp_path):
    config = (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Config:\n    width: int\n    deep: int = 1\n"
    )
    code = MODEL.replace("width: int, names: tuple[str, ...] = (), sharp: float = 1.0", "config: Config = Config(7, 2)")
    (tmp_path / "single.py").write_text(config + code)
    assert vars(options_from(["pairs.tsv", "--model.type", "single.py:MyModel"]).model) == {"width": 7, "deep": 2}


def test_an_option_that_no_file_could_hold_is_refused_at_once(tmp_path):
    code = MODEL.replace("names: tuple[str, ...] = ()", "act: Callable = jax.nn.relu")
    (tmp_path / "called.py").write_text(f"from collections.abc import Callable\n{code}")
    with pytest.raises(ConfigError, match=r"MyModel\.init: act is a function, which no config\.toml can hold"):
        options_from(["pairs.tsv", "--model.type", "called.py:MyModel", "--model.width", "3"])
