"""Candidates of a search, chosen among by what other models say of them: by mutual information (Li et al. 2016), or
by two models that need not write alike, such as one that writes from right to left (Liu et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import tyro

from seq2seq.app.agreement import check_read_alike
from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.choosing import SAMPLES
from seq2seq.app.decoding import Decoding
from seq2seq.app.hypothesis import Hypothesis
from seq2seq.app.text_model import TextModel
from seq2seq.data.lines import LONGEST_LINE
from seq2seq.errors import SearchError


@dataclass(frozen=True)
class RerankOptions:
    """How candidates are chosen among, if not by what the search ranked them by."""

    mmi: Annotated[float | None, tyro.conf.arg(metavar="LAMBDA")] = None
    """Choose by log p(output | input) - LAMBDA log p(output), over the length as --length-penalty says: against outputs
    that suit any input (Li et al. 2016)."""
    language_model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """--mmi: what knows log p(output), given an empty source. Without: the same model, best trained with
    --source-dropout."""
    reverse_model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """A model from targets to sources: add MU log p(input | output)."""
    mu: float = 0.5
    """The weight of --reverse-model."""
    second_model: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="MODEL")] = ()
    """Another model from inputs to outputs, best one trained --right-to-left (Liu et al. 2016): add NU log p(output |
    input) as it says. Its tokens may be others; what it does not know counts as its <unknown>. Several, of the same
    tokens, are an ensemble: the mean of their probabilities."""
    nu: float = 1.0
    """The weight of --second-model."""

    def reranker(self, decoding: Decoding, load: Callable[[str], TextModel] = TextModel.load) -> Reranker | None:
        """What to choose with, its models read by `load`; None if the search's own order stands.

        Raises:
            SearchError: options that do not go together.
            ArchiveError: a model that cannot be read.
        """
        if not self.mmi and self.language_model is not None:
            raise SearchError("--language-model is for --mmi: add it, and not 0.")
        if self.reverse_model is None and self.mu != RerankOptions.mu:
            raise SearchError("--mu is the weight of a reverse model: add --reverse-model MODEL.")
        if not self.second_model and self.nu != RerankOptions.nu:
            raise SearchError("--nu is the weight of a second model: add --second-model MODEL.")
        if self.mmi is None and self.reverse_model is None and not self.second_model:
            return None
        decoding.check_numbers()
        for name, value in (("mmi", self.mmi or 0.0), ("mu", self.mu), ("nu", self.nu)):
            if not math.isfinite(value):
                raise SearchError(f"--{name} is {value}; wanted a number.")
        if decoding.mbr != "none":
            raise SearchError(f"--mbr is one way to choose among candidates, {_ASKED} are another; take one.")
        made = Reranker(weight=self.mmi or 0.0, mu=self.mu, nu=self.nu).among_those_of(decoding)
        made.widened(decoding).check()
        several = [load(path) for path in self.second_model]
        return replace(
            made,
            language_model=None if self.language_model is None else load(self.language_model),
            reverse_model=None if self.reverse_model is None else load(self.reverse_model),
            second_model=TextModel.ensemble(several, names=self.second_model) if several else None,
        )


@dataclass(frozen=True)
class Reranker:
    """Chooses among the hypotheses y of a search for the source x by

        score(y) = (log p(y | x) - weight * log p(y)) / norm(|y|) + mu * log p(x | y) / norm(|x|)
                   + nu * log q(y | x) / norm(|y|)

    which is MMI-antiLM with `weight` and MMI-bidi with `mu` (Li et al. 2016, section 4; their U(T) penalises the
    first words only, this one all), and with `nu` two models of the same kind agree: q may have other tokens, and write
    them in the other order (Liu et al. 2016, "Agreement on target-bidirectional neural machine translation", where
    both search too). The norm is the search's own, and a length is in the tokens of the model in question: with
    `length_penalty` 1, the default, all are nats per token, the end counted, and with 0 it is the papers' sum, which
    prefers short outputs (Li et al. add a reward for each token, and write lambda / (1 - lambda) for `mu`). What the
    search's score has of a coverage penalty, this one has too. Hypotheses that ended come before those that were cut
    off, and of each the last are those whose bytes are no text: p(y) is that of the text as it would be cut anew, and
    nothing like that was in training. Equal texts are one.

    Attributes:
        weight: lambda of the paper; 0 if nothing is to be said against likely outputs.
        language_model: says log p(y), its source being empty; None for the model that generates.
        reverse_model: says log p(x | y); None for none.
        mu: its weight.
        second_model: says log q(y | x); None for none.
        nu: its weight.
        candidates: hypotheses to choose among.

    Raises:
        SearchError: fewer than 1 candidate, or a language model that counts for nothing.

    Example:
        ```
        model = seq2seq.load("run")
        Reranker(weight=0.5, candidates=20).generate(model, ["so abram departed"])
        ```
    """

    weight: float = 0.0
    language_model: TextModel | None = None
    reverse_model: TextModel | None = None
    mu: float = 0.5
    second_model: TextModel | None = None
    nu: float = 1.0
    candidates: int = 20

    def __post_init__(self) -> None:
        if self.language_model is not None and not self.weight:
            raise SearchError("Reranker: language_model counts by its weight, which is 0; give one.")
        if self.candidates < 1:
            raise SearchError(f"--candidates is {self.candidates}; wanted 1 or more.")

    def among_those_of(self, decoding: Decoding) -> Reranker:
        """The same, among as many candidates as the options ask for.

        Raises:
            SearchError: that is one.
        """
        if (count := asked_for(decoding)) == 1:
            cure = "a wider beam" if decoding.candidates is None else "more --candidates"
            raise SearchError(f"{_ASKED} choose among several outputs, and here is 1: ask for {cure}.")
        return replace(self, candidates=count)

    def generate(self, model: TextModel, texts: Sequence[str], decoding: Decoding | None = None) -> list[str]:
        """The best output for each text."""
        return [several[0].text for several in self.hypotheses(model, texts, decoding)]

    def hypotheses(
        self,
        model: TextModel,
        texts: Sequence[str],
        decoding: Decoding | None = None,
        *,
        first_line: int = 0,
        attention: bool = False,
        prefixes: Sequence[str] | None = None,
    ) -> list[list[Hypothesis]]:
        """As `TextModel.hypotheses`, with this score and the log-probabilities that it is made of.

        Raises:
            ConfigError: the second model reads lines otherwise than the first.
        """
        self.check(model)
        decoding = decoding or Decoding()
        how: dict[str, Any] = {"first_line": first_line, "attention": attention, "prefixes": prefixes}
        found = model.hypotheses(texts, self.widened(decoding), **how)
        kept = [_distinct(several) for several in found]
        spoken = [(line, h) for line, several in enumerate(kept) for h in several if h.tokens]
        alone = self._alone(model, [h.text for _, h in spoken], decoding)
        sources = model.sources(texts, first_line)  # as the model reads them
        back = self._back([(h.text, sources[line]) for line, h in spoken], decoding)
        beside = self._beside([(texts[line], h.text) for line, h in spoken], decoding)
        answers = [[h for h in several if not h.tokens] for several in kept]
        for (line, h), prior, (reverse, more), (second, agreed) in zip(spoken, alone, back, beside, strict=True):
            score = decoding.per_length(h.log_probability - self.weight * prior, len(h.tokens)) + more + agreed
            if decoding.coverage_penalty:  # which the search's score has
                score += h.score - decoding.per_length(h.log_probability, len(h.tokens))
            answers[line].append(
                h._replace(
                    score=float(score),
                    language_log_probability=prior if self.weight else None,
                    reverse_log_probability=reverse,
                    second_log_probability=second,
                )
            )
        return [sorted(several, key=_rank)[: decoding.nbest] for several in answers]

    def check(self, model: TextModel) -> None:
        """Refuse a second model that reads lines otherwise than the one that generates.

        Raises:
            ConfigError: one alone reads lemma TAB features.
        """
        if self.second_model is not None:
            check_read_alike(model, self.second_model, "the model", "--second-model")

    def of_read_pairs(self) -> Reranker:
        """The same for sources that a reader of pairs has rewritten, which the second model takes as they are too."""
        second = self.second_model
        return self if second is None else replace(self, second_model=second.of_read_pairs())

    def widened(self, decoding: Decoding) -> Decoding:
        """The search for all the candidates.

        Raises:
            SearchError: more outputs are wanted than there are candidates, or a part of the vocabulary only, or the
                candidates cannot be parted into groups.
        """
        if decoding.nbest > self.candidates:
            raise SearchError(f"--nbest {decoding.nbest} needs --candidates {decoding.nbest} or more.")
        if decoding.shortlist is not None:
            raise SearchError("--shortlist changes log p(output | input) alone; leave it out to choose by others.")
        found = replace(decoding, nbest=self.candidates, candidates=None)
        if decoding.sample:  # what divides the scores is for the choice alone
            return replace(found, length_norm=Decoding.length_norm, length_penalty=Decoding.length_penalty)
        if self.candidates > decoding.beam and decoding.groups > 1 and self.candidates % decoding.groups:
            found = f"--candidates or --nbest make {self.candidates} candidates"
            raise SearchError(f"{found}; wanted a multiple of --groups {decoding.groups}.")
        return replace(found, beam=max(decoding.beam, self.candidates))

    def _alone(self, model: TextModel, outputs: Sequence[str], arithmetic: Arithmetic) -> list[float]:
        """log p(y) of each output."""
        if not self.weight:
            return [0.0] * len(outputs)
        return (self.language_model or model).score([("", output) for output in outputs], arithmetic)

    def _back(self, pairs: list[tuple[str, str]], decoding: Decoding) -> list[tuple[float | None, float]]:
        """log p(x | y) of each (y, x), and what it adds to the score."""
        return _added(self.reverse_model, [(_readable(y), x) for y, x in pairs], self.mu, decoding)

    def _beside(self, pairs: list[tuple[str, str]], decoding: Decoding) -> list[tuple[float | None, float]]:
        """log q(y | x) of each (x, y), and what it adds to the score."""
        return _added(self.second_model, pairs, self.nu, decoding)


def _added(
    model: TextModel | None, pairs: list[tuple[str, str]], weight: float, decoding: Decoding
) -> list[tuple[float | None, float]]:
    """The model's log-probability of each pair, and what it adds to a score; None and 0 if there is no model."""
    if model is None:
        return [(None, 0.0)] * len(pairs)
    scores = model.score(pairs, decoding)
    lengths = [len(ids) + 1 for ids in model.target_tokenizer.encode_batch(target for _, target in pairs)]  # the end
    return [(s, weight * decoding.per_length(s, length)) for s, length in zip(scores, lengths, strict=True)]


def asked_for(decoding: Decoding) -> int:
    """How many candidates there are to be: the whole beam, if the options do not say."""
    if decoding.candidates is not None:
        return decoding.candidates
    return max(decoding.nbest, SAMPLES if decoding.sample else decoding.beam)


def _distinct(several: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Of equal texts the first that ended, if any did; in the order of the search."""
    best = {h.text: h for h in sorted(several, key=lambda h: not h.finished)[::-1]}
    return [h for h in several if best[h.text] is h]


def _rank(one: Hypothesis) -> tuple[bool, bool, float]:
    # Where a model says that something is impossible, a score may be no number, or as large as none should be.
    return not one.finished, _NO_CHARACTER in one.text, -one.score if math.isfinite(one.score) else math.inf


def _readable(output: str) -> str:
    """An output as a source: a model of bytes may write what no line of input could hold."""
    return output.translate(_NO_TEXT)[:LONGEST_LINE]


_ASKED = "--mmi, --reverse-model and --second-model"
_NO_CHARACTER = "\ufffd"  # what bytes that are no text are read as
_NO_TEXT = dict.fromkeys(map(ord, "\0\r"))
