"""How much a text model is asked to read decides whether large tables are made; each is made once."""

from __future__ import annotations

import math

import jax

from seq2seq import Decoding, EncoderDecoder, EncoderDecoderConfig, PreparedModel
from seq2seq.app.text_model import TextModel, TextSettings
from seq2seq.data import Tokenizer


def test_what_is_read_decides_and_is_prepared_for_once(monkeypatch):
    made, of = [], PreparedModel.of
    monkeypatch.setattr(PreparedModel, "of", lambda *args: made.append(args[-1]) or of(*args))
    tokenizer = Tokenizer.train("symbols", ["a b c d e f"])  # and the 4 that are no text
    model = EncoderDecoder.init(jax.random.key(0), 10, 10, EncoderDecoderConfig(hidden=4, embedding=2))
    text_model = TextModel(model, tokenizer, tokenizer, TextSettings(target_longest=4))
    for texts, beam in ((1, 1), (4, 1), (1, 5), (1, 1)):  # about 2, 8, 10 and 2 tokens of 10
        text_model.generate([""] * texts, Decoding(beam=beam))
    assert tokenizer.size == 10 and made == [0, math.inf]
    text_model.generate([""], Decoding(beam=5, shortlist=7))
    assert made == [0, math.inf, math.inf]
