"""Text <-> ids, over Hugging Face `tokenizers`: words, characters, space-separated symbols, BPE, unigram.

Ids 0 to 3 are `PAD`, `UNKNOWN`, `BEGIN` and `END` for every kind. Inside the tokenizer their names hold a space, which
no piece of two characters or more does, so that no text, not even `<pad>`, can become one of them.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from seq2seq.errors import ConfigError, CorruptArchiveError, did_you_mean

T = TypeVar("T")
Kind: TypeAlias = Literal["word", "character", "symbols", "bpe", "unigram"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Form: TypeAlias = Literal["none", "nfc", "nfd", "nfkc", "nfkd"]
"""Unicode normalisation before text is cut: nfd takes a letter and its marks, or a Hangul syllable, apart."""
FORMS: tuple[Form, ...] = get_args(Form)
PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
_SPECIAL = ["< pad >", "< unknown >", "< begin >", "< end >"]
_SHOWN = ["<pad>", "<unknown>", "<begin>", "<end>"]
_SMALLEST = len(_SPECIAL) + 256  # a byte each
OF_BYTES = ("bpe", "unigram")
_APART = ("nfd", "nfkd")


class Tokenizer:
    """Text to ids and back. Made by `Tokenizer.train`, `Tokenizer.from_json`; see `Kind` for the kinds.

    - character: any text of characters seen in training comes back exactly;
    - word, symbols: both cut at single spaces; text of seen pieces comes back exactly;
    - bpe, unigram: over bytes, so any text at all comes back exactly and nothing is unknown.

    With a Unicode `form`, text is normalised before it is cut, and what nfd and nfkd took apart comes back composed.
    Of symbols, those that are one letter are taken apart; in others, such as features, nothing is. A letter and its
    mark that stand side by side as two symbols are one letter then.

    Attributes:
        kind: what text is cut into.
        form: the Unicode form.
        right_to_left: whether the ids of a text begin with its last piece; see `turned`.

    Example:
        >>> letters = Tokenizer.train("character", ["a b", "ab"])
        >>> letters.encode("ba"), letters.decode([5, 4, 3])
        ([5, 4], 'ba')
        >>> jamo = Tokenizer.train("character", ["가나"], form="nfd")
        >>> len(jamo.encode("나가")), jamo.decode(jamo.encode("나가"))
        (4, '나가')
    """

    def __init__(self, kind: Kind, inner: tokenizers.Tokenizer, form: Form = "none", right_to_left: bool = False):
        self.kind: Kind = kind
        self.form: Form = form
        self.right_to_left = right_to_left
        self._inner = inner
        self._ids = inner.get_vocab()
        self._pieces = sorted(self._ids, key=self._ids.__getitem__)

    @classmethod
    def train(
        cls, kind: Kind, texts: Iterable[str], *, vocabulary: int = 8000, minimum_count: int = 1, form: Form = "none"
    ) -> Tokenizer:
        """Learn at most `vocabulary` pieces (the four special ones counted), each seen at least `minimum_count` times.

        What unigram keeps is likely pieces, however often they were seen. The same texts give the same tokenizer, but
        for unigram.

        Raises:
            ConfigError: kind or form is unknown, or the vocabulary too small for the kind.
        """
        for what, name, known in (("kind of tokens", kind, KINDS), ("Unicode form", form, FORMS)):
            if name not in known:
                raise ConfigError(f"no {what} is called {name!r}; {did_you_mean(name, known)}")
        smallest = _SMALLEST if kind in OF_BYTES else len(_SPECIAL) + 1
        if vocabulary < smallest:
            raise ConfigError(f"a {kind} vocabulary of {vocabulary} is too small: it needs at least {smallest}.")
        make = {"bpe": _train_bytes, "unigram": _train_bytes}.get(kind, _train_pieces)
        return cls(kind, make(kind, (normalised(text, form, kind) for text in texts), vocabulary, minimum_count), form)

    def turned(self) -> Tokenizer:
        """The same pieces in the other order, from the last of a text to its first, or back again.

        A model of such targets writes them from right to left, whatever way the script runs (Liu et al. 2016,
        "Agreement on target-bidirectional neural machine translation").

        Example:
            >>> letters = Tokenizer.train("character", ["a b", "ab"])
            >>> backwards = letters.turned()
            >>> letters.encode("ab"), backwards.encode("ab"), backwards.decode([5, 4, 3])
            ([4, 5], [5, 4], 'ab')
        """
        return Tokenizer(self.kind, self._inner, self.form, not self.right_to_left)

    @property
    def rule(self) -> str:
        """How text is cut, for people: "character", "character in NFD", or "right-to-left character"."""
        form = "" if self.form == "none" else f" in {self.form.upper()}"
        return f"{'right-to-left ' if self.right_to_left else ''}{self.kind}{form}"

    @property
    def size(self) -> int:
        """The number of ids, the four special ones included."""
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without begin and end."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of many texts; bpe and unigram on all cores."""
        if self.form != "none":
            texts = [normalised(text, self.form, self.kind) for text in texts]
        if cut := _CUTS.get(self.kind):  # a dictionary does it ten times as fast
            ids = self._ids
            found = [[ids.get(piece, UNKNOWN) for piece in cut(text)] for text in texts]
        else:
            found = [one.ids for one in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]
        return [self.in_order(one) for one in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids up to the first `END`, without pad and begin; an unknown piece shows as `<unknown>`."""
        kept = self.in_order([index for index in _until_end(ids) if index not in (PAD, BEGIN)])
        if self.kind in OF_BYTES:
            text = self._inner.decode([index for index in kept if index != UNKNOWN], skip_special_tokens=False)
            return self._composed(text)
        return self.join(self.token(index) for index in kept)

    def in_order(self, pieces: list[T]) -> list[T]:
        """What belongs to each piece of a text, from the order of the text to that of the ids, or back: where pieces go
        right to left it is turned."""
        return pieces[::-1] if self.right_to_left else pieces

    def join(self, pieces: Iterable[str]) -> str:
        """The text of pieces of words, symbols or characters, which stand in the order of the text."""
        if self.kind == "symbols" and self.form in _APART:
            return " ".join(letters(pieces))
        return self._composed(("" if self.kind == "character" else " ").join(pieces))

    def said(self, text: str) -> str:
        """A text as `decode` would write it, if every piece is known: where spaces part tokens, two are one.

        Example:
            >>> Tokenizer.train("word", ["a b"]).said("b  a ")
            'b a'
        """
        text = normalised(text, self.form, self.kind)
        return self.join(_cut_at_spaces(text)) if self.kind in ("word", "symbols") else self._composed(text)

    def _composed(self, text: str) -> str:
        return unicodedata.normalize("NFC", text) if self.form in _APART else text

    def token(self, index: int) -> str:
        """The piece of an id as people read it; a space that belongs to a piece shows as `▁`.

        Raises:
            IndexError: no such id.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"Tokenizer.token: no id {index} in a vocabulary of {self.size}.")
        if index < len(_SPECIAL):
            return _SHOWN[index]
        piece = self._pieces[index]
        if self.kind not in OF_BYTES:
            return piece
        text = decoders.ByteLevel().decode([piece])
        return piece.replace("Ġ", "▁") if "\ufffd" in text else text.replace(" ", "▁")  # Ġ is the byte of a space

    def tokens(self, text: str) -> list[str]:
        """The pieces a text is cut into, as people read them, in the order of the ids."""
        return [self.token(index) for index in self.encode(text)]

    def pieces(self, text: str) -> list[str]:
        """As `tokens`, but an unknown piece is as it stands in the text.

        Example:
            >>> Tokenizer.train("word", ["a b"]).pieces("to  Ur")
            ['to', 'Ur']
        """
        cut = _CUTS.get(self.kind)
        if not cut:
            return self.tokens(text)  # of bytes, to which nothing is unknown
        return self.in_order(list(cut(normalised(text, self.form, self.kind))))

    @property
    def halves(self) -> NDArray[np.int32]:
        """(size, 2) the two pieces that each piece of bpe was merged of, in the order of the ids of a text; -1 where it
        was not merged.

        Example:
            >>> pieces = Tokenizer.train("bpe", ["ab"] * 9, vocabulary=300)
            >>> [[pieces.token(half) for half in pair] for pair in pieces.halves[-2:].tolist()]
            [['a', 'b'], ['▁', 'ab']]
        """
        found = np.full((self.size, 2), -1, np.int32)
        merges = json.loads(self._inner.to_str())["model"]["merges"] if self.kind == "bpe" else ()
        for first, second in merges:
            whole = self._ids[first + second]
            if found[whole, 0] < 0:  # the merge that came first makes it
                found[whole] = self.in_order([self._ids[first], self._ids[second]])
        return found

    def matching(self, other: Tokenizer) -> tuple[int, ...]:
        """For each id of another tokenizer, the id of the same piece here, or -1: also for padding and the beginning.

        Pieces of bytes (bpe, unigram) are never those of whole letters or words, however they are written.

        Example:
            >>> Tokenizer.train("character", ["abc"]).matching(Tokenizer.train("character", ["xb"]))
            (-1, 1, -1, 3, 5, -1)
        """
        alike = (self.kind in OF_BYTES) == (other.kind in OF_BYTES)
        names = other._pieces if alike else _SPECIAL + [""] * (other.size - len(_SPECIAL))
        return tuple(-1 if piece in (PAD, BEGIN) else self._ids.get(name, -1) for piece, name in enumerate(names))

    def renumbering(self, other: Tokenizer) -> tuple[int, ...] | None:
        """For each id of another tokenizer that cuts any text into the same pieces, the id here; None if it does not.

        Words, symbols and characters are the same pieces in any order; of bytes, the order is a rule of cutting.

        Example:
            >>> Tokenizer.train("character", ["aab"]).renumbering(Tokenizer.train("character", ["abb"]))
            (0, 1, 2, 3, 5, 4)
        """
        if self.to_json() == other.to_json():
            return tuple(range(self.size))
        if self.kind in OF_BYTES or (self.rule, self._ids.keys()) != (other.rule, other._ids.keys()):
            return None
        return tuple(self._ids[piece] for piece in other._pieces)

    def unknown_rate(self, texts: Iterable[str]) -> float:
        """The share of the pieces of the texts that this tokenizer does not know."""
        counts = [(ids.count(UNKNOWN), len(ids)) for ids in self.encode_batch(texts)]
        return sum(unknown for unknown, _ in counts) / max(1, sum(total for _, total in counts))

    def to_json(self) -> str:
        """All of it as one JSON text, for the model file."""
        form = {} if self.form == "none" else {"form": self.form}
        order = {"right_to_left": True} if self.right_to_left else {}
        version = 2 if order else 1  # of which versions that know no order must read the first alone
        told = {"format": version, "kind": self.kind, **form, **order}
        return json.dumps({**told, "tokenizer": json.loads(self._inner.to_str())})

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            CorruptArchiveError: the text is something else.
        """
        try:
            fields = json.loads(text)
            kind, form, inner = fields["kind"], fields.get("form", "none"), fields["tokenizer"]
            turned = fields.get("right_to_left", False)
            if fields["format"] not in (1, 2) or kind not in KINDS or form not in FORMS or type(turned) is not bool:
                raise ValueError(f"format {fields['format']}, kind {kind}, form {form}, right_to_left {turned}")
            made = cls(kind, _counted(_from_dictionary(inner)), form, turned)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptArchiveError(f"this is not a tokenizer that this version can read: {error}.") from None
        return made


def _counted(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same, if its pieces have the ids 0, 1, 2, ... and the special ones are the first, as all of ours."""
    ids = inner.get_vocab()
    if [ids.get(name) for name in _SPECIAL] != list(range(len(_SPECIAL))) or set(ids.values()) != {*range(len(ids))}:
        raise ValueError(f"the ids of its {len(ids):,} pieces leave some out")
    return inner


