"""The tokenizers of a run: those of a model to begin with, those that the run began with, or fresh ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from seq2seq.app.options import TrainOptions
from seq2seq.app.text_model import TextModel
from seq2seq.core.files import atomic_write
from seq2seq.data import Choice, Corpus, Tokenizer, choose_form, choose_kind
from seq2seq.data.spool import Texts
from seq2seq.errors import ArchiveError, ConfigError, Seq2SeqError


class Side(NamedTuple):
    """The tokenizer of one side, and why it is of its kind."""

    tokenizer: Tokenizer
    why: str


def tokenizers(
    options: TrainOptions[Any], corpus: Corpus, began_with: TextModel | None, shared: bool
) -> tuple[Side, Side]:
    """Those of the model to begin with or of the run that goes on; otherwise fresh ones, saved before update 1.

    The source of an inflection is symbols where nothing else is asked for, and each side has a tokenizer of its own.

    Raises:
        ConfigError: a model with one vocabulary is asked to cut its sides in two ways.
    """
    if began_with:
        why = f"from {options.from_model}"
        return Side(began_with.source_tokenizer, why), Side(began_with.target_tokenizer, why)
    files = [Path(options.out) / f"{side}_tokenizer.json" for side in ("source", "target")]
    if options.resume:
        source, target = (Side(_read(file), "as this run began") for file in files)
        return source, target
    if shared:
        for name, ways in (("tokens", options.kind), ("form", options.form)):
            if ways("target") not in (None, ways("source")):
                raise ConfigError(
                    f"--target-{name} does not go with this model, which has one vocabulary; --source-{name} is for "
                    "both sides."
                )
        source = target = _train(options, "source", Texts(corpus.pairs, 0, 1))
    else:
        source = _train(options, "source", Texts(corpus.pairs, 0), inflection=corpus.format == "sigmorphon")
        target = _train(options, "target", Texts(corpus.pairs, 1))
    if options.right_to_left:
        target = target._replace(tokenizer=target.tokenizer.turned())
    for file, side in zip(files, (source, target), strict=True):
        text = side.tokenizer.to_json()
        atomic_write(file, lambda temporary, text=text: temporary.write_text(text, "utf-8"))
    return source, target


def _train(
    options: TrainOptions[Any], side: Literal["source", "target"], texts: Texts, inflection: bool = False
) -> Side:
    auto: Choice = choose_kind(texts)
    if inflection:  # whose letters need be no closed set
        auto = auto._replace(kind="symbols", why="the letters of lemmas, and their features")
    asked = options.kind(side)
    kind, why = (asked, "as asked for") if asked else (auto.kind, auto.why)
    size = options.vocabulary or (auto.pieces if kind in ("bpe", "unigram") else 8000)
    form = options.form(side) or choose_form(texts, kind)
    tokenizer = Tokenizer.train(kind, texts, vocabulary=size, minimum_count=options.minimum_count, form=form)
    return Side(tokenizer, why)


def _read(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_json(file.read_text("utf-8"))
    except (Seq2SeqError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{file}: {error}") from None
    except OSError as error:
        raise ArchiveError(f"{file}: {error.strerror}; there is no run here to --resume.") from None
