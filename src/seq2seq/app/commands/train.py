"""`seq2seq train PAIRS... --out RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2seq.app.arguments import parse
from seq2seq.app.construct import model_class, options_of
from seq2seq.app.options import TrainOptions, from_files
from seq2seq.app.plain import read_toml
from seq2seq.app.train import run, use_threads
from seq2seq.errors import ConfigError


def main(arguments: Sequence[str]) -> int:
    """Parse the options over those of the preset, the TOML file or the run that goes on; then train."""
    options = options_from(arguments)
    use_threads(options.threads)
    return run(options)


def options_from(arguments: Sequence[str]) -> TrainOptions[Any]:
    """The options: the command line over the TOML file over the preset over the defaults.

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
    defaults: TrainOptions[Any] = TrainOptions(model=_default(made), model_type=model_type)
    defaults = from_files(defaults, config, _peek(arguments, "--preset"))
    return parse(TrainOptions[made], "train", arguments, defaults)


def _peek(arguments: Sequence[str], option: str) -> str | None:
    """The value of an option that decides what the others are."""
    for index, word in enumerate(arguments):
        if word == option and index + 1 < len(arguments):
            return arguments[index + 1]
        if word.startswith(option + "="):
            return word.partition("=")[2]
    return None


def _default(made: type) -> Any:
    try:
        return made()
    except TypeError as error:
        raise ConfigError(
            f"{made.__name__.removesuffix('Options')}.init: give each argument a default ({error})."
        ) from None