def normalised(text: str, form: Form, kind: Kind) -> str:
    """The text in a Unicode form. Of symbols, one that is a letter becomes several where the form takes it apart, and
    marks that stand by themselves are of the letter before.

    Example:
        >>> [len(normalised("한 글 +pos=N", form, "symbols").split()) for form in ("nfc", "nfd")]
        [3, 7]
        >>> normalised("e \u0301 t", "nfc", "symbols")
        'é t'
    """
    if form == "none":
        return text
    if kind != "symbols":
        return _in_form(text, form)
    return " ".join(part for symbol in letters(_cut_at_spaces(text)) for part in _parts(symbol, form))


def letters(pieces: Iterable[str]) -> list[str]:
    """Pieces in NFC, those joined that together are one letter or syllable.

    Example:
        >>> letters(["t", "e", "\u0301", "ㅎ", "+pos=N"])
        ['t', 'é', 'ㅎ', '+pos=N']
    """
    kept: list[str] = []
    for piece in pieces:
        if kept and _joins(piece) and len(letter := _in_form(kept[-1] + piece, "nfc")) == 1:
            kept[-1] = letter
        else:
            kept.append(piece if piece.isascii() else _in_form(piece, "nfc"))
    return kept


@lru_cache(1 << 16)
def _joins(piece: str) -> bool:
    """Whether it may be of the letter before: a mark, or a vowel or final consonant of Hangul."""
    return unicodedata.category(piece[0])[0] == "M" or "\u1160" <= piece[0] <= "\u11ff"


