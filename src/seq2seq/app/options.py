"""The options of `seq2seq train`: one flat dataclass that is the command line, the TOML file and the run's record."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import tyro

from seq2seq.app.plain import of_plain, read_toml, to_plain, to_toml
from seq2seq.data import Dropping, Form, Kind, PairFiles
from seq2seq.data.lines import LONGEST_LINE
from seq2seq.errors import ConfigError, did_you_mean
from seq2seq.models.config import EncoderDecoderConfig
from seq2seq.training import OptimizerConfig, TrainingConfig

M = TypeVar("M")
_PRIVATE = ("pairs", "source", "target", "dev", "dev_source", "dev_target", "out", "from_model", "types")
PRESETS = Path(__file__).parent / "presets"


Files: TypeAlias = Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PAIRS...")]
Types: TypeAlias = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE.py:CLASS")]


@dataclass(frozen=True)
class PairOptions:
    """How files of pairs are read."""

    source: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """With --target, two parallel files instead of PAIRS: line n of one belongs to line n of the other."""
    target: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """See --source."""
    format: Literal["auto", "tsv", "sigmorphon", "jsonl", "scan", "parquet"] = "auto"
    """How PAIRS are written: source TAB target, lemma TAB features TAB form, JSON lines, or IN: ... OUT: ... lines,
    also packed by gzip or zstd; or Parquet with columns source and target."""
    next_sentence: bool = False
    """PAIRS are plain text: each line is a source whose target is the next line."""
    split: Literal["line", "sentence", "clause"] = "line"
    """With --next-sentence: what follows what. Blank lines part documents."""
    skip_bad: bool = False
    """Leave bad lines out and count them; otherwise the first one is an error."""
    max_line: int = LONGEST_LINE
    """The longest line taken, in characters."""

    def files(self, paths: tuple[str, ...]) -> PairFiles:
        """What to read, for `paths` or the parallel files."""
        return PairFiles(paths, **{one.name: getattr(self, one.name) for one in fields(PairOptions)})


@dataclass(frozen=True)
class TextOptions:
    """How text becomes tokens, and tokens batches."""

    source_tokens: Literal["auto", "word", "character", "symbols", "bpe", "unigram"] = "auto"
    """What a source is cut into: characters (the letters of words), symbols (separated by spaces, of a small closed
    set such as phonemes), words (separated by spaces, in running text), bpe or unigram (pieces of words). auto looks at
    the data and says what it chose and why."""
    target_tokens: Literal["auto", "word", "character", "symbols", "bpe", "unigram"] = "auto"
    """What a target is cut into."""
    source_form: Literal["auto", "none", "nfc", "nfd", "nfkc", "nfkd"] = "auto"
    """Unicode normalisation of a source; nfd takes letters and marks, or Hangul syllables, apart, which outputs put
    together again. auto: nfd for letters, alone or as symbols, of which that leaves at most half as many, else none."""
    target_form: Literal["auto", "none", "nfc", "nfd", "nfkc", "nfkd"] = "auto"
    """Unicode normalisation of a target."""
    right_to_left: bool = False
    """Write each target from its last token to its first (Liu et al. 2016), whatever way its script runs: such a model
    is another judge of whole outputs, for generate --second-model. Texts come out in their own order."""
    vocabulary: int | None = None
    """The most different tokens on each side. None: 8,000, or for bpe and unigram by the size of the corpus."""
    minimum_count: int = 1
    """How often a word, character, symbol or piece of bpe must occur to be known."""
    max_length: int = 1000
    """Pairs with a longer side, in tokens, are left out and counted."""
    max_ratio: float | None = None
    """Pairs of which one side has more than so many times the tokens of the other are left out and counted."""
    deduplicate: bool = False
    """Train on each pair once, however often it stands in the files."""
    batch_tokens: int | None = None
    """Source and target tokens in a batch, padding included. None: of about 64 pairs, but 4,096 at most."""
    batch_pairs: int | None = None
    """Where --batch-tokens does not say how large a batch is: so many pairs of mean length."""
    source_dropout: float = 0.0
    """Probability that the source of a training pair is left out: the model then knows targets without a source too,
    which is what generate --mmi and evaluate --listening compare with."""
    target_dropout: float = 0.0
    """Probability that a target token which the decoder reads is hidden, so that it must look at the source
    (word dropout: Bowman et al. 2016)."""

    piece_dropout: float = 0.0
    """Probability that a piece of bpe is cut into the two that it was merged of, and these likewise, anew each time a
    pair is trained on: fewer pairs teach more (after BPE-dropout: Provilkov et al. 2020, whose merges are left out one
    by one, so that it cuts long pieces more often than this does at the same probability)."""

    @property
    def dropping(self) -> Dropping:
        """What is left out of training batches."""
        return Dropping(self.source_dropout, self.target_dropout)

    def kind(self, side: Literal["source", "target"]) -> Kind | None:
        """The kind of tokens asked for, or None for auto."""
        asked = self.source_tokens if side == "source" else self.target_tokens
        return None if asked == "auto" else asked

    def form(self, side: Literal["source", "target"]) -> Form | None:
        """The Unicode form asked for, or None for auto."""
        asked = self.source_form if side == "source" else self.target_form
        return None if asked == "auto" else asked


@dataclass(frozen=True)
class RunOptions:
    """What a run reads and writes."""

    pairs: Files = ()
    """Files of pairs, one pair a line: source TAB target, or as --format says."""
    out: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """The run's folder; it is made, and must not hold another run."""
    dev: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PAIRS...")] = ()
    """Files of pairs to measure on. Without, some pairs are held out: whole documents, or by distinct source."""
    dev_source: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """With --dev-target, parallel files to measure on."""
    dev_target: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """See --dev-source."""
    resume: bool = False
    """Go on with the run in --out exactly where it stands; its configuration is read from there."""
    from_model: Annotated[str | None, tyro.conf.arg(name="from", metavar="MODEL")] = None
    """Begin with the weights and tokenizers of this model (fine-tune) instead of a fresh one. Of --model options those
    of training alone, such as --model.dropout, can be told anew."""


