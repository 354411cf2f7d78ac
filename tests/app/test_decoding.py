"""What `Decoding` refuses before anything is searched."""

from __future__ import annotations

import pytest

import seq2seq
from seq2seq import Decoding
from seq2seq.errors import ConfigError, SearchError
from seq2seq.models.config import EncoderDecoderConfig


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"mbr": "chfr"}, "--mbr is 'chfr'; did you mean chrf"),
        ({"length_norm": "gmnt"}, "--length-norm is 'gmnt'; did you mean gnmt"),
        ({"ban": "the"}, "would be taken letter by letter"),
        ({"require": "the"}, "would be taken letter by letter"),
        ({"sample": True, "length_penalty": 0.3}, "are for a beam"),
    ],
)
def test_what_the_command_line_could_not_say_is_refused_in_python_too(how, said):
    with pytest.raises(SearchError, match=said):
        Decoding(**how).check()


def test_copies_need_attention(trained, monkeypatch):
    model = seq2seq.load(trained)
    model.__dict__["gives_attention"] = False  # as it caches what it found
    with pytest.raises(SearchError, match="gives no attention to copy by"):
        model.generate(["abc"], Decoding(replace_unknown=True))


def test_a_residual_of_one_layer_is_refused():
    with pytest.raises(ConfigError, match=r"needs model\.layers of 2 or more"):
        EncoderDecoderConfig(residual=True)
    assert EncoderDecoderConfig(residual=True, encoder_layers=2)
