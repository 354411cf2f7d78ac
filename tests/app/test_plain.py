"""Options -> plain values -> TOML -> options: nothing is lost."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.app.names import class_name, is_ours, named_class
from seq2seq.app.options import TrainOptions
from seq2seq.app.plain import changed, of_plain, to_plain, to_toml
from seq2seq.core.seams import Cell
from seq2seq.errors import ConfigError
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.models.encoder_decoder import EncoderDecoder
from seq2seq.nn.attention import Additive, Dot, General
from seq2seq.nn.cells import GRU, LSTM, ChoGRU, Elman
from seq2seq.nn.recurrent import Dropped, Stack
from seq2seq.training import OptimizerConfig

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.lists(texts, max_size=3).map(tuple)
positive = st.integers(1, 2**40)
fractions = st.floats(0, 0.99)

models = st.builds(
    EncoderDecoderConfig,
    cell=st.sampled_from([LSTM, GRU, ChoGRU, Elman]),
    hidden=positive.map(lambda n: 2 * n),
    attention=st.sampled_from(["none", "dot"]),
    layers=st.just(2),
    residual=st.booleans(),
    dropout=fractions,
)
optimizers = st.builds(
    OptimizerConfig,
    learning_rate=st.none() | st.floats(1e-6, 10),
    freeze=names,
    scale=st.dictionaries(texts, st.floats(0, 10), max_size=3),
)
options = st.builds(
    TrainOptions,
    pairs=names,
    out=texts,
    updates=st.none() | positive,
    minutes=st.none() | st.floats(0, 1e6),
    patience=st.none() | positive,
    seed=st.integers(0, 2**32 - 1),
    source=st.none() | texts.filter(lambda text: text != "None"),
    skip_bad=st.booleans(),
    source_tokens=st.sampled_from(["auto", "bpe"]),
    model=models,
    optimizer=optimizers,
)


@given(options)
def test_round_trip(one):
    text = to_toml(to_plain(one))
    assert of_plain(TrainOptions, tomllib.loads(text), "x", TrainOptions()) == one


@given(options)
def test_what_is_public_names_no_file(one):
    values = tomllib.loads(one.public_toml())
    assert not {"pairs", "source", "out", "dev", "types", "from_model"} & set(values)
    assert values["model"] == to_plain(one.model) and values["seed"] == one.seed


def test_none_that_is_no_default_is_written():
    assert to_plain(TrainOptions(patience=None))["patience"] == "None"
    assert "minutes" not in to_plain(TrainOptions())


def test_hyphens_are_underscores():
    assert of_plain(TrainOptions, {"skip-bad": True}, "x", TrainOptions()).skip_bad


@pytest.mark.parametrize(
    "values",
    [{"updates": True}, {"minutes": "3"}, {"pairs": [3]}, {"skip_bad": 1}, {"model": {"cell": 3}}, {"optimizer": []}],
)
def test_wrong_types(values):
    with pytest.raises(ConfigError, match=f"^x: {next(iter(values))}"):
        of_plain(TrainOptions, values, "x", TrainOptions())


class Shade(Enum):
    LIGHT = 1
    DARK = 2


@dataclass(frozen=True)
class Typed:
    """What an `init` of the user's may ask for."""

    rate: int | float = 1
    width: int | str | None = 1
    pair: tuple[int, str] = (1, "x")
    shade: Shade = Shade.LIGHT
    file: Path = Path("x")


@pytest.mark.parametrize(
    "typed",
    [Typed(), Typed(rate=0.5, width="wide", pair=(2, "y"), shade=Shade.DARK, file=Path("a/b")), Typed(rate=2, width=3)],
)
def test_whatever_type_an_option_of_a_users_model_has(typed):
    assert of_plain(Typed, tomllib.loads(to_toml(to_plain(typed))), "x") == typed


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shade": "DRK"}, "did you mean DARK"),
        ({"shade": [1]}, "shade is"),
        ({"pair": [1]}, "has 1 values; wanted 2"),
        ({"rate": "x"}, "rate is"),
    ],
)
def test_a_wrong_value_of_such_a_type_is_told(values, said):
    with pytest.raises(ConfigError, match=said):
        of_plain(Typed, values, "x")


def test_what_is_laid_over_without_a_check_has_its_names_right():
    assert changed(OptimizerConfig(), clip=-1.0).clip == -1.0
    with pytest.raises(TypeError, match="OptimizerConfig has no clipp"):
        changed(OptimizerConfig(), clipp=-1.0)


@pytest.mark.parametrize("cls", [GRU, EncoderDecoder, Stack, Dropped, Additive, Dot, General])
def test_a_class_of_ours_is_found_by_the_name_that_a_configuration_has(cls):
    assert named_class(class_name(cls)) is cls and is_ours(cls)


def test_a_kind_that_cannot_be_asked_takes_any_of_ours():
    class Proto(Protocol):
        width: int

    assert named_class("gru", Any) is named_class("gru", Proto) is GRU
    with pytest.raises(ConfigError, match="no cell or model"):
        named_class("Dot", Cell)