@dataclass(frozen=True)
class TrainOptions(PairOptions, TextOptions, TrainingConfig, RunOptions, Generic[M]):  # help lists the last first
    """Train a model on pairs of text; a run's folder gets the model, its checkpoints, its log and its configuration."""

    threads: int | None = None
    """Processor threads to use. None: all."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A configuration that comes with seq2seq: small, medium, large, cho2014, sutskever2014, bahdanau2015 or
    luong2015; options on the command line override it."""
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """A TOML file of options, such as the config.toml of a run; it overrides a --preset, and options on the command
    line override it."""
    types: Types = ()
    """A class of yours that the model of --from holds."""
    model_type: Annotated[str, tyro.conf.arg(name="model.type", metavar="NAME|FILE.py:CLASS")] = "encoder-decoder"
    """The model: encoder-decoder, hard-monotonic (for letters and sounds: Wu and Cotterell 2019), or
    my_file.py:MyModel; the typed arguments of its init become --model options."""
    metric: str = "auto"
    """The dev score that says which model is best: loss_nats_per_token, perplexity, exact_match_percent, wer_percent,
    token_error_rate_percent, bleu or chrf. auto: wer_percent for spelt targets and symbols, bleu for text,
    loss_nats_per_token for next sentences."""
    model: M = field(default_factory=EncoderDecoderConfig)  # pyright: ignore[reportAssignmentType]
    """What the model is made of."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How parameters follow gradients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        files = (self.source, self.target, self.dev_source, self.dev_target, self.out, self.from_model, self.model_type)
        for name in filter(None, (*self.pairs, *self.dev, *files, *self.types)):
            check_name(name)
        for name in ("vocabulary", "minimum_count", "max_length", "batch_tokens", "batch_pairs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}; wanted 1 or more.")
        if self.max_ratio is not None and not self.max_ratio >= 1:
            raise ConfigError(f"--max-ratio is {self.max_ratio}; wanted 1 or more.")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is {self.seed}; wanted 0 to {2**32 - 1}.")
        _ = self.dropping  # refuses what is no probability
        if not 0 <= self.piece_dropout < 1:
            raise ConfigError(f"--piece-dropout is {self.piece_dropout}; wanted 0 or more, and below 1.")

    def inputs(self) -> tuple[str, ...]:
        """The names of all files that are read."""
        several = (self.source, self.target, self.dev_source, self.dev_target)
        return (*self.pairs, *self.dev, *(name for name in several if name))

    def dev_files(self) -> PairFiles | None:
        """The files to measure on, if any were named.

        Raises:
            ConfigError: one of two parallel files, or files of both kinds.
        """
        parallel = [self.dev_source, self.dev_target]
        if parallel == [None, None]:
            return replace(self.files(self.dev), source=None, target=None) if self.dev else None
        if self.dev or None in parallel:
            raise ConfigError("to measure on, give --dev PAIRS, or both --dev-source FILE and --dev-target FILE.")
        parallel_files = {"source": self.dev_source, "target": self.dev_target, "next_sentence": False, "split": "line"}
        return replace(self.files(()), format="auto", **parallel_files)

    def toml(self) -> str:
        """Every option, resolved, as RUN/config.toml holds it."""
        return to_toml(self._values())

    def public_toml(self, began_with: str = "") -> str:
        """The same without names of files and folders, for the model file; the model is as in `began_with`, if any."""
        values = {name: value for name, value in self._values().items() if name not in _PRIVATE}
        if "model_type" in values:  # a class of the user's keeps its FILE.py:CLASS, without the folder
            values["model_type"] = Path(self.model_type).name
        values["model"] = _without_folders(self.model)
        if self.from_model is not None:
            before = tomllib.loads(began_with)
            told = values.pop("model")
            values |= {name: before[name] for name in ("model_type", "model") if name in before}
            if "model" in values:
                values["model"] |= told
        return to_toml(values)

    def _values(self) -> dict[str, Any]:
        left_out = ["resume", "config", "preset"]  # they are resolved
        if self.from_model is not None:
            left_out.append("model_type")  # that model has its own
        return {name: value for name, value in to_plain(self).items() if name not in left_out}


def _without_folders(config: Any) -> dict[str, Any]:
    """The options of a model, with classes and files, however deep, by their names alone."""

    def public(value: Any, said: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return _without_folders(value)
        if isinstance(value, type | Path) or (isinstance(value, str) and Path(value).is_absolute()):
            return Path(said).name or said
        if isinstance(value, list | tuple):
            return [public(*both) for both in zip(value, said, strict=True)]
        if isinstance(value, dict):
            return {name: public(value[name], inner) for name, inner in said.items()}
        return said

    return {name: public(getattr(config, name), said) for name, said in to_plain(config).items()}


def check_name(name: str) -> None:
    """Refuse the name of a file that config.toml could not hold.

    Raises:
        ConfigError: it is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{name!a}: this name is not UTF-8, as config.toml must be; rename it, or link to it."
        ) from None


