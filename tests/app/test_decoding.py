"""What `Decoding` refuses before anything is searched."""

from __future__ import annotations

import pytest

import seq2seq
from seq2seq import Decoding
from seq2seq.errors import SearchError


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
