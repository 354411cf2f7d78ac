"""`seq2seq train PAIRS... --out RUN`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, replace
from io import StringIO
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import tyro

from seq2seq.app.arguments import parse, refuse_more_models
from seq2seq.app.construct import (
    default_options,
    model_class,
    option_names,
    options_of,
    refuse_functions,
    settings_of,
)
from seq2seq.app.options import TrainOptions, check_name, from_files, preset_file
from seq2seq.app.plain import changed, of_plain, read_toml, to_plain, unchecked
from seq2seq.app.runtime import use_threads
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import run
from seq2seq.app.user_code import known_classes
from seq2seq.app.words import Words
from seq2seq.errors import ConfigError
from seq2seq.metrics import METRICS
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.models.hard_monotonic import HardMonotonic
from seq2seq.training.optimizer import OptimizerConfig


def main(arguments: Sequence[str]) -> int:
    """Parse the options over those of the preset, the TOML file or the run that goes on; then train."""
    return run(options_from(arguments))


_LIMITS = ("updates", "epochs", "minutes")
_OF_A_CHOICE = {"learning_rate": "name", "weight_decay": "name", "warmup_updates": "schedule"}
"""Numbers of an optimiser whose default is that of its name, or of its schedule."""


def options_from(arguments: Sequence[str], kind: Any = TrainOptions, command: str = "train") -> Any:
    """The options, of `kind`: the command line over the TOML files over the preset over the defaults.

    The TOML files are that of the run that goes on, if one does, and that of --config over it. The process has its
    threads from here on: a file of the user's that is imported may compute.

    Raises:
        ConfigError: a TOML file cannot be used, the run to resume is not there, or an option has no effect.
    """
    words = Words(arguments)
    resume = "--resume" in words.words
    files = [(file, read_toml(file)) for file in _files(words, resume)]  # once: it may be a pipe
    tables = [_underscored(table) for _, table in files]
    use_threads(_threads(words, tables))
    model_type = words.last("--model.type") or _written(tables, "model_type") or "encoder-decoder"
    made, aside = _model_options(words, tables, model_type)
    defaults: TrainOptions[Any] = unchecked(
        kind, {"model": default_options(model_type, made), "model_type": model_type}
    )
    preset = words.last("--preset")
    before = from_files(defaults, files[:1], None, aside, check=False) if resume else defaults  # as the run began
    refused = _refused(defaults, files, preset, aside)
    defaults = from_files(defaults, files, preset, aside, check=False)
    tables = [*([_underscored(read_toml(preset_file(preset)))] if preset else []), *tables]
    defaults = changed(defaults, optimizer=_of_its_own(defaults.optimizer, words, tables))
    defaults = _without_others(defaults, words, tables)
    if resume:
        defaults = _in_its_folder(_with_new_limits(defaults, before, words, tables[1:]), words)
    if words.all("--types"):  # which would be added to those of a file
        defaults = changed(defaults, types=())
    with _naming_the_file(refused):
        options = parse(kind[made], command, words.words, defaults)
    options = replace(_with_its_pairs(options, defaults, words), model=_as_read_again(options.model, made))
    if options.from_model is not None:
        refuse_more_models("--from", options.pairs)
    _refuse_without_effect(words, options, before)
    if options.metric != "auto":
        options.check_metric(METRICS)
    if command == "train" and words.all("--types") and options.from_model is None and not resume:
        raise ConfigError(
            "--types is for the model of --from; a class for a fresh one is named by --model.cell and such."
        )
    return options


def _refused(
    defaults: TrainOptions[Any], files: Sequence[tuple[str, Mapping[str, Any]]], preset: str | None, aside: set[str]
) -> ConfigError | None:
    """What is wrong with the files by themselves, which the command line may mend. Of a model's options of which some
    are missing still, nothing can be said."""
    if any(value is tyro.MISSING for value in vars(defaults.model).values()):
        return None
    try:
        from_files(defaults, files, preset, aside)
    except ConfigError as error:
        return error
    return None


@contextmanager
def _naming_the_file(refused: ConfigError | None) -> Iterator[None]:
    """Where the command line did not mend what is wrong with a file, raise that: it names the file."""
    if refused is None:
        yield
        return
    first: BaseException = refused
    while first.__context__ is not None:  # what the class of the options said, in front of which the file was put
        first = first.__context__
    said = StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit as end:
        if end.code and _letters(str(first)) in _letters(said.getvalue()):
            said = StringIO()
            raise refused from None
        raise
    finally:
        sys.stderr.write(said.getvalue())


def _letters(text: str) -> str:
    """A text without what a box around it, and its lines, add."""
    return "".join(filter(str.isalnum, text))


def _with_its_pairs(options: TrainOptions[Any], before: TrainOptions[Any], words: Words) -> TrainOptions[Any]:
    """The options without the parallel files of a file, if the command line names PAIRS."""
    told = words.last("--source") or words.last("--target")
    return options if told or options.pairs == before.pairs else replace(options, source=None, target=None)


def _as_read_again(model: Any, made: Any) -> Any:
    """The `--model` options with numbers as a resume will read them: 0 is 0.0 where one with a fraction is wanted."""
    kinds = int | float | tuple | list
    plain = {name: value for name, value in to_plain(model).items() if isinstance(getattr(model, name), kinds)}
    return of_plain(made, plain, "--model", model)


def _underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of TOML with the names of fields, which may be written as options are."""
    return {
        name.replace("-", "_"): _underscored(value) if isinstance(value, Mapping) else value
        for name, value in table.items()
    }