def from_files(
    defaults: TrainOptions[Any],
    files: Sequence[tuple[str, Mapping[str, Any]]],
    preset: str | None,
    but: Collection[str] = (),
    check: bool = True,
) -> TrainOptions[Any]:
    """`defaults`, overridden by the preset and then in turn by what stands in the TOML files of these names.

    What they say of the model's options named in `but` is left aside: it goes for nothing, and a class of the user's
    that is named there may be gone. Without `check` options that do not go together are not refused yet.

    Raises:
        ConfigError: there is no such preset, a line of a file cannot be used, or the preset is for another model.
    """
    if preset:
        path = preset_file(preset)
        values = read_toml(path)
        _refuse_preset_of_another(preset, values, defaults)
        files = [(str(path), values), *files]
    for path, values in files:
        for name in ("resume", "config", "preset"):
            if name in values:
                raise ConfigError(f"{path}: {name} is for the command line, as --{name}; leave it out here.")
        model = values.get("model")
        if "from" in values or (isinstance(model, dict) and "type" in model):
            raise ConfigError(f"{path}: --from is called from_model in a file, and --model.type is model_type.")
        if isinstance(model, dict):
            values = {**values, "model": {name: model[name] for name in model if name.replace("-", "_") not in but}}
        defaults = of_plain(type(defaults), values, path, defaults, check)
    return defaults


def _refuse_preset_of_another(preset: str, values: Mapping[str, Any], defaults: TrainOptions[Any]) -> None:
    """Refuse a preset with options that the model has not, since it is for another."""
    made_for, model = values.get("model_type", "encoder-decoder"), defaults.model_type
    unknown = sorted(set(values.get("model", ())) - {f.name for f in fields(defaults.model)})
    if unknown and model != made_for:
        raise ConfigError(
            f"--preset {preset} is for --model.type {made_for}; {model} has no {', '.join(unknown)}. Leave one of the "
            f"two out; seq2seq train --model.type {model} --help lists its options."
        )


def preset_file(name: str) -> Path:
    """The TOML file of a preset.

    Raises:
        ConfigError: there is none of this name.
    """
    known = sorted(path.stem for path in PRESETS.glob("*.toml"))
    if name not in known:
        raise ConfigError(f"no preset is called {name}; {did_you_mean(name, known) if known else 'there are none.'}")
    return PRESETS / f"{name}.toml"
