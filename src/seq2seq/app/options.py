"""The options of `seq2seq train`: one flat dataclass that is the command line, the TOML file and the run's record."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from seq2seq.app.plain import of_plain, read_toml, to_plain, to_toml
from seq2seq.data import Kind, PairFiles
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.models.encoder_decoder import EncoderDecoderConfig
from seq2seq.training import OptimizerConfig, TrainingConfig

M = TypeVar("M")
_PRIVATE = ("pairs", "source", "target", "dev", "dev_source", "dev_target", "out", "from_model", "types")
PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class PairOptions:
    """How files of pairs are read."""

    source: str | None = None
    """With --target, two parallel files instead of PAIRS: line n of one belongs to line n of the other."""
    target: str | None = None
    """See --source."""
    format: Literal["auto", "tsv", "sigmorphon", "jsonl", "scan"] = "auto"
    """How PAIRS are written: source TAB target, lemma TAB features TAB form, JSON lines, or IN: ... OUT: ... lines."""
    next_sentence: bool = False
    """PAIRS are plain text: each line is a source whose target is the next line."""
    split: Literal["line", "sentence", "clause"] = "line"
    """With --next-sentence: what follows what. Blank lines part documents."""
    skip_bad: bool = False
    """Leave bad lines out and count them; otherwise the first one is an error."""
    max_line: int = 20_000
    """The longest line taken, in characters."""

    def files(self, paths: tuple[str, ...]) -> PairFiles:
        """What to read, for `paths` or the parallel files."""
        return PairFiles(
            paths=paths,
            source=self.source,
            target=self.target,
            format=self.format,
            next_sentence=self.next_sentence,
            split=self.split,
            skip_bad=self.skip_bad,
            max_line=self.max_line,
        )


@dataclass(frozen=True)
class TextOptions:
    """How text becomes tokens, and tokens batches."""

    source_tokens: Literal["auto", "word", "character", "symbols", "bpe", "unigram"] = "auto"
    """What a source is cut into; auto looks at the data and says what it chose and why."""
    target_tokens: Literal["auto", "word", "character", "symbols", "bpe", "unigram"] = "auto"
    """What a target is cut into."""
    vocabulary: int | None = None
    """The most different tokens on each side. None: 8,000, or for bpe and unigram by the size of the corpus."""
    minimum_count: int = 1
    """How often a word, character or symbol must occur to be known."""
    max_length: int = 1000
    """Pairs with a longer side, in tokens, are left out and counted."""
    batch_tokens: int | None = None
    """Source and target tokens in a batch, padding included. None: about 64 pairs, but 4,096 at most."""

    def kind(self, side: Literal["source", "target"]) -> Kind | None:
        """The kind of tokens asked for, or None for auto."""
        asked = self.source_tokens if side == "source" else self.target_tokens
        return None if asked == "auto" else asked


@dataclass(frozen=True)
class RunOptions:
    """What a run reads and writes."""

    pairs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Files of pairs, one pair a line: source TAB target, or as --format says."""
    out: str = ""
    """The run's folder; it is made, and must not hold another run."""
    dev: tuple[str, ...] = ()
    """Files of pairs to measure on. Without, some pairs are held out: whole documents, or by distinct source."""
    dev_source: str | None = None
    """With --dev-target, parallel files to measure on."""
    dev_target: str | None = None
    """See --dev-source."""
    resume: bool = False
    """Go on with the run in --out exactly where it stands; its configuration is read from there."""
    from_model: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Begin with the weights and tokenizers of this model (fine-tune) instead of a fresh one."""


@dataclass(frozen=True)
class TrainOptions(PairOptions, TextOptions, TrainingConfig, RunOptions, Generic[M]):  # help lists the last first
    """Train a model on pairs of text; a run's folder gets the model, its checkpoints, its log and its configuration."""

    threads: int | None = None
    """Processor threads to use. None: all."""
    preset: str | None = None
    """A named configuration that comes with seq2seq; options on the command line go before it."""
    config: str | None = None
    """A TOML file of options, such as the config.toml of a run; options on the command line go before it."""
    types: tuple[str, ...] = ()
    """Classes of yours that the model of --from holds: my_file.py:MyClass."""
    model_type: Annotated[str, tyro.conf.arg(name="model.type")] = "encoder-decoder"
    """The model: encoder-decoder, or my_file.py:MyModel; the typed arguments of its init become --model options."""
    metric: str = "auto"
    """The dev score that says which model is best. auto: wer_percent for spelt targets and symbols, bleu for text,
    loss_nats_per_token for next sentences."""
    model: M = field(default_factory=EncoderDecoderConfig)  # pyright: ignore[reportAssignmentType]
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def dev_files(self) -> PairFiles | None:
        """The files to measure on, if any were named."""
        if not self.dev and self.dev_source is None and self.dev_target is None:
            return None
        return replace(self.files(self.dev), source=self.dev_source, target=self.dev_target)

    def toml(self, private: bool = True) -> str:
        """Every option, resolved, as RUN/config.toml holds it; without `private` no option that names a file."""
        values = to_plain(self)
        for name in ("resume", "config", "preset", *(() if private else _PRIVATE)):  # the first three are resolved
            values.pop(name, None)
        return to_toml(values)


def from_files(defaults: TrainOptions[Any], config: str | None, preset: str | None) -> TrainOptions[Any]:
    """`defaults`, overridden by the preset and then by the TOML file.

    Raises:
        ConfigError: there is no such preset or file, or a line of it cannot be used.
    """
    for path in ([preset_file(preset)] if preset else []) + ([Path(config)] if config else []):
        values = read_toml(path)
        defaults = of_plain(type(defaults), values, str(path), defaults)
    return defaults


def preset_file(name: str) -> Path:
    """The TOML file of a preset.

    Raises:
        ConfigError: there is none of this name.
    """
    known = sorted(path.stem for path in PRESETS.glob("*.toml"))
    if name not in known:
        raise ConfigError(f"no preset is called {name}; {did_you_mean(name, known)}")
    return PRESETS / f"{name}.toml"
