"""`seq2seq train PAIRS... --out RUN`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import tyro

from seq2seq.app.arguments import parse, refuse_more_models
from seq2seq.app.construct import model_class, options_of, settings_of
from seq2seq.app.options import TrainOptions, from_files
from seq2seq.app.plain import read_toml
from seq2seq.app.runtime import use_threads
from seq2seq.app.text_model import TextModel
from seq2seq.app.train import run
from seq2seq.app.user_code import classes_of
from seq2seq.errors import ConfigError


def main(arguments: Sequence[str]) -> int:
    """Parse the options over those of the preset, the TOML file or the run that goes on; then train."""
    options = options_from(arguments)
    use_threads(options.threads)
    return run(options)


def options_from(arguments: Sequence[str], kind: Any = TrainOptions, command: str = "train") -> Any:
    """The options, of `kind`: the command line over the TOML files over the preset over the defaults.

    The TOML files are that of the run that goes on, if one does, and that of --config over it.

    Raises:
        ConfigError: a TOML file cannot be used, the run to resume is not there, or an option has no effect.
    """
    arguments = [_dashed(word) for word in arguments]
    configs = [given] if (given := _peek(arguments, "--config")) else []
    if resume := "--resume" in arguments:
        if _peek(arguments, "--preset"):
            raise ConfigError("--preset does not go with --resume: that run has its options.")
        began_with = Path(_peek(arguments, "--out") or ".") / "config.toml"
        if not began_with.is_file():
            raise ConfigError(f"--resume: there is no {began_with}; --out must name the folder of a run.")
        configs.insert(0, str(began_with))
    tables = [{name.replace("-", "_"): value for name, value in read_toml(config).items()} for config in configs]
    written = [table["model_type"] for table in tables if "model_type" in table]
    model_type = _peek(arguments, "--model.type") or (written[-1] if written else "encoder-decoder")
    made, aside = _model_options(arguments, tables, model_type)
    defaults: TrainOptions[Any] = kind(model=_default(made), model_type=model_type)
    aside |= {f.name for f in fields(made) if _peek(arguments, f"--model.{f.name.replace('_', '-')}") is not None}
    defaults = from_files(defaults, configs, _peek(arguments, "--preset"), aside)
    if resume and any(_peek(arguments, limit) for limit in ("--updates", "--epochs", "--minutes")):
        # New limits take the place of the old; but a cosine is drawn to the last update.
        ends = {} if defaults.optimizer.schedule == "cosine" else {"updates": None, "epochs": None}
        defaults = replace(defaults, minutes=None, **ends)
    if _peek(arguments, "--types"):  # which would be added to those of a file
        defaults = replace(defaults, types=())
    if _peek(arguments, "--batch-pairs") and not _peek(arguments, "--batch-tokens"):
        defaults = replace(defaults, batch_tokens=None)  # which a run's config.toml has, and which goes before pairs
    options = parse(kind[made], command, arguments, defaults)
    if options.from_model is not None:
        refuse_more_models("--from", options.pairs)
    _refuse_without_effect(arguments, options, defaults)
    return options


def _dashed(word: str) -> str:
    """`--batch_pairs=4`, which tyro takes too, as `--batch-pairs=4`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    if name == "--resume" and equals:
        raise ConfigError(f"{word}: --resume takes no value.")
    return name.replace("_", "-") + equals + value


def _model_options(
    arguments: Sequence[str], tables: Sequence[Mapping[str, Any]], model_type: str
) -> tuple[Any, set[str]]:
    """The dataclass of `--model` options, and what TOML files may say beside it: of a model that is there already only
    that can be told anew which is for training."""
    named = [table["from_model"] for table in tables if "from_model" in table]
    from_model = _peek(arguments, "--from") or (named[-1] if named else None)
    if not isinstance(from_model, str):
        return options_of(model_class(model_type)), set()
    if _peek(arguments, "--preset"):
        raise ConfigError("--preset does not go with --from: that model is what it is.")
    types = _all(arguments, "--types") or [name for table in tables for name in table.get("types", ())]
    made = settings_of(TextModel.load(from_model, classes_of(types)).model)
    known = {f.name for f in fields(made)}
    for word in (word.partition("=")[0] for word in arguments if word.startswith("--model.")):
        if word.removeprefix("--model.").removeprefix("no-").replace("-", "_") not in known:
            others = ", ".join(f"--model.{name.replace('_', '-')}" for name in sorted(known))
            may = f"only {others} can be told anew" if others else "nothing of it can be told anew"
            raise ConfigError(f"{word} does not go with --from: that model is what it is; {may}.")
    written = {name.replace("-", "_") for table in tables for name in table.get("model", ())}
    return made, written - known


_OF_TOKENIZERS = ("source_tokens", "target_tokens", "source_form", "target_form", "vocabulary", "minimum_count")


def _refuse_without_effect(arguments: Sequence[str], options: TrainOptions[Any], before: TrainOptions[Any]) -> None:
    """Refuse options that decide what a model or a tokenizer is, where these are there already."""
    words = [word.partition("=")[0] for word in arguments]
    for name in _OF_TOKENIZERS:
        option = f"--{name.replace('_', '-')}"
        if options.resume and getattr(options, name) != getattr(before, name):
            was = getattr(before, name)
            raise ConfigError(f"{option} was {was} when this run began, and its tokenizers are made; begin a new run.")
        if options.from_model is not None and not options.resume and option in words:
            raise ConfigError(f"{option} does not go with --from: that model has its tokenizers.")


def _peek(arguments: Sequence[str], option: str) -> str | None:
    """The value of an option that decides what the others are."""
    for index, word in enumerate(arguments):
        if word == option and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(option + "="):
            return word.partition("=")[2]
    return None


def _all(arguments: Sequence[str], option: str) -> list[str]:
    """The values of an option that may be given several times."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return [
        after if word == option else word.partition("=")[2] for word, after in pairs if word.partition("=")[0] == option
    ]


def _default(made: Any) -> Any:
    """The options of a model as its `init` has them; one without a default must be given."""
    needed = [f.name for f in fields(made) if f.default is MISSING and f.default_factory is MISSING]
    return made(**dict.fromkeys(needed, tyro.MISSING))
