"""The bodies of answers, as named tuples; `openapi` describes them from these annotations."""

from __future__ import annotations

from typing import NamedTuple

from seq2seq.app.hypothesis import Hypothesis


class Output(NamedTuple):
    """What was generated for one input, best first."""

    input: str
    source_tokens: list[str]
    hypotheses: list[Hypothesis]


class Generated(NamedTuple):
    """The outputs of each input."""

    outputs: list[Output]


class Alternative(NamedTuple):
    """A token that may come next; its probability is that under the model itself. The text is the prefix with it; null
    where it cuts a letter into bytes, and of a model that writes from right to left."""

    token: str
    text: str | None
    probability: float
    log_probability: float
    ends: bool


class Nexts(NamedTuple):
    """The likeliest next tokens, and the attention over the source tokens while they are predicted."""

    prefix_tokens: list[str]
    source_tokens: list[str]
    alternatives: list[Alternative]
    attention: list[float] | None


class Scored(NamedTuple):
    """log p(target | source) in nats, the end counted, and that of each target token."""

    log_probability: float
    tokens: list[str]
    token_log_probabilities: list[float]


class Scores(NamedTuple):
    """One for each pair."""

    scores: list[Scored]


class Vectors(NamedTuple):
    """One vector (hidden) for each input, and its point (2) in the plane; null if none was asked for."""

    vectors: list[list[float]]
    points: list[list[float]] | None = None


class Aligned(NamedTuple):
    """Attention (target, source) of a forced target; null if the model gives none."""

    source_tokens: list[str]
    target_tokens: list[str]
    token_log_probabilities: list[float]
    attention: list[list[float]] | None


class Alignment(NamedTuple):
    """One for each pair."""

    alignments: list[Aligned]


class Heard(NamedTuple):
    """The numbers of the listening report, by name, and the outputs that it is about."""

    report: dict[str, float]
    outputs: list[str]


class ModelCard(NamedTuple):
    """What a model is; of the format "sigmorphon" are those that read lemma TAB features."""

    name: str
    type: str
    format: str
    source_tokens: str
    target_tokens: str
    source_vocabulary: int
    target_vocabulary: int
    source_longest: int
    target_longest: int
    embeds: bool


class Models(NamedTuple):
    """The models that are served, the default one first."""

    models: list[ModelCard]


class Health(NamedTuple):
    """Whether all is well, and the inputs that wait."""

    status: str
    waiting: int
    queue: int


class Error(NamedTuple):
    """Why a request was not answered."""

    error: dict[str, str]
