"""How to generate: the options, and the search that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from numpy.typing import ArrayLike, NDArray

from seq2seq.app.arithmetic import Arithmetic
from seq2seq.app.choosing import Choosing
from seq2seq.core.seams import BEGIN, END, PAD, UNKNOWN, Restrictable, Searchable
from seq2seq.data import SourceBatch
from seq2seq.errors import ModuleError, SearchError, did_you_mean
from seq2seq.search import (
    BeamOptions,
    Hypotheses,
    LengthNorm,
    Rule,
    SampleOptions,
    SearchOptions,
    beam,
    greedy,
    line_keys,
    sample,
)
from seq2seq.search.utility import UTILITIES

_BANNED = (PAD, UNKNOWN, BEGIN)  # none of them is text
_Phrases = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PHRASE")]
_MOST_PENALTY, _MOST_LENGTH = 10, 1_000_000
QUEUE = 8
"""Batches whose sources are read together, so that a line that is done gives its place to the next."""


@dataclass(frozen=True)
class Decoding(Choosing, Arithmetic):
    """How to generate."""

    beam: int = 5
    """Hypotheses kept at each step; 1 is greedy search."""
    nbest: int = 1
    """Outputs for each input."""
    length_penalty: float = 1.0
    """log p is divided by length to this power: 0 prefers short outputs, 1 compares nats per token."""
    length_norm: Literal["power", "gnmt"] = "power"
    """What has that power: the length, or (5 + length) / 6 (gnmt)."""
    coverage_penalty: float = 0.0
    """Weight of the penalty for source tokens that got little attention in all (Wu et al. 2016, equation 14). Their 0.2
    goes with --length-norm gnmt --length-penalty 0.2; beside log p per token, the default, a fraction of it does."""
    min_length: int = 0
    """The fewest pieces of an output, the end counted."""
    max_length: int | None = None
    """The most pieces of an output, the end counted; by default more than any in training, and more for long inputs."""
    no_repeat_ngram: int | None = None
    """No so many pieces in a row come twice in an output."""
    ban: _Phrases = ()
    """A text that no output holds, as the model's pieces (it may come in other pieces); as often as you like."""
    require: _Phrases = ()
    """A text that every output holds, as the model's pieces; as often as you like."""
    groups: int = 1
    """Parts of the beam that keep away from each other's pieces; for different outputs with --nbest."""
    diversity: float = 0.0
    """How far groups keep away from each other, in nats."""
    replace_unknown: bool = False
    """Let the model say <unknown>, and write the input's token that it looked at most instead."""
    sample: bool = False
    """Draw outputs by chance instead of searching for the likeliest."""
    temperature: float = 1.0
    """Sampling: below 1 keener on what is likely, above 1 more daring."""
    top_k: int | None = None
    """Sampling: draw among so many likeliest tokens only."""
    top_p: float = 1.0
    """Sampling: draw among the fewest likeliest tokens that have this probability together."""
    seed: int = 1
    """Sampling: the same seed draws the same outputs, line by line."""
    batch: int = 64
    """Inputs that are decoded together."""
    shortlist: int | None = None
    """Choose among so many pieces only, those that come first in the vocabulary: words, symbols and characters stand
    there by frequency, bpe has its 256 bytes first. Quicker, and all probabilities are those among these pieces."""

    def check(self) -> None:
        """Refuse what cannot be searched for, before any file is read.

        Raises:
            SearchError: an option that finds nothing, or that does not go with the others.

        Example:
            >>> Decoding(beam=2, nbest=3).check()
            Traceback (most recent call last):
            seq2seq.errors.SearchError: --nbest 3 needs --beam 3 or more; it is 2.
        """
        self.check_numbers()
        self._check_words()
        if not 0 <= self.seed < 2**32:
            raise SearchError(f"--seed is {self.seed}; wanted 0 to {2**32 - 1}.")
        if self.shortlist is not None and self.shortlist <= END + 1:
            raise SearchError(f"--shortlist is {self.shortlist}; wanted at least {END + 2}: {END + 1} are no text.")
        self._check_rules()
        if self.sample:
            ranked = (self.length_norm, self.length_penalty, self.coverage_penalty)
            if (*ranked, self.groups, self.diversity, self.require) != ("power", 1.0, 0.0, 1, 0.0, ()):
                options = "--length-norm, --length-penalty, --coverage-penalty, --groups, --diversity and --require"
                raise SearchError(f"{options} are for a beam: leave out --sample.")
            self.sampling(1, False)
            return
        if (self.temperature, self.top_k, self.top_p) != (1.0, None, 1.0):
            raise SearchError("--temperature, --top-k and --top-p are for sampling: add --sample.")
        if self.mbr == "none" and self.nbest > self.beam:
            raise SearchError(f"--nbest {self.nbest} needs --beam {self.nbest} or more; it is {self.beam}.")
        self.searching(1, False)

    def _check_words(self) -> None:
        """What the command line's own types see to."""
        for name, known in (("length_norm", ("power", "gnmt")), ("mbr", ("none", *UTILITIES))):
            value = getattr(self, name)
            if value not in known:
                raise SearchError(f"--{name.replace('_', '-')} is {value!r}; {did_you_mean(str(value), known)}")
        for name in ("ban", "require"):
            if isinstance(value := getattr(self, name), str):
                raise SearchError(
                    f"--{name}: {value!r} would be taken letter by letter; make it a tuple: ({value!r},)."
                )

    def check_numbers(self) -> None:
        """Refuse numbers that mean nothing, whatever the search.

        Raises:
            SearchError: one of them.
        """
        for name in ("batch", "beam", "nbest"):
            if getattr(self, name) < 1:
                raise SearchError(f"--{name} is {getattr(self, name)}; wanted at least 1.")
        if not 0 <= self.length_penalty <= _MOST_PENALTY:
            raise SearchError(f"--length-penalty is {self.length_penalty}; wanted 0 to {_MOST_PENALTY}.")
        for name, value in (("min-length", self.min_length), ("max-length", self.max_length or 0)):
            if value > _MOST_LENGTH:
                raise SearchError(f"--{name} is {value}; wanted at most {_MOST_LENGTH:,}.")

    @property
    def found(self) -> int:
        """Outputs that the search finds for each input: what is put out, or what --mbr chooses among."""
        return self.width(self.nbest, None if self.sample else self.beam)

    @property
    def is_greedy(self) -> bool:
        """Whether greedy search gives all that is asked for."""
        return self.beam == self.found == 1 and not (self.require or self.coverage_penalty)

    def _check_rules(self) -> None:
        if self.min_length < 0:
            raise SearchError(f"--min-length is {self.min_length}; wanted at least 0.")
        if self.max_length is not None and self.max_length < max(1, self.min_length):
            raise SearchError(f"--max-length is {self.max_length}; wanted at least {max(1, self.min_length)}.")
        if self.replace_unknown and self.ban:
            raise SearchError("--ban looks at the model's pieces, not at what --replace-unknown copies; leave one out.")
        if self.no_repeat_ngram is not None and self.no_repeat_ngram < 1:
            raise SearchError(f"--no-repeat-ngram is {self.no_repeat_ngram}; wanted at least 1.")
        size = self.beam if self.sample or self.mbr == "none" else max(self.beam, self.found)
        if self.groups < 1 or (size % self.groups and not self.sample):
            which = f"is {size}" if size == self.beam else f"--candidates or --nbest made {size}"
            raise SearchError(f"--groups is {self.groups}; wanted a divisor of --beam, which {which}.")
        if (self.groups > 1) != (self.diversity > 0) and not self.sample:
            raise SearchError("--groups above 1 and --diversity above 0 go together; give both or neither.")

    def per_length(self, log_probability: ArrayLike, length: ArrayLike) -> Any:
        """Log-probabilities of so many tokens as a beam ranks by them: over a power of the length.

        Example:
            >>> Decoding().per_length([-6.0, -6.0], [4, 2]).tolist()
            [-1.5, -3.0]
            >>> float(Decoding(length_penalty=0.0).per_length(-6.0, 4))
            -6.0
        """
        divisor = LengthNorm[self.length_norm.upper()].divisor(self.length_penalty, np.asarray(length))
        return np.asarray(log_probability) / divisor

    @property
    def banned(self) -> tuple[int, ...]:
        """The ids that are never generated."""
        return (PAD, BEGIN) if self.replace_unknown else _BANNED

    def greedily(self, max_length: int, attention: bool) -> SearchOptions:
        """The options of `seq2seq.greedy`."""
        return SearchOptions(max_length=max_length, banned=self.banned, attention=attention, slots=self.batch)

    def sampling(self, max_length: int, attention: bool) -> SampleOptions:
        """The options of `seq2seq.sample`."""
        return SampleOptions(
            samples=self.found,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            max_length=max_length,
            banned=self.banned,
            attention=attention,
            slots=self.batch,
        )

    def searching(self, max_length: int, attention: bool) -> BeamOptions:
        """The options of `seq2seq.beam`."""
        return BeamOptions(
            size=max(self.beam, self.found),  # --candidates may ask for more than --beam
            nbest=self.found,
            length_penalty=self.length_penalty,
            length_norm=LengthNorm[self.length_norm.upper()],
            coverage_penalty=self.coverage_penalty,
            groups=self.groups,
            diversity=self.diversity,
            max_length=max_length,
            banned=self.banned,
            attention=attention,
            slots=self.batch,
        )