def _threads(words: Words, tables: Sequence[Mapping[str, Any]]) -> int | None:
    """What --threads will be; None too where it is no number, which is told when it is parsed."""
    told = str(words.last("--threads") if words.all("--threads") else _written(tables, "threads"))
    return int(told) if told.removeprefix("-").isdecimal() else None


def _files(words: Words, resume: bool) -> list[str]:
    """The TOML files, the later over the earlier."""
    given = [config] if (config := words.last("--config")) else []
    if not resume:
        return given
    if words.last("--preset"):
        raise ConfigError("--preset does not go with --resume: that run has its options.")
    began_with = Path(words.last("--out") or ".") / "config.toml"
    if not began_with.is_file():
        raise ConfigError(f"--resume: there is no {began_with}; --out must name the folder of a run.")
    return [str(began_with), *given]


def _of_its_own(config: OptimizerConfig, words: Words, tables: Sequence[Mapping[str, Any]]) -> OptimizerConfig:
    """The optimiser without the numbers that a file told for another optimiser or schedule than there is now."""
    told = [table.get("optimizer", {}) for table in tables]
    for number, choice in _OF_A_CHOICE.items():
        now = words.last(f"--optimizer.{choice}") or getattr(config, choice)
        telling = next((table for table in reversed(told) if number in table), {})
        if telling.get(choice, now) != now:
            config = changed(config, **{number: None})
    for name in ("halve_after", "halve_every"):
        option, epochs = f"--optimizer.{name.replace('_', '-')}", f"{name}_epochs"
        if _told_last(words, told, (option, name), (f"{option}-epochs", epochs)):
            config = changed(config, **{epochs: None})  # which goes before updates
    return config


def _without_others(options: TrainOptions[Any], words: Words, tables: Sequence[Mapping[str, Any]]) -> TrainOptions[Any]:
    """The options without those of files that stand in the way of one of the command line."""
    if _told_last(words, tables, ("--batch-pairs", "batch_pairs"), ("--batch-tokens", "batch_tokens")):
        options = changed(options, batch_tokens=None)  # which a run's config.toml has, and which goes before pairs
    if words.last("--source") or words.last("--target"):
        usual = {f.name: f.default for f in fields(TrainOptions) if f.name in ("format", "next_sentence", "split")}
        options = changed(options, pairs=(), **usual)
    if words.last("--dev-source") or words.last("--dev-target"):
        options = changed(options, dev=())
    if words.last("--dev"):
        options = changed(options, dev_source=None, dev_target=None)
    epochs = words.last("--epochs") or _written(tables[1:], "epochs")
    if words.last("--preset") and epochs and not _written(tables[1:], "updates"):
        options = changed(options, updates=None)  # the preset's, which come before so many epochs
    return options


def _with_new_limits(
    options: TrainOptions[Any], before: TrainOptions[Any], words: Words, new: Sequence[Mapping[str, Any]]
) -> TrainOptions[Any]:
    """The options of a run that goes on: new limits take the place of the old; but a cosine is drawn to its end."""
    now, then = ([getattr(one, name) for name in _LIMITS] for one in (options, before))
    if now == then and not any(words.last(f"--{name}") for name in _LIMITS):
        return options
    of_schedule = _LIMITS[:2] if options.optimizer.schedule == "cosine" else ()
    old = [name for name in _LIMITS if _written(new, name) is None and name not in of_schedule]
    return changed(options, **dict.fromkeys(old))


def _in_its_folder(options: TrainOptions[Any], words: Words) -> TrainOptions[Any]:
    """The options of a run that goes on where it lies now, with those of its files that moved with it."""
    began, now = options.out, words.last("--out") or "."

    def found(name: str) -> str:
        moved = Path(now, Path(name).relative_to(began)) if began and Path(name).is_relative_to(began) else Path(name)
        return str(moved) if moved.exists() and not Path(name).exists() else name

    moved = {name: tuple(map(found, getattr(options, name))) for name in ("pairs", "dev")}  # as distill and demo write
    return changed(options, out=now, **moved)


