"""`seq2seq demo [kjv|g2p]`: the main job on a corpus that comes along, in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from seq2seq.app.arguments import parse
from seq2seq.app.evaluation import Evaluation
from seq2seq.app.options import TrainOptions
from seq2seq.app.preflight import render
from seq2seq.app.prepare import make_folder, prepare
from seq2seq.app.runtime import use_threads
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import run_job
from seq2seq.data import Pair, hold_out
from seq2seq.data.corpus import Corpus
from seq2seq.data.examples import KJV_HELD_OUT, cmudict, kjv_pairs
from seq2seq.models.encoder_decoder import EncoderDecoderConfig
from seq2seq.nn.cells import GRU

README_2015 = (
    "so abram departed, as the lord had spoken unto him; and lot went with him and abram was seventy and five years "
    "old when he departed out of haran.",
    "the house is on fire",
)
"""The two inputs that the README of 2015 shows, with its replies."""
_DEV, _SHOWN = 500, 5


@dataclass(frozen=True)
class DemoOptions:
    """Train a small model on a corpus that comes along, and show what it has learnt.

    kjv: the next verse of the King James Bible, as in 2015. g2p: how English words are pronounced.
    """

    name: tyro.conf.Positional[Literal["kjv", "g2p"]] = "kjv"
    """The corpus."""
    out: str = ""
    """The run's folder. Without: demo-kjv or demo-g2p."""
    minutes: float = 3.0
    """How long to train."""
    seed: int = 1
    """The seed."""
    threads: int | None = None
    """Processor threads to use. None: all."""


def main(arguments: Sequence[str]) -> int:
    """Train and show."""
    options = parse(DemoOptions, "demo", arguments)
    use_threads(options.threads)
    show = _kjv if options.name == "kjv" else _g2p
    return show(_train_options(options))


def _train_options(options: DemoOptions) -> TrainOptions[Any]:
    folder = _free(options.out or f"demo-{options.name}")
    common: dict[str, Any] = {"out": folder, "minutes": options.minutes, "seed": options.seed, "patience": None}
    if options.name == "kjv":
        # For three minutes: many small updates, no regularisation, and attention outside the loop.
        model = EncoderDecoderConfig(
            cell=GRU, hidden=256, embedding=128, input_feeding=False, dropout=0.0, label_smoothing=0.0
        )
        text: dict[str, Any] = {"vocabulary": 4000, "max_length": 80, "batch_tokens": 1024}
        return TrainOptions(**common, **text, model=model, metric="loss_nats_per_token", evaluate_every=1000)
    return TrainOptions(**common, model=EncoderDecoderConfig(hidden=256), evaluate_every=500)


def _free(folder: str) -> str:
    """`folder`, or the first of folder-2, folder-3, ... that holds no run: a demo never spoils another."""
    name, number = folder, 1
    while (Path(name) / "checkpoints").exists():
        number += 1
        name = f"{folder}-{number}"
    return name


def _kjv(options: TrainOptions[Any]) -> int:
    train, dev, _ = kjv_pairs()
    print("The King James Bible: given a verse, what is the next? In 2015 this took a night.")
    print(f"Held out whole, never seen in training: {', '.join(KJV_HELD_OUT)}.\n")
    model = _run(options, train, dev)
    verses = [dev[int(i)].source for i in np.linspace(0, len(dev) - 1, 3)]
    print("\nReplies, to the two inputs of the 2015 README and to three held-out verses:\n")
    for text, reply in zip([*README_2015, *verses], model.generate([*README_2015, *verses]), strict=True):
        print(f"  > {text}\n    {reply}\n")
    scores = _listening(model, dev)
    print(f"Dev loss with the true source      {scores['loss_nats_per_token']:.3f} nats/token")
    print(f"Dev loss with a shuffled source    {scores['shuffled_loss_nats_per_token']:.3f} nats/token")
    print(
        f"So the source is worth {scores['listening_nats_per_token']:.3f} nats/token: in a few minutes replies are "
        "grammatical but\ngeneric, as in 2015. More minutes, and clauses for verses, help.\n"
    )
    _next(options, '"and god said, let there be light"')
    return 0


def _g2p(options: TrainOptions[Any]) -> int:
    train, dev, _ = hold_out(Corpus(cmudict()), seed=options.seed)
    dev = dev[:_DEV]
    print("The CMU pronouncing dictionary: how is an English word spoken?\n")
    model = _run(options, train, dev)
    words = list(dict.fromkeys(pair.source for pair in dev))[: 2 * _SHOWN]
    print("\nWords that were not in the training data:\n")
    for word, spoken in zip(words, model.generate(words), strict=True):
        right = any(pair == (word, spoken, "") for pair in dev)
        print(f"  {word:<20}{spoken:<40}{'' if right else next(pair.target for pair in dev if pair.source == word)}")
    print("\n(The right column shows the dictionary where it says otherwise.)\n")
    scores = _listening(model, dev)
    print(f"Wrong words: {scores['wer_percent']:.1f} %. Wrong phonemes: {scores['token_error_rate_percent']:.1f} %.\n")
    _next(options, "zyzzyva")
    return 0


def _run(options: TrainOptions[Any], train: list[Pair], dev: list[Pair]) -> TextModel:
    folder = make_folder(options)
    job = prepare(options, (train, dev[:_DEV]))
    print(render(job.report), flush=True)
    run_job(job, folder)
    return TextModel.load(folder)


def _listening(model: TextModel, dev: list[Pair]) -> dict[str, float]:
    return Evaluation(model, [pair[:2] for pair in dev[:_DEV]], listening=True)(model.model)


def _next(options: TrainOptions[Any], text: str) -> None:
    print("What to try next:")
    print(f"  echo {text} | seq2seq generate {options.out} --nbest 3")
    print(f"  seq2seq inspect {options.out}")
    print("  seq2seq train YOUR_PAIRS.tsv --out run --minutes 10")
