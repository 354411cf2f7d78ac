"""Our side of the jobs: the same model, optimiser and batches as the kit gives its peers, on our usual path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora import Pair, made_up, read_tsv, read_types
from benchmarks.products import flops, products
from seq2seq import GRU, LSTM, EncoderDecoder, EncoderDecoderConfig, OptimizerConfig
from seq2seq.app.prepare import training_batches
from seq2seq.app.text_model import TextModel, TextSettings
from seq2seq.core.precision import Precision
from seq2seq.data import Batch, Batches, Dataset, Tokenizer
from seq2seq.training import TrainingConfig
from seq2seq.training.optimizer import build
from seq2seq.training.state import begin, make_update

OPTIMIZER = OptimizerConfig(learning_rate=1e-3, clip=5.0)
PAIRS_IN_A_BATCH = 64


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        name: the folder of the data.
        config: the model.
        budget: what an update may cost at most, in sums of its own matrix products; 0 for no budget.
        updates: how many are measured in one round.
        made_up: instead of the data, so many made-up pairs of so many symbols.
    """

    name: str
    config: EncoderDecoderConfig
    budget: float
    updates: int
    made_up: tuple[int, int] | None = None


_COMMON = EncoderDecoderConfig(attention="additive", readout="tanh", dropout=0.0, label_smoothing=0.0)
JOBS = {
    "g2p": Job("g2p", replace(_COMMON, cell=LSTM, embedding=128, hidden=512), 1.35, 60),
    "text": Job("text", replace(_COMMON, cell=GRU, embedding=512, hidden=1000), 1.25, 6),
    "grown": Job("grown", replace(_COMMON, cell=GRU, embedding=256, hidden=512), 0.0, 6, (5_000, 4_000)),
    "grown-quick": Job("grown", replace(_COMMON, cell=GRU, embedding=32, hidden=64), 0.0, 2, (256, 400)),
}


@dataclass(frozen=True)
class Growth:
    """What is larger, and how many times."""

    corpus: int = 1
    length: int = 1
    vocabulary: int = 1


class Training:
    """A job ready to train: `updates(n)` makes n updates.

    Attributes:
        batches: those of the job.
        tokenizers: of source and target.
        state: model and optimiser, as they stand.
    """

    def __init__(self, job: Job, data: Path, growth: Growth = Growth(), precision: Precision = "float32"):
        dataset, self.tokenizers = read(job, data, growth)
        model = fresh(job, self.tokenizers)
        self.batches = _batches(dataset, model)
        optimizer = build(OPTIMIZER, model)
        self._update = make_update(optimizer, precision=precision, decay=TrainingConfig().moving_average)
        self.state = begin(model, optimizer, averaged=True)
        self._key = jax.random.key(1)
        self._endless = self._all_batches()

    def warm(self) -> None:
        """Compile: one update of each shape of batch."""
        seen: set[tuple[int, ...]] = set()
        for _, batch in self.batches.once():
            shape = (*batch.source.shape, *batch.target_in.shape)
            if shape not in seen:
                seen.add(shape)
                self.update(batch)

    def update(self, batch: Batch) -> float:
        """One update, waited for; the loss, nats a token."""
        self.state, report = self._update(self.state, batch, self._key, 1.0)
        return float(report.loss) / float(report.count)

    def updates(self, count: int) -> list[Batch]:
        """So many updates, the making of the batches included; the batches."""
        made = []
        for _ in range(count):
            batch = next(self._endless)
            self.update(batch)
            made.append(batch)
        return made

    def text_model(self) -> TextModel:
        """The model as it stands, with its tokenizers."""
        longest = [int(steps) for steps in self.batches.dataset.lengths.max(axis=0)]
        settings = TextSettings(source_longest=longest[0], target_longest=longest[1])
        return TextModel(self.state.model, *self.tokenizers, settings)

    def _all_batches(self) -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from self.batches.epoch(epoch)
            epoch += 1


