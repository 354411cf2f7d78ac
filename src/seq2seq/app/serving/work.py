"""What a served model does for requests: many of one kind in one compiled call; the answer of each is its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.decoding import Decoding
from seq2seq.app.hypothesis import rounded
from seq2seq.app.listening import Listening
from seq2seq.app.pictures.projection import plane
from seq2seq.app.serving import answers, requests
from seq2seq.app.serving.cost import LISTENING_ITEMS
from seq2seq.app.streaming import Streamed, stream
from seq2seq.app.text_model import TextModel
from seq2seq.core.seams import BEGIN, END, PAD, UNKNOWN, Encodable, Searchable
from seq2seq.data import Tokenizer, inference_batches
from seq2seq.metrics import spaced
from seq2seq.search import Forced, continuations, force, score
from seq2seq.search.rules import round_up

_FAR = 1 << 40
"""Target tokens that a server may read, for which tables are worth their making."""
_FEWEST = 16  # time steps of a forced target
_NEXT = 50
"""Next tokens that are always found, so that one program does for any count."""
_NEVER = (PAD, UNKNOWN, BEGIN)
_MOST_WEIGHTS = 1 << 24
"""Of the attention of forced targets in one call, padding included: 64 MiB."""


class _Row(NamedTuple):
    """A row of a batch: its place among the texts, its source length, its target ids without the end."""

    place: int
    source: int
    target: list[int]


@dataclass(frozen=True)
class Served:
    """A model under a name.

    Attributes:
        name: what requests call it.
        text: the model.
        base: what the server decides of decoding: batch, precision, int8 and shortlist.
    """

    name: str
    text: TextModel
    base: Decoding = field(default_factory=Decoding)

    def ready(self) -> None:
        """Prepare it once, as for many tokens, so that no request does."""
        if isinstance(self.text.model, Searchable):
            self._searchable(self.base.shortlist)
            self._searchable()
            _ = self.text.gives_attention

    def card(self) -> answers.ModelCard:
        """What it is."""
        source, target = self.text.source_tokenizer, self.text.target_tokenizer
        settings = self.text.settings
        sizes = source.size, target.size, settings.source_longest, settings.target_longest
        kind, embeds = type(self.text.model).__name__, isinstance(self.text.model, Encodable)
        return answers.ModelCard(self.name, kind, settings.format, source.rule, target.rule, *sizes, embeds)

    def decoding(self, asked: Decoding) -> Decoding:
        """What was asked for, with what the server decides."""
        base = self.base
        own = {"batch": base.batch, "precision": base.precision, "int8": base.int8, "shortlist": base.shortlist}
        return replace(asked, **own)

    def generate(self, asked: Sequence[requests.Generate]) -> list[answers.Generated]:
        """Outputs; those of each request as if it were alone: what is drawn depends on its own seed and its lines."""
        texts = [text for one in asked for text in one.inputs]
        draws = [(one.options.seed, line) for one in asked for line in range(len(one.inputs))]
        prefixes = None
        if asked[0].prefixes is not None:
            prefixes = [prefix for one in asked for prefix in one.prefixes or ()]
        how = {"attention": asked[0].attention, "prefixes": prefixes, "draws": draws}
        found = self.text.hypotheses(texts, self.decoding(asked[0].options), **how)
        outputs = map(answers.Output, texts, self.source_tokens(texts), found)
        return [answers.Generated(list(islice(outputs, len(one.inputs)))) for one in asked]

    def stream(self, asked: requests.Stream) -> Iterator[Streamed]:
        """The output token by token."""
        return stream(self.text, asked.input, self.decoding(replace(asked.options, beam=1)), asked.prefix, reads=_FAR)

    def next(self, asked: Sequence[requests.Next]) -> list[answers.Nexts]:
        """The likeliest next tokens."""
        model, target = self._searchable(self.base.shortlist), self.text.target_tokenizer
        sources = [one.input for one in asked]
        shown = self._read_tokens(sources)
        found: list[answers.Nexts] = [answers.Nexts([], [], [], None)] * len(asked)
        for rows, source, lengths, begun, many in self._batches(sources, [one.prefix for one in asked]):
            best = continuations(model, source, lengths, begun, many, _NEXT, _NEVER)
            tokens, logs = np.asarray(best.tokens), np.asarray(best.log_probabilities, np.float64)
            look = None if best.attention is None else np.asarray(best.attention)
            for row, (place, length, prefix) in enumerate(rows):
                several = zip(tokens[row].tolist(), logs[row].tolist(), strict=True)
                likely = [
                    answers.Alternative(
                        target.token(token), _whole(target, [*prefix, token]), float(np.exp(log)), log, token == END
                    )
                    for token, log in islice(several, asked[place].count)
                    if np.isfinite(log)
                ]
                attention = None if look is None else look[row, :length].astype(float).tolist()
                pieces = [target.token(token) for token in prefix]
                found[place] = answers.Nexts(pieces, shown[place], likely, attention)
        return found

    def align(self, asked: Sequence[requests.Alignments]) -> list[answers.Alignment]:
        """The attention of forced targets."""
        found = iter(self._forced([pair for one in asked for pair in one.pairs], look=True))
        return [answers.Alignment(list(islice(found, len(one.pairs)))) for one in asked]

    def score(self, asked: Sequence[requests.Score]) -> list[answers.Scores]:
        """log p(target | source)."""
        found = iter(self._forced([pair for one in asked for pair in one.pairs], look=False))
        scored = (
            answers.Scored(sum(one.token_log_probabilities), one.target_tokens, one.token_log_probabilities)
            for one in found
        )
        return [answers.Scores(list(islice(scored, len(one.pairs)))) for one in asked]

    def embed(self, asked: Sequence[requests.Embed]) -> list[answers.Vectors]:
        """Vectors; those of each request have a plane of their own."""
        rows = self.text.embed([text for one in asked for text in one.inputs], self.base.batch)
        parts = np.split(rows, np.cumsum([len(one.inputs) for one in asked])[:-1])
        return [
            answers.Vectors(part.tolist(), plane(part, one.plane).tolist() if one.plane else None)
            for one, part in zip(asked, parts, strict=True)
        ]

    def listen(self, asked: Sequence[requests.Listen]) -> list[answers.Heard]:
        """The listening report of each request; outputs are greedy."""
        return [self._listen(list(one.pairs)) for one in asked]

    def _listen(self, pairs: list[tuple[str, str]]) -> answers.Heard:
        sources = self.text.sources([source for source, _ in pairs])
        pairs = [(source, target) for source, (_, target) in zip(sources, pairs, strict=True)]
        text = self.text.of_read_pairs()
        distinct = list(dict.fromkeys(sources))
        outputs = dict(zip(distinct, text.generate(distinct, self.decoding(Decoding(beam=1))), strict=True))
        kind = self.text.target_tokenizer.kind
        report = Listening(LISTENING_ITEMS, split=list if kind == "character" else spaced, arithmetic=self.base)
        return answers.Heard(report(text, pairs, outputs), [outputs[source] for source in sources])

    def source_tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The tokens of each text, the end included, over which attention goes; none for an empty text."""
        tokenizer = self.text.source_tokenizer
        return [[*tokenizer.pieces(t), tokenizer.token(END)] if t else [] for t in self.text.sources(texts)]

    def _read_tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The same; of an empty text its end, which is what the model reads."""
        return [tokens or [self.text.source_tokenizer.token(END)] for tokens in self.source_tokens(texts)]

    def _searchable(self, shortlist: int | None = None) -> Searchable:
        """The model, whose output layer may be of the first tokens only: a target that is told may have any."""
        return self.text.searchable(Arithmetic(self.base.precision, self.base.int8), shortlist, reads=_FAR)

    def _forced(self, pairs: Sequence[tuple[str, str]], look: bool) -> list[answers.Aligned]:
        model, tokenizer = self._searchable(), self.text.target_tokenizer
        sources = [source for source, _ in pairs]
        shown = self._read_tokens(sources)
        found: list[answers.Aligned] = [answers.Aligned([], [], [], None)] * len(pairs)
        for rows, source, lengths, begun, many in self._batches(sources, [target for _, target in pairs], look):
            columns = np.arange(begun.shape[1])
            wanted = begun.copy()
            wanted[many, columns] = END
            given = np.concatenate([np.full((1, len(columns)), BEGIN, np.int32), begun[:-1]])
            on = (np.arange(len(begun))[:, None] <= many) & (np.arange(len(columns)) < len(rows))
            asked = model, source, lengths, given, wanted, on
            told = force(*asked) if look else Forced(score(*asked), None)
            gains = np.asarray(told.log_probabilities).astype(float)
            weights = None if told.attention is None else np.asarray(told.attention)
            for row, (place, length, target) in enumerate(rows):
                end = len(target) + 1
                attention = None if weights is None else rounded(weights[:end, row, :length])
                tokens = [tokenizer.token(token) for token in (*target, END)]
                found[place] = answers.Aligned(shown[place], tokens, gains[:end, row].tolist(), attention)
        return found

    def _batches(
        self, texts: Sequence[str], targets: Sequence[str], look: bool = False
    ) -> Iterator[tuple[list[_Row], NDArray[Any], NDArray[Any], NDArray[np.int32], NDArray[np.int32]]]:
        """Sources and targets in batches of few static shapes: rows, (source, batch), (batch,), (target, batch) with
        room for one more token, (batch,). An empty source is a source of no token but the end, as in training.

        To `look`, a batch has no more rows than memory has room for where the longest target of all meets the longest
        source, whoever sent them.
        """
        ids = self.text.source_tokenizer.encode_batch(self.text.sources(texts))
        wanted = self.text.target_tokenizer.encode_batch(targets)
        most = self.base.batch
        if look:
            across, down = (round_up(max(_FEWEST, *(len(tokens) + 1 for tokens in side))) for side in (ids, wanted))
            most = min(most, max(1, _MOST_WEIGHTS // (across * down)))
        for indices, source, lengths in inference_batches(ids, batch=most):
            rows = [_Row(int(i), int(lengths[row]), list(wanted[int(i)])) for row, i in enumerate(indices)]
            longest = max(_FEWEST, round_up(1 + max(len(row.target) for row in rows)))
            begun, many = np.zeros((longest, len(lengths)), np.int32), np.zeros(len(lengths), np.int32)
            for column, row in enumerate(rows):
                begun[: len(row.target), column] = row.target
                many[column] = len(row.target)
            yield rows, source, lengths, begun, many


def _whole(tokenizer: Tokenizer, ids: Sequence[int]) -> str | None:
    """The text of ids, if an output can begin with it: they end between two letters, and begin where it does."""
    text = tokenizer.decode(ids)
    return None if tokenizer.right_to_left or text.endswith("\ufffd") else text
