"""`seq2seq evaluate MODEL PAIRS`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from seq2seq.app.arguments import EnsembleOptions, parse
from seq2seq.app.decoding import Decoding
from seq2seq.app.evaluation import Evaluation
from seq2seq.app.hypothesis import as_json
from seq2seq.app.listening import Listening, ListeningOptions
from seq2seq.app.mistakes import most_confused, write_mistakes
from seq2seq.app.options import Files, PairOptions
from seq2seq.app.outputs import check_output
from seq2seq.app.rerank import RerankOptions
from seq2seq.app.train import say
from seq2seq.core.seams import Searchable
from seq2seq.data import read_pairs
from seq2seq.errors import ConfigError, ModuleError
from seq2seq.metrics import METRICS


@dataclass(frozen=True)
class EvaluateOptions(ListeningOptions, RerankOptions, Decoding, PairOptions, EnsembleOptions):
    """How good a model is on pairs it has not seen.

    Pairs with the same source are one item, right if any target matches; token errors count against the closest one.
    The loss given the right source is compared with the loss given another pair's: if they are equal, the model ignores
    its input. --listening measures more of that.
    """

    pairs: Files = ()
    """Files of pairs, one pair a line: source TAB target, or as --format says."""
    bleu_tokenize: Literal["none", "13a"] = "none"
    """The tokens that BLEU counts: those that any white space parts, or those of raw text (13a)."""
    errors: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A file for what is wrong, one item a line: source TAB output TAB its targets, with " | " between them. The report
    (not --json) then also has the most frequent token errors."""
    json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """One JSON object."""


def main(arguments: Sequence[str]) -> int:
    """Evaluate."""
    options = parse(EvaluateOptions, "evaluate", arguments)
    if options.nbest != 1:
        raise ConfigError("--nbest is for generate: evaluate measures the best output of each source; leave it out.")
    reranker = options.reranker(options, options.load_one)
    if reranker is None:
        options.check()
    options.check_listening()
    if options.errors is not None:
        check_output("--errors", options.errors, [*options.pairs, options.source, options.target])
    text_model, paths = options.load_leading(options.pairs)
    corpus = read_pairs(options.files(paths))
    text_model.check_format(corpus.format)
    if (options.listening or options.errors or reranker is not None) and not isinstance(text_model.model, Searchable):
        raise ModuleError(
            f"{type(text_model.model).__name__} has no `start` and `step`: there are no outputs to look at."
        )
    if reranker is not None:
        reranker.check(text_model)
    documents = [pair.document for pair in corpus.pairs] if options.distractors == "document" else []
    if documents and not any(documents):
        raise ConfigError("--distractors-from document: no pair says which document it is from; leave it out.")
    evaluation = Evaluation(
        text_model,
        [(pair.source, pair.target) for pair in corpus.pairs],
        options,
        options.bleu_tokenize,
        listening=len(corpus.pairs) > 1,
        reranker=reranker,
        report=Listening(options.listening_items, documents, arithmetic=options) if options.listening else None,
        watch=True,
        samples=None,
    )
    judged = evaluation(text_model.model)
    scores = {"items": evaluation.items, **judged}
    for note in corpus.notes:
        say(f"note: {note}")
    if options.json:
        print(json.dumps(as_json(scores)))
    else:
        whole = options.bleu_tokenize != "none" or any(len(pair.target.split()) >= 4 for pair in corpus.pairs)
        _print(scores, whole)
        confused = [] if options.errors is None else most_confused(judged.samples, evaluation.split)
        if confused:
            _row("token errors, wanted > written", "times")
        for tokens, times in confused:
            _row(f"  {tokens}", f"{times:,}")
    if options.errors is not None:
        wrong = write_mistakes(options.errors, judged.samples, corpus.format)
        say(f"Wrote {options.errors}: {wrong:,} of {evaluation.items:,} items are wrong.")
    return 0


def _print(scores: Mapping[str, float], whole: bool) -> None:
    """A line for each score; not `whole`: no text has the four tokens that BLEU counts."""
    for name, value in scores.items():
        if name == "items":
            _row(name, f"{value:,}")
        else:
            _row(METRICS[name].label, f"{value:.4g}" if whole or name != "bleu" else "-")


def _row(name: str, value: str) -> None:
    print(f"{name:<40}{value:>10}")