def _told_last(words: Words, tables: Sequence[Mapping[str, Any]], one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether the first of two options, as words and tables name them, was told later than the other."""

    def place(option: str, name: str) -> int:
        return len(tables) if words.last(option) else max((n for n, t in enumerate(tables) if name in t), default=-1)

    return place(*one) > place(*other)


def _written(tables: Sequence[Mapping[str, Any]], name: str) -> Any:
    """What the last table that has the name says."""
    return next((table[name] for table in reversed(tables) if name in table), None)


def _model_options(words: Words, tables: Sequence[Mapping[str, Any]], model_type: str) -> tuple[Any, set[str]]:
    """The dataclass of --model options, and those that TOML files may name in vain.

    These are classes that the command line names too, since the file of the user's may have moved, and with --from
    what the model is: the configuration of a run goes with it all the same.
    """
    from_model = words.last("--from") if words.all("--from") else _written(tables, "from_model")
    if from_model is None:
        made = options_of(model_class(model_type))
        refuse_functions(model_class(model_type), made)
        hints = get_type_hints(made)
        classes = {
            name for name, hint in hints.items() if any(get_origin(kind) is type for kind in (hint, *get_args(hint)))
        }
        return made, {name for name in classes if words.all(f"--model.{name.replace('_', '-')}")}
    if words.last("--preset"):
        raise ConfigError("--preset does not go with --from: that model is what it is.")
    check_name(from_model)
    if "--resume" in words.words and not Path(from_model).exists():
        raise ConfigError(
            f"{from_model}: no such file, and this run began with it: say by --from where it is now, or begin a new "
            f"run with this one's model, --from {words.last('--out') or '.'}."
        )
    types = words.all("--types") or _written(tables, "types") or ()
    cls, statics = TextModel.kind_of(from_model, known_classes(types))
    made = settings_of(cls, statics)
    known = {f.name for f in fields(made)}
    for word in words.options("--model."):
        if word.removeprefix("--model.").removeprefix("no-").replace("-", "_") not in known:
            others = ", ".join(f"--model.{name.replace('_', '-')}" for name in sorted(known)) or "nothing of it"
            raise ConfigError(
                f"{word} does not go with --from: that model is what it is; only {others} can be told anew."
            )
    return made, option_names(cls) - known


_OF_SCHEDULE = {
    **dict.fromkeys(("halve-after", "halve-every", "halve-after-epochs", "halve-every-epochs"), "halving"),
    **dict.fromkeys(("plateau-factor", "plateau-patience"), "plateau"),
}
_EITHER = (
    ("--batch-tokens", "--batch-pairs"),
    ("--optimizer.halve-after", "--optimizer.halve-after-epochs"),
    ("--optimizer.halve-every", "--optimizer.halve-every-epochs"),
)
_OF_TOKENIZERS = (
    *("source_tokens", "target_tokens", "source_form", "target_form", "right_to_left"),
    *("vocabulary", "minimum_count"),
)


def _refuse_without_effect(words: Words, options: TrainOptions[Any], before: TrainOptions[Any]) -> None:
    """Refuse options that decide what a tokenizer is, where these are there already, that a model cannot follow, or
    that are for another schedule of the rate."""
    _refuse_of_another_schedule(words, options)
    model = options.model
    deep = not isinstance(model, EncoderDecoderConfig) or max(model.layers, model.depth) > 1
    if not deep and model.residual and not options.resume:
        raise ConfigError(
            "--model.residual goes around the second layer of a side, and there is none: --model.layers 2."
        )
    for one, other in _EITHER:
        if words.last(one) and words.last(other):
            raise ConfigError(f"{one} and {other} are two ways to say one thing; leave one out.")
    if options.right_to_left and issubclass(model_class(options.model_type), HardMonotonic):
        raise ConfigError(f"--right-to-left does not go with {options.model_type}, whose places never go back.")
    for name in _OF_TOKENIZERS:
        option = f"--{name.replace('_', '-')}"
        was = getattr(before, name)
        if options.resume and getattr(options, name) not in (was, "auto"):
            raise ConfigError(f"{option} was {was} when this run began, and its tokenizers are made; begin a new run.")
        told = {option, f"--no-{option[2:]}"} & {*words.options("--")}
        if options.from_model is not None and not options.resume and told:
            raise ConfigError(f"{option} does not go with --from: that model has its tokenizers.")


def _refuse_of_another_schedule(words: Words, options: TrainOptions[Any]) -> None:
    schedule, patience = options.optimizer.schedule, options.patience
    for name, wanted in _OF_SCHEDULE.items():
        if words.last(f"--optimizer.{name}") and schedule != wanted:
            raise ConfigError(f"--optimizer.{name} is for --optimizer.schedule {wanted}, and it is {schedule}.")
    early = schedule == "plateau" and patience is not None and patience <= options.optimizer.plateau_patience
    if early and not options.resume:  # which goes on as it began
        raise ConfigError(
            f"--patience {patience} would end the run at the first plateau; wanted more than "
            f"--optimizer.plateau-patience, {options.optimizer.plateau_patience}, or None."
        )
