"""The automatic choice of tokens is right for every data set at hand."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from seq2seq.data import PairFiles, choose_form, choose_kind, read_pairs
from seq2seq.data.examples import cmudict, kjv_pairs
from seq2seq.errors import ConfigError, DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
G2P = ["ady", "arm", "bul", "dut", "fre", "geo", "gre", "hin", "hun", "ice", "jpn", "kor", "lit", "rum", "vie"]
TASK1 = "sigmorphon2020_task1"
M30K = "multi30k/tok"
ENJA = "small_parallel_enja"
TABLE = [
    *((f"{TASK1}/train/{language}_train.tsv", "character", "symbols") for language in G2P),
    *((f"{TASK1}/dev/{language}_dev.tsv", "character", "symbols") for language in G2P),
    *((f"sigmorphon2016_task1/{language}-task1-train", "symbols", "character") for language in ("german", "navajo")),
    ("sigmorphon2016_task1/turkish-task1-dev", "symbols", "character"),
    ("cmudict_g2p/g014b2b.train", "character", "symbols"),
    *((f"scan/tasks_train_{name}.txt", "symbols", "symbols") for name in ("simple", "length", "addprim_jump")),
    (f"{M30K}/train.lc.norm.tok.de {M30K}/train.lc.norm.tok.en", "bpe", "bpe"),
    (f"{M30K}/val.lc.norm.tok.en {M30K}/val.lc.norm.tok.fr", "bpe", "bpe"),
    (f"{ENJA}/train.en {ENJA}/train.ja", "bpe", "bpe"),
    (f"{ENJA}/dev.en {ENJA}/dev.ja", "bpe", "bpe"),
]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize(("names", "source", "target"), TABLE)
def test_the_choice_for_each_data_set(names, source, target):
    paths = [str(SHARED / name) for name in names.split()]
    files = PairFiles((paths[0],)) if len(paths) == 1 else PairFiles(source=paths[0], target=paths[1])
    corpus = read_pairs(files)
    chosen = [choose_kind([pair[side] for pair in corpus.pairs]) for side in (0, 1)]
    assert [choice.kind for choice in chosen] == [source, target], chosen


def test_the_choice_for_the_demos():
    try:
        verses, words = kjv_pairs().train, cmudict()
    except ConfigError:
        pytest.skip("the packages of the demo are not here")
    assert choose_kind([pair.source for pair in verses])[:2] == ("bpe", 8000)
    assert [choose_kind([pair[side] for pair in words]).kind for side in (0, 1)] == ["character", "symbols"]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["12+34", "7+8", "100+1"], "character"),
        (["a b c", "c b a", "b b a c", "a a c"] * 3, "symbols"),
        (["h ə l oʊ", "w ɜː l d", "ɡ ʊ d", "b aɪ", "h aʊ s", "l ʊ d", "w aʊ"] * 2, "symbols"),
        (["twelve thousand and five", "five thousand and twelve", "five and twelve"] * 20, "symbols"),
        (["人間の言葉を機械に教えるのは難しい。", "犬が好き。"], "character"),
        ([f"they say that number {i} lives in house {i * 7} of street {i * i}" for i in range(300)], "bpe"),
        (["one text"], "character"),
    ],
)
def test_the_choice_for_small_data(texts, kind):
    choice = choose_kind(texts)
    assert choice.kind == kind, choice
    assert choice.why and not choice.why.endswith(".")


def test_a_choice_needs_text():
    with pytest.raises(DataError, match="no text"):
        choose_kind([])


def test_letters_of_lemmas_are_taken_apart_where_that_makes_them_few():
    korean = [" ".join([*map(chr, range(0xAC00 + 28 * n, 0xAC00 + 28 * n + 9)), "+pos=V"]) for n in range(40)]
    assert choose_form(korean, "symbols") == "nfd"
    assert choose_form([" ".join(normalize("NFD", line)).replace("   ", " ") for line in korean], "symbols") == "nfd"
    assert choose_form([f"{line} +{n}" for n, line in enumerate(korean)], "symbols") == "nfd"  # features are no letters
    assert choose_form(["aa bb"], "symbols") == choose_form([""], "character") == "none"  # nor is there any
    assert choose_form(["d e j à +pos=ADV", "é t é +pos=N", "t͡ʃ ã"], "symbols") == "none"
    assert choose_form(korean, "word") == "none"
