"""How good a model is on pairs it has not seen: loss, errors, BLEU, and whether it listens to the source."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, Literal

import jax
import numpy as np

from seq2seq import metrics
from seq2seq.app.decoding import Decoding
from seq2seq.app.listening import Listening, shuffled
from seq2seq.app.meter import told, watched
from seq2seq.app.rerank import Reranker
from seq2seq.app.text_model import TextModel
from seq2seq.core.precision import Resolved, in_precision, resolve
from seq2seq.core.seams import UNKNOWN, BatchLike, Loss, Searchable, Trainable
from seq2seq.data import Batch, Batches
from seq2seq.errors import DataError
from seq2seq.models.model import Model
from seq2seq.training import Judged, Sample

_TOKENS = 4096
_OF_LOSS = ("loss_nats_per_token", "perplexity")
_OF_OUTPUTS = ("exact_match_percent", "wer_percent", "token_error_rate_percent", "bleu", "chrf")
GREEDY = Decoding(beam=1)


@dataclass(frozen=True)
class Evaluation:
    """The pairs to measure on, made ready once: call it with a model as often as you like.

    Attributes:
        text_model: whose tokenizers and settings are used.
        pairs: (source, target); those with the same source are one item, right if any target matches.
        decoding: how to generate, greedily by default; its precision is that of the loss too.
        bleu_tokenize: "none" if spaces part the tokens that BLEU counts, "13a" for raw text.
        listening: whether to measure the loss with shuffled sources too.
        reranker: what chooses among the hypotheses of the search, if not the search.
        report: what to measure of the model's listening beside that; needs a model that can generate.
        watch: whether to show a bar on a terminal.
        samples: how many outputs to give beside the scores, evenly spread over the sources; None for all.

    Raises:
        DataError: there are no pairs.
    """

    text_model: TextModel
    pairs: Sequence[tuple[str, str]]
    decoding: Decoding = GREEDY
    bleu_tokenize: Literal["none", "13a"] = "none"
    listening: bool = False
    reranker: Reranker | None = None
    report: Listening | None = None
    watch: bool = False
    samples: int | None = 5

    def __post_init__(self) -> None:
        if not self.pairs:
            raise DataError("there are no pairs to evaluate on.")

    def __call__(self, model: Any) -> Judged:
        """The scores of a model, by name, and `samples` outputs; those only if the model can generate."""
        samples: list[Sample] = []
        precision = resolve(self.decoding.precision)
        with self._watched("pairs", len(self.pairs), "loss"):
            loss = _mean_loss(model, self._batches, precision)
        scores = {"loss_nats_per_token": loss, "perplexity": math.exp(min(loss, 700.0))}
        if self.listening:
            with self._watched("pairs", len(self.pairs), "loss given other sources"):
                other = _mean_loss(model, self._shuffled_batches, precision)
            scores |= {"shuffled_loss_nats_per_token": other, "listening_nats_per_token": other - loss}
        if isinstance(model, Searchable):
            said = self.text_model.target_tokenizer.said
            sources, references = metrics.group((source, said(target)) for source, target in self.pairs)
            text_model = self.text_model.of_read_pairs().with_model(model)
            with self._watched("lines", len(sources), "outputs"):
                if self.reranker:
                    outputs = self.reranker.of_read_pairs().generate(text_model, sources, self.decoding)
                else:
                    outputs = text_model.generate(sources, self.decoding)
            kept = _spread(len(sources), len(sources) if self.samples is None else self.samples)
            samples = [Sample(sources[n], references[n], outputs[n]) for n in kept]
            scores |= metrics.evaluate(outputs, references, split=self.split, bleu_tokenize=self.bleu_tokenize)
            if self.report:
                report = replace(self.report, split=self.split)
                with self._watched("pairs", report.pairs_to_score(len(self.pairs)), "listening"):
                    scores |= report(text_model, self.pairs, dict(zip(sources, outputs, strict=True)))
        return Judged(scores, samples)

    @property
    def names(self) -> tuple[str, ...]:
        """The scores of the text model, without those of listening."""
        return _OF_LOSS + (_OF_OUTPUTS if isinstance(self.text_model.model, Searchable) else ())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the pairs as ids; and as texts, where ids do not tell unknown tokens apart, which scores do."""
        data = self.text_model.dataset(self.pairs)
        if not any((ids == UNKNOWN).any() for ids in (data.source, data.target)):
            return data.fingerprint
        return sha256(json.dumps([data.fingerprint, list(self.pairs)]).encode()).hexdigest()

    @property
    def items(self) -> int:
        """Distinct sources."""
        return len({pair[0] for pair in self.pairs})

    def _watched(self, unit: str, total: int, task: str) -> AbstractContextManager[None]:
        return watched(unit, total, task, shown=self.watch)

    def split(self, text: str) -> Sequence[str]:
        """The tokens whose errors count: characters for spelt targets, otherwise what spaces part."""
        return list(text) if self.text_model.target_tokenizer.kind == "character" else metrics.spaced(text)

    @cached_property
    def _batches(self) -> list[Batch]:
        return self._as_batches(self.pairs)

    @cached_property
    def _shuffled_batches(self) -> list[Batch]:
        return self._as_batches(shuffled(self.pairs))

    def _as_batches(self, pairs: Sequence[tuple[str, str]]) -> list[Batch]:
        data = self.text_model.dataset(pairs)
        return [batch for _, batch in Batches(data, tokens=_TOKENS, seed=0).once()]


def _spread(count: int, most: int) -> list[int]:
    """So many indices at most, evenly spread."""
    return [int(index) for index in np.linspace(0, count - 1, min(count, most)).round()]


def _mean_loss(model: Any, batches: Sequence[Batch], precision: Resolved) -> float:
    """Nats per token."""
    total = count = 0.0
    for batch in told("pairs", batches, lambda batch: int((batch.source_lengths > 0).sum())):
        loss = _loss(model, batch, precision)
        total, count = total + float(loss.sum), count + float(loss.count)
    return total / max(1.0, count)


@partial(jax.jit, static_argnames="precision")
def _loss(model: Any, batch: BatchLike, precision: Resolved) -> Loss:
    def loss(model: Any, batch: BatchLike) -> Loss:
        return model.loss(batch, None) if isinstance(model, Trainable) else Model.loss(model, batch)

    return in_precision(loss, precision)(model, batch)