def decode(
    model: Searchable,
    batch: SourceBatch,
    limit: NDArray[np.int32],
    draws: NDArray[Any],
    decoding: Decoding,
    attention: bool = False,
    rules: Sequence[Rule] = (),
) -> Hypotheses:
    """The hypotheses of a batch, as NumPy arrays.

    Args:
        model: anything with `start` and `step`.
        batch: the sources; where there are more than `decoding.batch`, the others wait for a free place.
        limit: (batch,) the most tokens to generate for each, the end counted.
        draws: (batch, 2) the seed and the line number of each, on which what is drawn for it depends.
        decoding: how.
        attention: whether to keep the model's attention.
        rules: what may be generated.
    """
    rows = (model, batch.source, batch.lengths, limit)
    longest = _rounded(int(limit.max()))
    if decoding.sample:
        found = sample(*rows, line_keys(draws[:, 0], draws[:, 1]), decoding.sampling(longest, attention), rules)
    elif decoding.is_greedy:
        found = greedy(*rows, decoding.greedily(longest, attention), rules)
        found = found._replace(scores=decoding.per_length(found.log_probabilities, found.lengths))
    else:
        found = beam(*rows, decoding.searching(longest, attention), rules)
    return jax.tree.map(np.asarray, found)


def shortlisted(model: Searchable, count: int | None) -> Searchable:
    """The model, restricted to the first `count` target ids if that is asked for.

    Raises:
        ModuleError: it has no `restricted`.
    """
    if count is None:
        return model
    if not isinstance(model, Restrictable):
        raise ModuleError(f"{type(model).__name__} has no `restricted(count)`: it cannot decode with --shortlist.")
    return model.restricted(count)


def _rounded(length: int) -> int:
    """The next multiple of a power of two near an eighth of it, so that few lengths are compiled."""
    step = 1 << max(3, length.bit_length() - 3)
    return max(step, -(-length // step) * step)