def read(job: Job, data: Path, growth: Growth = Growth()) -> tuple[Dataset, tuple[Tokenizer, Tokenizer]]:
    """The training pairs of a job, and the tokenizers of source and target."""
    pairs, types = _pairs(job, data, growth)
    # One text a symbol: exactly these are known, however common each is.
    source, target = (Tokenizer.train("symbols", side, vocabulary=len(side) + 4) for side in types)
    return Dataset.build([(" ".join(a), " ".join(b)) for a, b in pairs], source, target), (source, target)


def fresh(job: Job, tokenizers: tuple[Tokenizer, Tokenizer]) -> EncoderDecoder:
    """The model of a job before training."""
    source, target = tokenizers
    return EncoderDecoder.init(jax.random.key(0), source.size, target.size, job.config)


def tokens(batches: Sequence[Batch]) -> int:
    """Source and target tokens; begin, end and padding are not counted, as in the kit."""
    return sum(int(b.source_lengths.sum() + b.target_mask.sum()) - 2 * pairs([b]) for b in batches)


def pairs(batches: Sequence[Batch]) -> int:
    """Rows that are pairs, not fillers."""
    return sum(int((b.source_lengths > 0).sum()) for b in batches)


def gradient(batch: Batch) -> Callable[[Any], Any]:
    """The program whose products an update makes: the mean loss, which it tells, and the gradient."""
    return jax.value_and_grad(lambda model: model.loss(batch, jax.random.key(0)).mean)


def forward(batch: Batch) -> Callable[[Any], Any]:
    """Its forward pass, as it is when a backward pass follows."""
    return lambda model: jax.vjp(lambda model: model.loss(batch, jax.random.key(0)).mean, model)[0]


def necessary_flops(model: Any, lengths: NDArray[np.int32]) -> float:
    """What the products of an update of pairs of these (pairs, 2) lengths need, ends counted, padding not.

    The forward pass once and the backward pass twice. The products of one pair are a + b s + c t + d s t in its
    lengths s and t: four small programs tell a, b, c and d.
    """
    source, target = (lengths[:, side].astype(float) for side in (0, 1))
    f = {(s, t): float(_pair_flops(model, s, t)) for s in (2, 3) for t in (2, 3)}
    d = f[3, 3] - f[3, 2] - f[2, 3] + f[2, 2]
    b, c = f[3, 2] - f[2, 2] - 2 * d, f[2, 3] - f[2, 2] - 2 * d
    a = f[2, 2] - 2 * b - 2 * c - 4 * d
    return 3 * float((a + b * source + c * target + d * source * target).sum())


def _pair_flops(model: Any, source: int, target: int) -> int:
    ids, mask = np.full((source, 1), 4, np.int32), np.ones((target, 1), np.float32)
    out = np.full((target, 1), 4, np.int32)
    return flops(products(forward(Batch(ids, np.full(1, source, np.int32), out, out, mask)), model))


def _batches(dataset: Dataset, model: Any) -> Batches:
    """Batches as `seq2seq train` makes them, of 64 pairs on average as the peers': the budget that comes to that."""
    budget = PAIRS_IN_A_BATCH * float(dataset.lengths.sum(axis=1).mean())
    batches = training_batches(dataset, model, round(budget), seed=1)
    for _ in range(2):
        budget *= PAIRS_IN_A_BATCH * batches.count / len(dataset)
        batches = training_batches(dataset, model, round(budget), seed=1)
    return batches


def _pairs(job: Job, data: Path, growth: Growth) -> tuple[list[Pair], tuple[list[str], list[str]]]:
    """The training pairs, and the symbols of both sides."""
    if job.made_up is None:
        folder = data / job.name
        return read_tsv(folder / "train.tsv"), (read_types(folder / "vocab.src"), read_types(folder / "vocab.tgt"))
    count, symbols = job.made_up
    types = [f"w{n}" for n in range(growth.vocabulary * symbols)]
    plain = made_up("text", growth.corpus * growth.length * count, (types, types))
    joined = [plain[start : start + growth.length] for start in range(0, len(plain), growth.length)]
    long = [([w for s, _ in several for w in s], [w for _, t in several for w in t]) for several in joined]
    return long, (types, types)
