"""`seq2seq demo [kjv|g2p]`: the main job on a corpus that comes along, in minutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from seq2seq.app.arguments import parse
from seq2seq.app.called import program, quoted
from seq2seq.app.evaluation import Evaluation
from seq2seq.app.options import TrainOptions
from seq2seq.app.prepare import holds_run, run_folder
from seq2seq.app.runtime import use_threads
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import run_in
from seq2seq.data import Pair, hold_out
from seq2seq.data.corpus import Corpus
from seq2seq.data.examples import KJV_HELD_OUT, cmudict, kjv_pairs
from seq2seq.metrics import group
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.nn.cells import GRU

README_2015 = (
    "so abram departed, as the lord had spoken unto him; and lot went with him and abram was seventy and five years "
    "old when he departed out of haran.",
    "the house is on fire",
)
"""The two inputs that the README of 2015 shows, with its replies."""
_DEV = 500


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
    demo = _kjv if options.name == "kjv" else _g2p
    return demo(options, _free(Path(options.out or f"demo-{options.name}")))


def _free(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, ... that holds no run: a demo never spoils another."""
    named = folder if folder.name else folder.resolve()  # . has no name
    numbered = (named.with_name(f"{named.name}-{number}") for number in count(2))
    return next(free for free in chain([folder], numbered) if not holds_run(free))


def _kjv(options: DemoOptions, folder: Path) -> int:
    train, dev, _ = kjv_pairs()
    print("The King James Bible: given a verse, what is the next? In 2015 this took a night.")
    print(f"Held out whole, never seen in training: {', '.join(KJV_HELD_OUT)}.\n")
    # For three minutes: many small updates, no regularisation, and attention outside the loop.
    small = EncoderDecoderConfig(
        cell=GRU,
        hidden=256,
        embedding=128,
        attention="general",
        input_feeding=False,
        dropout=0.0,
        label_smoothing=0.0,
    )
    chosen = {"model": small, "metric": "loss_nats_per_token", "evaluate_every": 1000}
    chosen |= {"vocabulary": 4000, "max_length": 80, "batch_tokens": 1024}
    if code := _train(options, folder, train, dev, chosen):
        return code
    model = TextModel.load(folder)
    verses = [dev[int(i)].source for i in np.linspace(0, len(dev) - 1, 3)]
    print("\nReplies, to the two inputs of the 2015 README and to three held-out verses:\n")
    for text, reply in zip([*README_2015, *verses], model.generate([*README_2015, *verses]), strict=True):
        print(f"  > {text}\n    {reply}\n")
    scores = _listening(model, dev)
    print(f"Dev loss with the true source      {scores['loss_nats_per_token']:.3f} nats/token")
    print(f"Dev loss with a shuffled source    {scores['shuffled_loss_nats_per_token']:.3f} nats/token")
    print(f"So the source is worth             {scores['listening_nats_per_token']:.3f} nats/token.")
    print("After a few minutes replies are grammatical but generic, as in 2015; more minutes make it listen more.\n")
    _next(folder, '"and god said, let there be light"')
    return 0


def _g2p(options: DemoOptions, folder: Path) -> int:
    train, dev, _ = hold_out(Corpus(cmudict()), seed=options.seed)
    print("The CMU pronouncing dictionary: how is an English word spoken?\n")
    chosen: dict[str, Any] = {"model": EncoderDecoderConfig(hidden=256), "evaluate_every": 500}
    if code := _train(options, folder, train, dev, chosen):
        return code
    model = TextModel.load(folder)
    sources, references = group(dev[:_DEV])
    print("\nWords that were not in the training data, and what the dictionary says where it says otherwise:\n")
    shown = [int(i) for i in np.linspace(0, len(sources) - 1, 10)]
    for index, spoken in zip(shown, model.generate([sources[index] for index in shown]), strict=True):
        other = "" if spoken in references[index] else references[index][0]
        print(f"  {sources[index]:<20}{spoken:<40}{other}")
    scores = _listening(model, dev)
    print(
        f"\nWrong words: {scores['wer_percent']:.1f} %. Wrong phonemes: {scores['token_error_rate_percent']:.1f} %.\n"
    )
    _next(folder, "zyzzyva")
    return 0


def _train(options: DemoOptions, folder: Path, train: Iterable[Pair], dev: list[Pair], chosen: dict[str, Any]) -> int:
    """Train as `seq2seq train` would on the same pairs, which are left in the folder; its exit status."""
    files = {"pairs": (train, folder / "train.tsv"), "dev": (dev[:_DEV], folder / "dev.tsv")}
    common: dict[str, Any] = {"out": str(folder), "minutes": options.minutes, "seed": options.seed, "patience": None}
    made = TrainOptions(**common, threads=options.threads, **chosen)
    with run_folder(made, [path.name for _, path in files.values()]):
        for pairs, path in files.values():
            path.write_text("".join(f"{pair.source}\t{pair.target}\n" for pair in pairs), "utf-8")
        paths: dict[str, Any] = {name: (str(path),) for name, (_, path) in files.items()}
        return run_in(folder, replace(made, **paths))


def _listening(model: TextModel, dev: list[Pair]) -> dict[str, float]:
    return Evaluation(model, [pair[:2] for pair in dev[:_DEV]], listening=True)(model.model)


def _next(folder: Path, text: str) -> None:
    called, run = program(), quoted(folder)
    print("What to try next; the first is a page, at the address that it tells:")
    print(f"  {called} serve {run}")
    print(f"  {called} chat {run}")
    print(f"  echo {text} | {called} generate {run} --nbest 3")
    print(f"  {called} plot {run}")
    print(f"  {called} train --resume --out {run} --minutes 20")
    print(f"  {called} train YOUR_PAIRS.tsv --out run --minutes 10")