@lru_cache(1 << 16)
def _parts(symbol: str, form: Form) -> tuple[str, ...]:
    """A symbol in NFC, in another form; what that would make of a space is left alone."""
    found = _in_form(symbol, form)
    if " " in found:
        return (symbol,)
    return tuple(found) if form in _APART and len(symbol) == 1 else (found,)


def _in_form(text: str, form: Form) -> str:
    return unicodedata.normalize(form.upper(), text)  # pyright: ignore[reportArgumentType]


def _until_end(ids: Iterable[int]) -> Iterator[int]:
    for index in ids:
        if index == END:
            return
        yield int(index)


def _train_pieces(kind: Kind, texts: Iterable[str], vocabulary: int, minimum_count: int) -> tokenizers.Tokenizer:
    """The commonest pieces first, equal ones in the order of their characters: no chance anywhere."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_CUTS[kind](text))
    order = sorted(
        (piece for piece, n in counts.items() if n >= minimum_count), key=lambda piece: (-counts[piece], piece)
    )
    if counts and not order:
        piece, most = counts.most_common(1)[0]
        raise ConfigError(
            f"--minimum-count {minimum_count}: no {kind} occurs so often; the commonest, {piece!r}, has {most}."
        )
    known = _SPECIAL + order[: vocabulary - len(_SPECIAL)]
    inner = tokenizers.Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(known)}, _SPECIAL[UNKNOWN]))
    split = pre_tokenizers.Split("", "isolated") if kind == "character" else pre_tokenizers.CharDelimiterSplit(" ")
    inner.pre_tokenizer = split  # pyright: ignore[reportAttributeAccessIssue]
    return inner


def _cut_at_spaces(text: str) -> list[str]:
    return [piece for piece in text.split(" ") if piece]


_CUTS: dict[str, Callable[[str], Iterable[str]]] = {"character": str, "word": _cut_at_spaces, "symbols": _cut_at_spaces}


def _train_bytes(kind: Kind, texts: Iterable[str], vocabulary: int, minimum_count: int) -> tokenizers.Tokenizer:
    model, trainer = _byte_trainer(kind, vocabulary, minimum_count)
    inner = tokenizers.Tokenizer(model)
    # A space before the first word makes it the same piece as inside a sentence; decoding takes it off again.
    inner.normalizer = normalizers.Prepend(" ")
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    inner.train_from_iterator(texts, trainer)
    # Training also registers the special tokens to be looked for in raw text: user text must never become one.
    return _from_dictionary(json.loads(inner.to_str()) | {"added_tokens": []})


def _byte_trainer(kind: Kind, vocabulary: int, minimum_count: int) -> tuple[Any, Any]:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    common: dict[str, Any] = {"vocab_size": vocabulary, "special_tokens": _SPECIAL, "show_progress": False}
    if kind == "bpe":
        trainer = trainers.BpeTrainer(min_frequency=max(2, minimum_count), initial_alphabet=alphabet, **common)
        return models.BPE(), trainer
    return models.Unigram(), trainers.UnigramTrainer(initial_alphabet=alphabet, unk_token=_SPECIAL[UNKNOWN], **common)


def _from_dictionary(fields: Any) -> tokenizers.Tokenizer:
    text = json.dumps(fields)
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises the bare class
        raise ValueError(str(error)) from None
