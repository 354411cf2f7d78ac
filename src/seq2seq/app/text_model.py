"""`TextModel`: text in, text out. A model with its tokenizers, in one file; what `seq2seq train` writes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from seq2seq.app.agreement import joined
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.decoding import QUEUE, Decoding, decode, shortlisted
from seq2seq.app.demands import demands_of_lines, limits, rows_with_attention, rows_with_tokens, rules_of
from seq2seq.app.forcing import forced
from seq2seq.app.hypothesis import EMPTY, Hypothesis, chosen, copying, read
from seq2seq.app.meter import told
from seq2seq.app.text_settings import TextSettings
from seq2seq.app.unknown import check_replaceable
from seq2seq.core import archive
from seq2seq.core.archive import Archive
from seq2seq.core.precision import resolve
from seq2seq.core.seams import END, Encodable, Searchable
from seq2seq.core.skeleton import class_and_statics, describe
from seq2seq.data import Dataset, Tokenizer, inference_batches, source_of_line
from seq2seq.data.grouped import Targets
from seq2seq.data.lines import LONGEST_LINE, BadLineError, check_text
from seq2seq.errors import ArchiveError, ConfigError, DataError, ModuleError, SearchError
from seq2seq.models.model import model_of
from seq2seq.search import Forced
from seq2seq.search.checking import check_encodable, gives_attention
from seq2seq.search.ensemble import Mean

_HEADER = {"model": dict, "text": dict, "provenance": dict}
_TEXTS = ("source_tokenizer", "target_tokenizer", "config")
"""What the file of a text model has beside its leaves."""


@dataclass(frozen=True)
class TextModel:
    """A model with the tokenizers and settings that make it speak text.

    Example:
        ```
        model = seq2seq.load("run/model.npz")
        model.generate(["so abram departed", "the house is on fire"])
        model.score([("the house", "is on fire")])
        ```
    """

    model: Any
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    settings: TextSettings = field(default_factory=TextSettings)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    longest_text: float = LONGEST_LINE
    _searched: dict[Any, Searchable] = field(default_factory=dict, init=False, repr=False, compare=False)

    def generate(self, texts: Sequence[str], decoding: Decoding | None = None) -> list[str]:
        """The best output for each text.

        Raises:
            ModuleError: the model has no `start` and `step`.
            SearchError: an option that finds nothing.
        """
        return [several[0].text for several in self.hypotheses(texts, decoding)]

    def hypotheses(
        self,
        texts: Sequence[str],
        decoding: Decoding | None = None,
        *,
        first_line: int = 0,
        attention: bool = False,
        prefixes: Sequence[str] | None = None,
        draws: Sequence[tuple[int, int]] | None = None,
    ) -> list[list[Hypothesis]]:
        """The outputs for each text, best first (samples: in the order drawn); empty text has one empty output.

        `first_line` is the number of the first text in its file: what is drawn for a line depends on it and the seed.
        `prefixes` are the texts that the outputs of each text begin with, "" for any. An output that does not hold
        what is asked for is not `finished`. `draws` are the seed and the line number of each text where these come
        from several files; by default that of `decoding`, and consecutive numbers.
        """
        decoding = decoding or Decoding()
        decoding.check()
        sources = self.sources(texts, first_line)
        answers: list[list[Hypothesis]] = [[EMPTY] for _ in texts]
        kept = [line for line, source in enumerate(sources) if source]
        ids = self.source_tokenizer.encode_batch(sources[line] for line in kept)
        asked = demands_of_lines(decoding, self.target_tokenizer, len(texts), prefixes, first_line)
        if decoding.replace_unknown:
            check_replaceable(self.source_tokenizer, self.target_tokenizer)
        look = attention or decoding.replace_unknown
        room = self.settings.limit(np.array([len(tokens) + 1 for tokens in ids], np.int32))
        lines = [line + first_line for line in kept]
        room = limits(room, [asked[line] for line in kept], decoding, lines, self.target_tokenizer)
        places = max(decoding.found, 0 if decoding.sample else decoding.beam)
        batch = rows_with_tokens(places, int(max(room, default=0)), decoding.batch)
        model = self.searchable(decoding, decoding.shortlist, reads=len(texts) * places)
        if decoding.replace_unknown and not self.gives_attention:
            raise SearchError("--replace-unknown: this model gives no attention to copy by; leave it out.")
        if look and self.gives_attention:
            weights = [places * int(most) * (len(tokens) + 1) for most, tokens in zip(room, ids, strict=True)]
            batch = rows_with_attention(weights, lines, batch)
        by = draws or [(decoding.seed, line + first_line) for line in range(len(texts))]
        batches = inference_batches(ids, batch=batch, queue=QUEUE)
        for batch in told("lines", batches, lambda batch: len(batch.indices)):
            drawn = np.zeros((len(batch.lengths), 2), np.uint32)
            drawn[: len(batch.indices)] = [by[kept[index]] for index in batch.indices]
            most = np.zeros(len(drawn), np.int32)
            most[: len(batch.indices)] = room[batch.indices]
            rules = rules_of([asked[kept[index]] for index in batch.indices], len(drawn), prefixes is not None)
            found = decode(model, batch, most, drawn, decoding, look, rules)
            for row, index in enumerate(batch.indices):
                text_of = None
                if decoding.replace_unknown:
                    text_of = copying(self.target_tokenizer, self.source_tokenizer.pieces(sources[kept[index]]))
                several = list(read(self.target_tokenizer, found, row, int(batch.lengths[row]), text_of))
                if not attention:  # which only copying needed
                    several = [hypothesis._replace(attention=None) for hypothesis in several]
                if attention and found.attention is not None:
                    names = self.source_names(sources[kept[index]])
                    several = [hypothesis._replace(source_tokens=names) for hypothesis in several]
                answers[kept[index]] = chosen(several, decoding)
        return answers

    def source_names(self, source: str) -> list[str]:
        """The tokens of a source as people read them, unknown ones as they stand in it, its end last."""
        return [*self.source_tokenizer.pieces(source), self.source_tokenizer.token(END)]

    def score(self, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic | None = None) -> list[float]:
        """log p(target | source) of each pair, in nats, the end counted; sources as `generate` takes them."""
        return self.pair_scores(pairs, arithmetic).tolist()

    def token_scores(
        self, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic | None = None
    ) -> list[tuple[list[str], list[float]]]:
        """The target tokens of each pair, as the model writes them, the end last, and the log-probability of each, in
        nats."""
        pairs = self._as_read(pairs)
        answers: list[tuple[list[str], list[float]]] = [([], [])] * len(pairs)
        for batch, _, found in self._forced(pairs, arithmetic):
            table = np.asarray(found.log_probabilities)
            for row, index in enumerate(batch.indices):
                ids = batch.target_out[: int(batch.target_mask[:, row].sum()), row]
                tokens = [self.target_tokenizer.token(int(token)) for token in ids]
                answers[index] = (tokens, table[: len(ids), row].astype(float).tolist())
        return answers

    def attention(
        self, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic | None = None
    ) -> list[NDArray[np.float32]]:
        """Where the model looks while it reads the target of each pair: (target tokens, source tokens), ends included.

        Raises:
            ModuleError: the model gives no attention, or cannot generate.
            DataError: a text that cannot be a source.
        """
        pairs = self._as_read(pairs)
        answers = [np.zeros((0, 0), np.float32)] * len(pairs)
        for batch, lengths, found in self._forced(pairs, arithmetic, look=True):
            weights = np.asarray(found.attention)
            for row, index in enumerate(batch.indices):
                tokens = int(batch.target_mask[:, row].sum())
                answers[index] = np.array(weights[:tokens, row, : lengths[row]])
        return answers

    def pair_scores(
        self, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic | None = None
    ) -> NDArray[np.float64]:
        """As `score`, in an array: equal pairs are scored once, equal sources read once.

        Sources and targets have a few static shapes, whatever the pairs, so that millions of them, some ten thousand
        at a time, are compiled for once.
        """
        pairs = self._as_read(pairs)
        places = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        found = np.zeros(len(places))
        for batch, _, said in self._forced(list(places), arithmetic):
            table = np.asarray(said.log_probabilities)
            found[batch.indices] = table.sum(axis=0, dtype=np.float64)[: len(batch.indices)]
        return found[[places[pair] for pair in pairs]] if pairs else found

    def _as_read(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        return list(zip(self.sources([source for source, _ in pairs]), (target for _, target in pairs), strict=True))

    def _forced(
        self, pairs: Sequence[tuple[str, str]], arithmetic: Arithmetic | None, look: bool = False
    ) -> Iterator[tuple[Targets, NDArray[np.int32], Forced]]:
        model = self.searchable(arithmetic or Arithmetic(), reads=len(pairs))
        return forced(model, (self.source_tokenizer, self.target_tokenizer), pairs, look)

    def embed(self, texts: Sequence[str], batch: int = 64) -> NDArray[np.float32]:
        """The encoder's vector of each text: (texts, hidden).

        Raises:
            ModuleError: the model has no `encode`.
        """
        if not isinstance(self.model, Encodable):
            raise ModuleError(f"{type(self.model).__name__} has no `encode(source, lengths)`: it cannot embed.")
        sources = self.sources(texts)
        rows: dict[int, NDArray[np.float32]] = {}
        check_encodable(self.model)
        batches = inference_batches(self.source_tokenizer.encode_batch(sources), batch=batch)
        for indices, source, lengths in told("lines", batches, lambda batch: len(batch.indices)):
            vectors = np.asarray(_encode(self.model, source, lengths))
            rows.update({int(index): vectors[row] for row, index in enumerate(indices)})
        return np.stack([rows[line] for line in range(len(texts))]) if rows else np.zeros((0, 0), np.float32)

    def dataset(self, pairs: Sequence[tuple[str, str]]) -> Dataset:
        """The pairs as ids."""
        return Dataset.build(pairs, self.source_tokenizer, self.target_tokenizer)

    def check_format(self, found: str) -> None:
        """Refuse pairs whose sources are not written as those of the training were.

        Raises:
            ConfigError: one is lemma TAB features TAB form, which is read as symbols, and the other is not.
        """
        if (found == "sigmorphon") != (self.settings.format == "sigmorphon"):
            raise ConfigError(
                f"the pairs are read as {found}, but the model was trained on {self.settings.format}; "
                "give it pairs of that kind, or say --format."
            )

    def of_read_pairs(self) -> TextModel:
        """The same for sources that a reader of pairs has checked and rewritten: they are taken as they are."""
        found = replace(self, settings=replace(self.settings, format="tsv"), longest_text=math.inf)
        found._searched.update(self._searched)  # of the same model: what is prepared is prepared
        return found

    def with_model(self, model: Any) -> TextModel:
        """The same around another model of the same vocabularies."""
        return replace(self, model=model)

    @classmethod
    def ensemble(
        cls,
        models: Sequence[TextModel],
        mean: Mean = "probabilities",
        weights: Sequence[float] | None = None,
        names: Sequence[str] = (),
    ) -> TextModel:
        """Several models as one, whose predictions are averaged token by token: see `seq2seq.Ensemble`. One is itself.

        Args:
            models: text models of the same tokens, in any order but for pieces (bpe, unigram), of which all or none
                read lemma TAB features; outputs may be as long as for one model that had seen what is longest of all.
            mean: what is averaged.
            weights: how much each counts; None for all alike.
            names: what an error calls them, such as their files.

        Raises:
            ConfigError: tokenizers differ, or how sources are read; says which and how.
            ModuleError: a model has no `start` and `step`.
            SearchError: no model, or not one weight above 0 for each.
        """
        if len(models) == 1 and weights is None:
            return models[0]
        model, longest = joined(models, mean, weights, names)
        settings = replace(models[0].settings, **longest)
        provenance = {"members": [dict(one.provenance) for one in models]}
        return replace(models[0], model=model, settings=settings, provenance=provenance, config="")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one `.npz`; all of it or nothing.

        Raises:
            ArchiveError: the file cannot be written, or a file cannot hold the model.
        """
        archive.write(path, self.archive())

    @classmethod
    def kind_of(cls, path: str | os.PathLike[str], types: Sequence[type] = ()) -> tuple[type, dict[str, Any]]:
        """The class and the static fields of the model in a file; nothing is computed. Arguments and errors are those
        of `load`."""
        path, found = cls._read(path)
        with archive.reading(path):
            return class_and_statics(found.header["model"], types)

    @staticmethod
    def _read(path: str | os.PathLike[str]) -> tuple[Path, Archive]:
        path = model_file(path)
        found = archive.read(path)
        if found.header.get("kind") == "checkpoint":
            raise ArchiveError(f"{path}: a checkpoint of a run, not a model; give the run's folder, or its model.npz.")
        if "text" not in found.header:
            raise ArchiveError(f"{path}: a model without tokenizers; load it with the class's own load().")
        found.expect(path, _HEADER, _TEXTS)
        return path, found

    def archive(self) -> Archive:
        """What a file of it holds.

        Raises:
            ArchiveError: a file cannot hold the model, such as a static field that is a function of the user's.
        """
        header = {
            "model": describe(self.model),
            "text": asdict(self.settings),
            "provenance": dict(self.provenance),
        }
        texts = {
            "source_tokenizer": self.source_tokenizer.to_json(),
            "target_tokenizer": self.target_tokenizer.to_json(),
            "config": self.config,
        }
        return Archive.of(self.model, header, texts)

    @classmethod
    def load(cls, path: str | os.PathLike[str], types: Sequence[type] = ()) -> TextModel:
        """The text model in a file, or in the `model.npz` of a run's folder.

        Args:
            path: `model.npz`, or a folder that holds one.
            types: classes of yours that the model holds.

        Raises:
            ArchiveError: the file cannot be read, or holds a model without tokenizers.
            CorruptArchiveError: its bytes are not those that were written, or say what no model does.
            UnknownClassError: it holds a class of yours that is not among `types`.
        """
        path, found = cls._read(path)
        model = model_of(found, path, types)
        with archive.reading(path):
            return cls(
                model=model,
                source_tokenizer=Tokenizer.from_json(found.texts["source_tokenizer"]),
                target_tokenizer=Tokenizer.from_json(found.texts["target_tokenizer"]),
                settings=TextSettings.of_json(found.header["text"]),
                provenance=found.header["provenance"],
                config=found.texts["config"],
            )

    def sources(self, texts: Sequence[str], first_line: int = 0) -> list[str]:
        """The texts as sources stood in training.

        Raises:
            DataError: a text that cannot be a source; `first_line` is the number of the first.
        """
        if isinstance(texts, str):
            raise DataError("wanted a list of texts, found one text; put it in brackets: [text].")
        sources = []
        for line, text in enumerate(texts, first_line + 1):
            try:
                text = check_text(text, self.longest_text).strip()
                sources.append(source_of_line(text, self.settings.format) if text else "")
            except BadLineError as error:
                raise DataError(str(error), "input", line) from None
        return sources

    def searchable(self, arithmetic: Arithmetic, shortlist: int | None = None, reads: int = 0) -> Searchable:
        """The model, prepared once and not for every call; `reads` is how many targets it is now to read.

        Raises:
            ModuleError: the model has no `start` and `step`.
        """
        if not isinstance(self.model, Searchable):
            name = type(self.model).__name__
            raise ModuleError(f"{name} has no `start` and `step`: it trains, but cannot generate or score.")
        kind = resolve(arithmetic.precision), arithmetic.int8, shortlist
        # Half of the longest is a guess. What was once prepared for many tokens is also there for few. With 8 bits a
        # table is another number than a product, and what is said to a line must not rest on how many there are.
        many = reads * self.settings.target_longest >= 2 * self.target_tokenizer.size
        many |= arithmetic.int8 or (*kind, True) in self._searched
        if (*kind, many) not in self._searched:
            prepared = arithmetic.of(shortlisted(self.model, shortlist), tokens=math.inf if many else 0)
            self._searched[*kind, many] = prepared
        return self._searched[*kind, many]

    @cached_property
    def gives_attention(self) -> bool:
        """Whether the model tells where it looked."""
        return isinstance(self.model, Searchable) and gives_attention(self.model)


def model_file(path: str | os.PathLike[str]) -> Path:
    """`path`, or the `model.npz` in it if it is a folder.

    Raises:
        ArchiveError: there is no such file.
    """
    path = Path(path)
    file = path / "model.npz" if path.is_dir() else path
    if not file.is_file():
        raise ArchiveError(f"{file}: no such file; give a model.npz, or the folder of a run that has one.")
    return file


@jax.jit
def _encode(model: Encodable, source: jax.Array, lengths: jax.Array) -> jax.Array:
    return model.encode(source, lengths)
