"""`seq2seq train PAIRS... --out RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import tyro

from seq2seq.app.arguments import parse, refuse_more_models
from seq2seq.app.construct import model_class, options_of
from seq2seq.app.options import TrainOptions, from_files
from seq2seq.app.plain import read_toml
from seq2seq.app.runtime import use_threads
from seq2seq.app.train import run
from seq2seq.errors import ConfigError


def main(arguments: Sequence[str]) -> int:
    """Parse the options over those of the preset, the TOML file or the run that goes on; then train."""
    options = options_from(arguments)
    use_threads(options.threads)
    return run(options)


def options_from(arguments: Sequence[str], kind: Any = TrainOptions, command: str = "train") -> Any:
    """The options, of `kind`: the command line over the TOML file over the preset over the defaults.

    Raises:
        ConfigError: the TOML file cannot be used, or the run to resume is not there.
    """
    config = _peek(arguments, "--config")
    if "--resume" in arguments:
        config = config or str(Path(_peek(arguments, "--out") or ".") / "config.toml")
        if not Path(config).is_file():
            raise ConfigError(f"--resume: there is no {config}; --out must name the folder of a run.")
    written = read_toml(config).get("model_type") if config else None
    model_type = _peek(arguments, "--model.type") or written or "encoder-decoder"
    made = options_of(model_class(model_type))
    defaults: TrainOptions[Any] = kind(model=_default(made), model_type=model_type)
    defaults = from_files(defaults, config, _peek(arguments, "--preset"))
    if "--resume" in arguments and any(_peek(arguments, limit) for limit in ("--updates", "--epochs", "--minutes")):
        defaults = replace(defaults, updates=None, epochs=None, minutes=None)  # new limits take the place of the old
    options = parse(kind[made], command, arguments, defaults)
    if options.from_model is not None and any(word.startswith("--model.") for word in arguments):
        raise ConfigError("--model options do not go with --from: that model is what it is.")
    if options.from_model is not None:
        refuse_more_models("--from", options.pairs)
    return options


def _peek(arguments: Sequence[str], option: str) -> str | None:
    """The value of an option that decides what the others are."""
    for index, word in enumerate(arguments):
        if word == option and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(option + "="):
            return word.partition("=")[2]
    return None


def _default(made: Any) -> Any:
    """The options of a model as its `init` has them; one without a default must be given."""
    needed = [f.name for f in fields(made) if f.default is MISSING and f.default_factory is MISSING]
    return made(**dict.fromkeys(needed, tyro.MISSING))
