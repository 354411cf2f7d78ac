"""Tokenizers: exact round trips, fixed ids, and no way for text to become a special token."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data import BEGIN, END, KINDS, PAD, UNKNOWN, Tokenizer
from seq2seq.data.tokenizer import FORMS
from seq2seq.errors import ConfigError, CorruptArchiveError

TEXTS = [
    "the house is on fire",
    "e\u0301te\u0301 < pad > <pad>  two spaces",
    "<unk> <s> </s> <begin> <end> <unknown> < end >",
    "日本 の 가능성 ʔ ɓ aː w ˧˧",
    "a\tb\nc ▁ Ġ",
] * 3
TOKENIZERS = {kind: Tokenizer.train(kind, TEXTS, vocabulary=400) for kind in KINDS}
APART = {form: Tokenizer.train("character", ["가나다라각힣éêạấ a"], form=form) for form in ("nfd", "nfkd")}
each_kind = pytest.mark.parametrize("kind", KINDS)
any_text = st.text(max_size=30)
seen_characters = st.text(sorted(set("".join(TEXTS))), max_size=30)
seen_pieces = st.lists(st.sampled_from(sorted({p for t in TEXTS for p in t.split(" ") if p})), max_size=8).map(" ".join)


@given(any_text | seen_characters)
def test_bytes_come_back_exactly(text):
    for kind in ("bpe", "unigram"):
        ids = TOKENIZERS[kind].encode(text)
        assert TOKENIZERS[kind].decode(ids) == text
        assert UNKNOWN not in ids


@given(seen_characters)
def test_seen_characters_come_back_exactly(text):
    assert TOKENIZERS["character"].decode(TOKENIZERS["character"].encode(text)) == text
    assert len(TOKENIZERS["character"].encode(text)) == len(text)


@given(seen_pieces)
def test_seen_words_and_symbols_come_back_exactly(text):
    for kind in ("word", "symbols"):
        assert TOKENIZERS[kind].decode(TOKENIZERS[kind].encode(text)) == text
        assert TOKENIZERS[kind].tokens(text) == text.split(" ") * bool(text)


@given(seen_pieces | seen_characters)
def test_turned_it_says_the_same_in_the_other_order(text):
    for tokenizer in TOKENIZERS.values():
        turned = tokenizer.turned()
        assert turned.encode(text) == tokenizer.encode(text)[::-1]
        assert turned.decode([*turned.encode(text), END, PAD]) == tokenizer.decode(tokenizer.encode(text))
        assert turned.tokens(text) == tokenizer.tokens(text)[::-1]
        assert turned.pieces(text) == tokenizer.pieces(text)[::-1]
        assert turned.said(text) == tokenizer.said(text)


@each_kind
def test_the_order_is_kept_in_a_file_and_is_no_ensembles(kind):
    tokenizer = TOKENIZERS[kind]
    turned = tokenizer.turned()
    assert turned.rule == f"right-to-left {kind}"
    again = Tokenizer.from_json(turned.to_json())
    assert again.right_to_left and again.encode("a b") == tokenizer.encode("a b")[::-1]
    assert turned.turned().to_json() == tokenizer.to_json()
    assert tokenizer.renumbering(turned) is None
    broken = json.dumps(json.loads(turned.to_json()) | {"right_to_left": "yes"})
    with pytest.raises(CorruptArchiveError, match="right_to_left yes"):
        Tokenizer.from_json(broken)


@given(any_text | seen_characters | st.sampled_from(["< pad >", "< begin >", "< end >", "<pad>", "pad", "< unknown >"]))
def test_no_text_becomes_a_special_token(text):
    for tokenizer in TOKENIZERS.values():
        assert not {PAD, BEGIN, END} & set(tokenizer.encode(text))


@each_kind
def test_special_names_seen_often_in_training_stay_text(kind):
    texts = ["<pad> < pad > < end > <end>"] * 20
    tokenizer = Tokenizer.train(kind, texts, vocabulary=300)
    assert tokenizer.decode(tokenizer.encode(texts[0])) == texts[0]
    assert min(tokenizer.encode(texts[0])) > END


@each_kind
def test_saved_and_loaded_is_the_same(kind):
    tokenizer = TOKENIZERS[kind]
    again = Tokenizer.from_json(tokenizer.to_json())
    assert (again.kind, again.size, again.to_json()) == (kind, tokenizer.size, tokenizer.to_json())
    assert again.encode_batch(TEXTS) == tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unigram"])
def test_training_is_deterministic(kind):
    assert Tokenizer.train(kind, iter(TEXTS), vocabulary=400).to_json() == TOKENIZERS[kind].to_json()


@pytest.mark.parametrize("kind", ["word", "character", "symbols"])
def test_the_order_of_the_texts_does_not_matter(kind):
    assert Tokenizer.train(kind, TEXTS[::-1]).to_json() == Tokenizer.train(kind, TEXTS).to_json()


@each_kind
def test_ids_are_fixed_and_dense(kind):
    tokenizer = TOKENIZERS[kind]
    shown = [tokenizer.token(index) for index in range(tokenizer.size)]
    assert shown[:4] == ["<pad>", "<unknown>", "<begin>", "<end>"]
    assert {index for text in TEXTS for index in tokenizer.encode(text)} <= set(range(4, tokenizer.size))
    with pytest.raises(IndexError, match="no id"):
        tokenizer.token(tokenizer.size)


@each_kind
def test_decode_stops_at_the_end_and_leaves_out_pad_and_begin(kind):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode("the house")
    assert tokenizer.decode([BEGIN, PAD, *ids, END, *ids]) == "the house"
    assert tokenizer.decode([]) == tokenizer.decode([END]) == ""


@each_kind
@given(ids=st.lists(st.integers(0, 60), max_size=12))
@settings(max_examples=30)
def test_any_ids_decode(kind, ids):
    assert isinstance(TOKENIZERS[kind].decode([index % TOKENIZERS[kind].size for index in ids]), str)


@pytest.mark.parametrize("kind", ["word", "symbols"])
@given(st.text("ab \xa0\u3000\u2028!", max_size=12))
@settings(max_examples=30)
def test_what_is_said_is_what_is_decoded(kind, text):
    tokenizer = Tokenizer.train(kind, [text or "a"])
    assert tokenizer.said(text) == tokenizer.decode(tokenizer.encode(text))


def test_unknown_pieces():
    tokenizer = Tokenizer.train("symbols", ["a b b", "c"], vocabulary=6)
    assert tokenizer.size == 6
    assert tokenizer.encode("b a c") == [4, 5, UNKNOWN]
    assert tokenizer.decode([4, UNKNOWN]) == "b <unknown>"
    assert tokenizer.unknown_rate(["b a", "c c"]) == 0.5
    assert Tokenizer.train("symbols", ["a b b"], minimum_count=2).tokens("a b") == ["<unknown>", "b"]


def test_pieces_of_bpe_show_their_spaces():
    tokenizer = Tokenizer.train("bpe", ["the house the house"] * 5, vocabulary=300)
    assert tokenizer.tokens("the house") == ["▁the", "▁house"]


def test_a_vocabulary_is_kept_within_its_size():
    texts = [f"{i} {i * i}" for i in range(500)]
    for kind in KINDS:
        assert Tokenizer.train(kind, texts, vocabulary=280).size <= 280


def test_pieces_of_bytes_match_no_letters():
    letters, pieces = Tokenizer.train("character", ["aé"]), Tokenizer.train("bpe", ["aé"], vocabulary=260)
    assert pieces.matching(letters) == (-1, 1, -1, 3, -1, -1)  # `é` is the name of the byte 0xE9
    assert max(letters.matching(pieces)) == 3
    assert pieces.matching(pieces)[4:] == tuple(range(4, pieces.size))


def test_errors():
    with pytest.raises(ConfigError, match="did you mean symbols"):
        Tokenizer.train("symbol", ["a"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="at least 260"):
        Tokenizer.train("bpe", ["a"], vocabulary=100)
    for text in ("", "{}", "[]", "3", '{"format": 1, "kind": "bpe", "tokenizer": {}}', '{"format": 9, "kind": "bpe"}'):
        with pytest.raises(CorruptArchiveError, match="not a tokenizer"):
            Tokenizer.from_json(text)
    for deep in ("[" * 100_000, '{"format": 1, "kind": "word", "tokenizer": ' + "[" * 50_000 + "]" * 50_000 + "}"):
        with pytest.raises(CorruptArchiveError, match="not a tokenizer"):
            Tokenizer.from_json(deep)


@pytest.mark.parametrize("change", [("a", 99), ("b", 4), ("< end >", 99), ("< pad >", None)])
def test_ids_with_a_hole_are_no_tokenizer_of_ours(change):
    fields = json.loads(Tokenizer.train("word", ["a b a"]).to_json())
    vocabulary = fields["tokenizer"]["model"]["vocab"]
    piece, number = change
    vocabulary.update({piece: number} if number else {"more": vocabulary.pop(piece)})
    with pytest.raises(CorruptArchiveError, match="leave some out"):
        Tokenizer.from_json(json.dumps(fields))


@given(st.text("가나다라각힣éêạấ aé", max_size=12), st.sampled_from(["nfd", "nfkd"]))
def test_what_was_taken_apart_comes_back_composed(text, form):
    tokenizer = APART[form]
    composed = unicodedata.normalize("NFC", text)
    assert tokenizer.decode(tokenizer.encode(text)) == tokenizer.said(text) == composed
    assert "".join(tokenizer.tokens(text)) == "".join(tokenizer.pieces(text)) == unicodedata.normalize("NFD", text)


@given(st.lists(st.sampled_from([*"가각힣éạấa", "t͡ʃ", "+pos=é", "ą\u0301"])), st.sampled_from(["nfd", "nfkd"]))
def test_of_symbols_single_letters_are_taken_apart_and_come_back_composed(symbols, form):
    tokenizer = Tokenizer.train("symbols", ["가 각 힣 é ạ ấ a", "t͡ʃ +pos=é ą\u0301"], form=form)
    text = unicodedata.normalize("NFC", " ".join(symbols))
    assert tokenizer.decode(tokenizer.encode(text)) == tokenizer.said(text) == text
    assert UNKNOWN not in tokenizer.encode(text)
    letters = sum(len(unicodedata.normalize("NFD", s)) if len(s) == 1 else 1 for s in text.split())
    assert len(tokenizer.pieces(text)) == letters
    assert "+pos=é" not in symbols or unicodedata.normalize("NFD", "+pos=é") in tokenizer.pieces(text)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)), st.sampled_from(FORMS))
def test_what_symbols_say_comes_back_whatever_they_are(symbols, form):
    text = " ".join(symbols)
    tokenizer = Tokenizer.train("symbols", [text or "a"], form=form)
    said = tokenizer.said(text)
    assert UNKNOWN not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == said == tokenizer.said(said)
    assert tokenizer.encode(said) == tokenizer.encode(text)


@pytest.mark.parametrize("form", ["nfc", "nfd", "nfkc", "nfkd"])
def test_a_lemma_is_the_same_however_its_letters_are_spelt(form):
    whole, apart = "é t é 한 +N", " ".join([*unicodedata.normalize("NFD", "été한"), "+N"])
    tokenizer = Tokenizer.train("symbols", [apart], form=form)
    assert tokenizer.encode(whole) == tokenizer.encode(apart) and UNKNOWN not in tokenizer.encode(whole)
    assert tokenizer.decode(tokenizer.encode(apart)) == whole


@each_kind
def test_a_form_stays_with_the_tokenizer_and_makes_two_spellings_one(kind):
    tokenizer = Tokenizer.train(kind, [unicodedata.normalize("NFD", "été à été")] * 3, vocabulary=300, form="nfc")
    back = Tokenizer.from_json(tokenizer.to_json())
    assert (back.form, back.rule) == ("nfc", f"{kind} in NFC")
    assert back.encode(unicodedata.normalize("NFD", "été")) == tokenizer.encode("été")
    assert UNKNOWN not in back.encode("été")


def test_a_renumbering_is_from_the_others_ids_to_ones_own():
    one, other = (Tokenizer.train("character", [text]) for text in ("aaabbc", "bbbcca"))
    ids = one.renumbering(other)
    assert ids == (0, 1, 2, 3, 5, 6, 4) and [ids[index] for index in other.encode("abcb")] == one.encode("abcb")
    assert one.renumbering(one) == (0, 1, 2, 3, 4, 5, 6)


def test_the_same_pieces_by_other_rules_are_not_renumbered():
    words = Tokenizer.train("word", ["a b b"])
    assert words.renumbering(Tokenizer.train("word", ["a a b"])) == (0, 1, 2, 3, 5, 4)
    assert words.renumbering(Tokenizer.train("symbols", ["a a b"])) is None
    assert words.renumbering(Tokenizer.train("word", ["a a b"], form="nfc")) is None
    assert words.renumbering(Tokenizer.train("word", ["a a b c"])) is None


def test_a_tokenizer_without_a_form_is_written_as_before():
    assert "form" not in json.loads(TOKENIZERS["word"].to_json())
    with pytest.raises(ConfigError, match="did you mean nfd"):
        Tokenizer.train("word", TEXTS, form="nfdd")  # pyright: ignore[reportArgumentType]
