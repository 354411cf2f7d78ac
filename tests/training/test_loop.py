from __future__ import annotations

import signal
import threading
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from tiny_run import Batches, Tiny, bits, dev_loss, events_of, run_of, stopped

from seq2seq.errors import ArchiveError, ConfigError, NonFiniteLossError, ResumeError
from seq2seq.training.events import Evaluated, Event, Saved, Updated, Warned
from seq2seq.training.loop import train
from seq2seq.training.optimizer import OptimizerConfig, build
from seq2seq.training.state import begin, make_update, mean


def of(kind: type, events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


class Scripted:
    """A dev set whose scores were decided beforehand; remembers the models."""

    def __init__(self, *scores: float):
        self.scores, self.models = list(scores), []

    def __call__(self, model: Tiny) -> dict[str, float]:
        self.models.append(bits(model))
        return {"loss": self.scores[len(self.models) - 1], "bleu": 0.0}


def test_a_run_tells_what_happens_in_order(tmp_path):
    events = events_of(run_of(tmp_path, updates=8, average=0))
    told = [(type(event).__name__, event.update) for event in events]
    assert told == [
        ("Started", 0),
        ("Saved", 0),
        ("Updated", 3),
        ("Evaluated", 4),
        ("Saved", 4),
        ("Updated", 6),
        ("Evaluated", 8),
        ("Saved", 8),
        ("Stopped", 8),
    ]
    assert stopped(events).reason == "updates"
    assert [event.epoch for event in of(Updated, events)] == [1, 2]  # an epoch has five batches
    assert stopped(events).path == of(Saved, events)[-1].path


def test_the_losses_told_are_means_per_token(tmp_path):
    standing = OptimizerConfig(name="sgd", learning_rate=1e-12)
    run = run_of(tmp_path, updates=10, log_every=5, optimizer=standing, evaluate=None, precision="float32")
    told = of(Updated, events_of(run))
    key, tokens = jax.random.key(1), 0
    for window, event in enumerate(told):  # one window is one epoch
        batches = enumerate(Batches().epoch(window), start=5 * window)
        losses = [Tiny.init().loss(batch, jax.random.fold_in(key, update)) for update, batch in batches]
        count = sum(int(loss.count) for loss in losses)
        tokens += count
        assert event.loss == pytest.approx(sum(float(loss.sum) for loss in losses) / count, rel=1e-5)
        assert (event.update, event.tokens) == (5 * window + 5, tokens)
        assert event.rate == pytest.approx(1e-12)


def test_a_seed_is_the_same_run_twice(tmp_path):
    runs = [events_of(run_of(tmp_path / str(n), updates=9, seed=seed)) for n, seed in enumerate((1, 1, 2))]
    first, second, other = (bits(stopped(events).model) for events in runs)
    assert first == second
    assert first != other


def test_epochs_end_a_run_and_the_last_model_is_scored(tmp_path):
    events = events_of(run_of(tmp_path, epochs=2, evaluate_every=4, average=0))
    assert (stopped(events).reason, stopped(events).update) == ("epochs", 10)
    assert [event.update for event in of(Evaluated, events)] == [4, 8, 10]


def test_minutes_only_stop(tmp_path):
    timed = stopped(
        events_of(run_of(tmp_path / "a", minutes=0.004, evaluate_every=1000, average=0), Batches(pause=0.005))
    )
    assert timed.reason == "minutes"
    assert timed.progress.seconds >= 0.24
    counted = events_of(run_of(tmp_path / "b", updates=timed.update, evaluate_every=1000, average=0))
    assert bits(timed.model) == bits(stopped(counted).model)


def test_patience_stops_and_the_best_is_kept(tmp_path):
    kept = []
    dev = Scripted(5.0, 3.0, 4.0, float("nan"), 3.0)
    run = run_of(
        tmp_path,
        updates=99,
        patience=3,
        average=0,
        evaluate=dev,
        save_best=lambda m, s: kept.append((bits(m), s["loss"])),
    )
    end = stopped(events_of(run))
    assert (end.reason, end.update) == ("patience", 20)
    assert kept == [(dev.models[0], 5.0), (dev.models[1], 3.0)]
    assert (end.progress.best_cost, end.progress.best_update) == ((3.0, 3.0), 8)


def test_a_cosine_goes_on_to_its_end(tmp_path):
    optimizer = OptimizerConfig(schedule="cosine")
    run = run_of(tmp_path, updates=20, patience=1, average=0, evaluate=lambda _: {"loss": 1.0}, optimizer=optimizer)
    assert stopped(events_of(run)).reason == "updates"


def test_the_highest_is_best_where_it_is(tmp_path):
    kept = []
    run = run_of(
        tmp_path,
        updates=8,
        average=0,
        metric="bleu",
        evaluate=lambda _: {"bleu": 1.0 + len(kept)},
        save_best=lambda _, scores: kept.append(scores["bleu"]),
    )
    events_of(run)
    assert kept == [1.0, 2.0]


def test_a_model_and_its_average_are_one_evaluation(tmp_path):
    scores = iter([5.0, 4.0, 7.0, 3.0, 6.0])  # the model, and from the second time on also the mean
    run = run_of(tmp_path, updates=12, metric="bleu", evaluate=lambda _: {"bleu": next(scores)})
    end = stopped(events_of(run)).progress
    assert (end.watched, end.stale, end.best_cost, end.best_update) == ((-7.0, 0.0), 1, (-7.0, 0.0), 8)


def test_a_plateau_lowers_the_rate_of_the_updates(tmp_path):
    run = run_of(tmp_path, updates=16, average=0, log_every=1, evaluate=Scripted(1.0, 2.0, 2.0, 0.5))
    rates = [round(event.rate, 6) for event in of(Updated, events_of(run))]
    assert rates == [0.1] * 8 + [0.05] * 4 + [0.025] * 4


def test_the_average_is_the_mean_of_the_last_models(tmp_path):
    seen: list[Tiny] = []
    events = events_of(run_of(tmp_path, updates=16, average=3, evaluate=lambda m: seen.append(m) or dev_loss(m)))
    kinds = [event.averaged for event in of(Evaluated, events)]
    assert kinds == [0, 0, 2, 0, 3, 0, 3]
    models = [model for model, kind in zip(seen, kinds, strict=True) if kind == 0]
    averages = [model for model, kind in zip(seen, kinds, strict=True) if kind > 0]
    for end, average in enumerate(averages, start=2):
        assert bits(average) == bits(mean(tuple(models[max(0, end - 3) : end])))


def test_the_average_is_kept_where_it_is_better(tmp_path):
    kept = []
    dev = Scripted(5.0, 4.0, 3.0)  # the model; the next model; their mean
    run = run_of(tmp_path, updates=8, evaluate=dev, save_best=lambda m, s: kept.append(bits(m)))
    events_of(run)
    assert kept == dev.models
    assert kept[2] != kept[1]


def test_without_a_dev_set_the_last_model_is_kept(tmp_path):
    kept = []
    end = stopped(
        events_of(run_of(tmp_path, updates=5, evaluate=None, save_best=lambda m, s: kept.append((bits(m), s))))
    )
    assert kept == [(bits(end.model), {})]


def test_a_model_that_is_not_finite_is_not_trained(tmp_path):
    model = jax.tree.map(lambda leaf: leaf * np.nan, Tiny.init())
    with pytest.raises(NonFiniteLossError, match="the model that the run begins with: the parameter"):
        events_of(run_of(tmp_path, updates=20), model=model)


@pytest.mark.parametrize("updates_before", [0, 6])
def test_a_loss_that_is_not_finite_stops_and_says_where(tmp_path, updates_before):
    poison = divmod(updates_before, 5)
    with pytest.raises(NonFiniteLossError) as caught:
        events_of(run_of(tmp_path, updates=20, most_skipped=1), Batches(poison=poison))
    said = str(caught.value)
    where = f"update {updates_before + 1}, made from batch {poison[1] + 1} of epoch {poison[0] + 1}"
    assert where in said
    assert "--optimizer.learning-rate" in said and "--optimizer.clip" in said and "\n" not in said
    newest = run_of(tmp_path).checkpoints.paths()[0]
    assert f"{newest.name} is finite and stays" in said
    with np.load(newest) as file:
        assert all(np.isfinite(file[name]).all() for name in file.files if name.startswith("state/model"))


def test_an_update_that_is_not_finite_is_skipped_and_counted(tmp_path):
    momentum = OptimizerConfig(name="momentum")
    last = {"moving_average": 0.0, "precision": "float32"}
    run = run_of(tmp_path, updates=10, log_every=1, evaluate=None, optimizer=momentum, **last)
    events = events_of(run, Batches(poison=(1, 2)))
    (warned,) = of(Warned, events)
    assert warned.update == 8 and "batch 3 of epoch 2, is skipped" in warned.message and "(1 so far)" in warned.message
    assert [event.update for event in of(Updated, events)] == [1, 2, 3, 4, 5, 6, 7, 9, 10]
    assert [event.skipped for event in of(Updated, events)] == [0] * 7 + [1] * 2
    end = stopped(events)
    assert (end.progress.skipped, end.progress.skipped_in_a_row) == (1, 0)
    optimizer = build(momentum, Tiny.init())
    update, state = make_update(optimizer), begin(Tiny.init(), optimizer)
    for number in range(10):  # the same updates with the same keys, but for that one
        if number == 7:
            state = state._replace(update=state.update + 1)
            continue
        batch = next(Batches().epoch(number // 5, number % 5))
        state, _ = update(state, batch, jax.random.key(run.training.seed), 1.0)
    assert bits(end.model) == bits(state.model)


def test_too_many_in_a_row_are_the_end(tmp_path):
    class Poisoned(Batches):
        def epoch(self, epoch, start=0):
            return (batch._replace(y=batch.y * np.nan) for batch in super().epoch(epoch, start))

    with pytest.raises(NonFiniteLossError, match="3 in a row are not finite"):
        events_of(run_of(tmp_path, updates=20, most_skipped=3), Poisoned())


def test_a_spike_of_the_loss_is_told(tmp_path):
    class Spiked(Batches):
        def epoch(self, epoch, start=0):
            for index, batch in enumerate(super().epoch(epoch, start), start):
                yield batch._replace(y=batch.y + 100.0) if (epoch, index) == (2, 1) else batch

    (warned, *_) = of(Warned, events_of(run_of(tmp_path, updates=12, average=0), Spiked()))
    assert warned.update == 12 and "usually" in warned.message


def test_parameters_that_overflow_are_never_saved(tmp_path):
    huge = OptimizerConfig(name="sgd", learning_rate=3e38, clip=0)
    # The last batch of an epoch, and a cure that can be followed.
    with pytest.raises(NonFiniteLossError, match=r"batch 1 of epoch 1: .* is not finite.*--optimizer.clip \(it is off"):
        events_of(run_of(tmp_path, updates=1, optimizer=huge, evaluate=None), Batches(1))
    assert [path.stem for path in run_of(tmp_path).checkpoints.paths()] == ["update-000000000"]


def test_an_unknown_metric_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"--metric los: .*did you mean loss\?"):
        events_of(run_of(tmp_path, updates=5, metric="los"))


def test_empty_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no batch"):
        train(Tiny.init(), Batches(0), run_of(tmp_path))


def test_a_run_is_not_overwritten(tmp_path):
    events_of(run_of(tmp_path, updates=2))
    with pytest.raises(ResumeError, match=r"holds a run already, saved at update-000000002; .*--resume"):
        train(Tiny.init(), Batches(), run_of(tmp_path, updates=2))


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    events = train(Tiny.init(), Batches(), run_of(tmp_path / "run", updates=2))
    with pytest.raises(ArchiveError):
        list(events)


def interrupt_at(update: int, **config: Any):
    """Press Ctrl-C when an update is told."""

    def pressed(folder: Any, number: signal.Signals = signal.SIGINT) -> list[Event]:
        found = []
        for event in train(Tiny.init(), Batches(), run_of(folder, log_every=1, **config)):
            if isinstance(event, Updated) and event.update == update:
                signal.raise_signal(number)
            found.append(event)
        return found

    return pressed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, number):
    before = signal.getsignal(number)
    end = stopped(interrupt_at(6, updates=20)(tmp_path, number))
    assert end.reason == "interrupted"
    assert end.path == run_of(tmp_path).checkpoints.paths()[0]
    assert f"{end.update:09d}" in end.path.name
    assert "--resume" in end.advice
    assert signal.getsignal(number) is before
    whole = stopped(events_of(run_of(tmp_path / "whole", updates=20, log_every=1)))
    resumed = stopped(events_of(run_of(tmp_path, updates=20, log_every=1, resume=True)))
    assert bits(resumed.model) == bits(whole.model)


def test_a_model_to_begin_with_can_stay_the_best(tmp_path):
    def run(folder, **more):
        costs = iter([1.0, 5.0, 4.0, 3.0, 2.0, 2.0, 2.0])
        kept = []
        hooks = {"evaluate": lambda _: {"loss": next(costs)}, "save_best": lambda *best: kept.append(best)}
        return replace(run_of(folder, **hooks, **more), score_first=True), kept

    first, kept = run(tmp_path / "a", updates=9, average=0)
    events = events_of(first)
    assert [e.update for e in events if isinstance(e, Evaluated)] == [0, 4, 8, 9]
    assert len(kept) == 1 and bits(kept[0][0]) == bits(Tiny.init())
    assert stopped(events).progress.best_update == 0
    # Killed before anything else was saved, it is scored again; afterwards it is not.
    begun = train(Tiny.init(), Batches(), run(tmp_path / "b", updates=9, average=0)[0])
    assert [type(next(begun)).__name__ for _ in range(3)] == ["Started", "Saved", "Evaluated"]
    begun.close()
    for limit, wanted in ((6, [0, 4, 6]), (9, [8, 9])):
        again, _ = run(tmp_path / "b", updates=limit, average=0, resume=True)
        assert [e.update for e in events_of(again) if isinstance(e, Evaluated)] == wanted


def test_a_cosine_is_not_told_to_go_on(tmp_path):
    cosine = OptimizerConfig(schedule="cosine")
    assert "--resume" not in stopped(events_of(run_of(tmp_path / "a", updates=2, optimizer=cosine))).advice
    assert "--resume with more --updates" in stopped(events_of(run_of(tmp_path / "b", updates=2))).advice


@pytest.mark.parametrize(("limit", "at"), [(8, [4, 8]), (3, [3])])  # the second is not regular
def test_ctrl_c_in_an_evaluation_gives_it_up_and_makes_it_again(tmp_path, limit, at):
    pressed = []

    def evaluate(model: Tiny) -> dict[str, float]:
        if not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return dev_loss(model)

    events = events_of(run_of(tmp_path, updates=limit, average=0, evaluate=evaluate))
    end = stopped(events)
    assert (end.reason, end.update, end.signal) == ("interrupted", at[0], signal.SIGINT)
    assert not of(Evaluated, events)
    events = events_of(run_of(tmp_path, updates=limit, average=0, evaluate=evaluate, resume=True))
    assert [event.update for event in of(Evaluated, events)] == at


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    def twice(_: Any, __: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        events_of(run_of(tmp_path, updates=8, save_best=twice))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_in_another_thread_leaves_signals_alone(tmp_path):
    ends: list[Any] = []
    thread = threading.Thread(target=lambda: ends.extend(events_of(run_of(tmp_path, updates=2))))
    thread.start()
    thread.join()
    assert stopped(ends).reason == "updates"


def test_saving_by_the_clock_changes_nothing(tmp_path):
    often = events_of(run_of(tmp_path / "a", updates=9, save_minutes=0))
    assert {event.update for event in of(Saved, often)} == set(range(10))
    seldom = events_of(run_of(tmp_path / "b", updates=9))
    assert bits(stopped(often).model) == bits(stopped(seldom).model)
