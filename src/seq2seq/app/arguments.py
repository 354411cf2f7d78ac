"""From the words of the command line to typed options, by tyro; what several commands share."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from seq2seq.app.called import program, quoted
from seq2seq.app.names import class_name, named_class, names_class
from seq2seq.app.options import Types
from seq2seq.app.runtime import use_threads
from seq2seq.app.text_model import TextModel, model_file
from seq2seq.app.user_code import beside, known_classes, trusted_classes
from seq2seq.data import BadLineError, Ledger, stream_lines
from seq2seq.data.lines import LONGEST_LINE, check_file, read_lines
from seq2seq.errors import ConfigError, DataError, Seq2SeqError, UnknownClassError, did_you_mean
from seq2seq.search.ensemble import Mean

T = TypeVar("T")
ModelPath: TypeAlias = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
Models: TypeAlias = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL...")]
Inputs: TypeAlias = Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[INPUT]")]
Input: TypeAlias = Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[INPUT]")]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and the classes of yours that it needs."""

    model: ModelPath
    """A model.npz, or the folder of a run."""
    types: Types = ()
    """A class of yours that the model holds."""
    trust_code: bool = False
    """Import such classes from RUN/code, where train copied them. They are code, and they run."""

    def load(self) -> TextModel:
        """The model."""
        return self.load_one(self.model)

    def load_one(self, path: str) -> TextModel:
        """The model in `path`, a file or a folder."""
        use_threads()
        types = known_classes(self.types)
        try:
            return TextModel.load(path, types)
        except UnknownClassError:
            if not self.trust_code:
                raise
        return TextModel.load(path, beside(types, trusted_classes(model_file(path).parent)))


@dataclass(frozen=True)
class EnsembleOptions(ModelOptions):
    """Which models, to be used as one; the words after the first are split by `load_leading`."""

    model: Models
    """A model.npz, or the folder of a run. Several, of the same tokens, are an ensemble: their mean predicts."""
    ensemble_mean: Mean = "probabilities"
    """Several models: what of their predictions is averaged."""

    def leading(self, words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
        """The model and the models that `words` begin with; and the other words.

        Raises:
            ConfigError: a model stands after another word.
        """
        count = next((index for index, word in enumerate(words) if not is_model(word)), len(words))
        rest = tuple(words[count:])
        if late := [word for word in rest if is_model(word)]:
            raise ConfigError(f"{late[0]} is a model, but stands after {rest[0]}, which is none: models come first.")
        return [self.model, *words[:count]], rest

    def load_leading(self, words: Sequence[str]) -> tuple[TextModel, tuple[str, ...]]:
        """The model, or the ensemble of it and of the models that `words` begin with; and the other words.

        Raises:
            ConfigError: a model stands after another word, the members do not agree, or there is but one to average.
        """
        names, rest = self.leading(words)
        if len(names) == 1 and self.ensemble_mean != EnsembleOptions.ensemble_mean:
            raise ConfigError("--ensemble-mean is for several models; there is one.")
        models = [self.load_one(name) for name in names]
        return TextModel.ensemble(models, self.ensemble_mean, names=names), rest


def is_model(word: str) -> bool:
    """Whether a word of the command line names a model: a folder with a model.npz, or a file that is an archive."""
    path = Path(word)
    try:
        if path.is_dir():
            return (path / "model.npz").is_file()
        return path.is_file() and (path.suffix == ".npz" or zipfile.is_zipfile(path))
    except OSError:  # such as a text in the place of a name, which is too long for one
        return False


def refuse_more_models(command: str, words: Sequence[str | None]) -> None:
    """Refuse a second model where a command takes one.

    Raises:
        ConfigError: one of the `words` after the first model is a model.
    """
    if more := [word for word in words if word is not None and is_model(word)]:
        raise ConfigError(f"{command} takes one model; {more[0]} is another.")


def parse(cls: type[T], command: str, arguments: Sequence[str], default: T | None = None) -> T:
    """The options of a command. An unknown one ends the program with exit code 2, naming the nearest known ones."""
    options: dict[str, Any] = {} if default is None else {"default": default}
    if isinstance(cls, type) and issubclass(cls, EnsembleOptions):  # not TrainOptions[...], which is no class
        arguments = gathered(cls, arguments)
    return tyro.cli(
        cls, prog=f"seq2seq {command}", args=list(arguments), registry=_REGISTRY, compact_help=False, **options
    )


def gathered(cls: type, arguments: Sequence[str]) -> list[str]:
    """The words that are no options first: `A B --beam 3 INPUT` as `A B INPUT --beam 3`, one list without a gap in it.

    Example:
        >>> from seq2seq.app.commands.generate import GenerateOptions
        >>> gathered(GenerateOptions, ["A", "--json", "B", "--beam", "3", "--nbest=2", "-"])
        ['A', 'B', '-', '--json', '--beam', '3', '--nbest=2']
    """
    flags = {name.replace("_", "-") for name, hint in get_type_hints(cls).items() if hint is bool} | {"help", "h"}
    words: list[str] = []
    options: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        options.append(word)
        name = word.lstrip("-").replace("_", "-")
        if "=" not in word and name not in flags and name.removeprefix("no-") not in flags:
            options += [value for value in [next(rest, None)] if value is not None]
    return words + options


def read_input(path: str | None) -> Iterator[tuple[int, str]]:
    """The lines of a file, a pipe or standard input, numbered from 1.

    Raises:
        DataError: a line is not UTF-8, holds a NUL, or is longer than 20,000 characters.
    """
    ledger = Ledger()
    for number, line in input_lines(path, ledger):
        if isinstance(line, BadLineError):
            raise DataError(f"{line}.", input_name(path), number)
        yield number, line
    for note in ledger.notes:
        print(f"note: {note}", file=sys.stderr)


def input_lines(
    path: str | None, ledger: Ledger, max_line: int = LONGEST_LINE
) -> Iterator[tuple[int, str | BadLineError]]:
    """The same, each its text or what is wrong with it, of which the caller tells the ledger.

    Raises:
        DataError: the file cannot be read, or is UTF-16.
    """
    if path in (None, "-"):
        return stream_lines(sys.stdin.buffer, input_name(path), max_line, ledger)
    cure = f"INPUT is a file of lines; for a text: echo {quoted(str(path))} | {program()} COMMAND MODEL"
    check_file(str(path), cure, once=True, may_be_empty=True)  # as standard input may be
    return read_lines(Path(str(path)), max_line, ledger, may_be_empty=True)


def input_name(path: str | None) -> str:
    """What messages call a file, or standard input."""
    return "standard input" if path in (None, "-") else str(path)


def in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many; where an error of ours ends the items, those before it come out first.

    Example:
        >>> list(in_chunks("abc", 2))
        [['a', 'b'], ['c']]
    """
    rest = iter(items)
    failure: Seq2SeqError | None = None
    while failure is None:
        chunk: list[T] = []
        try:
            chunk.extend(islice(rest, size))  # keeps what came before an error
        except Seq2SeqError as error:
            failure = error
        if chunk:
            yield chunk
        elif failure is None:
            return
    raise failure


def _optional_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`--patience 5` and `--patience None`, which help shows as a number."""
    inner = [kind for kind in get_args(info.type) if kind is not NoneType]
    if get_origin(info.type) not in (Union, UnionType) or len(inner) != 1 or inner[0] not in (int, float, str):
        return None
    kind = inner[0]
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=lambda words: None if words[0] == "None" else kind(words[0]),
        is_instance=lambda value: value is None or isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def _words_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`--optimizer.freeze encoder decoder.cell`, which help shows as names."""
    appended = tyro.conf.UseAppendAction in info.markers  # each has an option of its own
    if appended or get_origin(info.type) is not tuple or get_args(info.type) != (str, Ellipsis):
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME...",
        instance_from_str=tuple,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=list,
    )


def _class_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`--model.cell gru` and `--model.cell my_cell.py:MyCell`."""
    if get_origin(info.type) is not type:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME|FILE.py:CLASS",
        instance_from_str=lambda words: named_class(words[0], get_args(info.type)[0]),
        is_instance=lambda value: isinstance(value, type),
        str_from_instance=lambda cls: [class_name(cls)],
    )


def _word_or_class_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`--model.attention dot` and `--model.attention my_attention.py:MyAttention`."""
    kinds = {get_origin(kind): kind for kind in get_args(info.type)}
    if get_origin(info.type) not in (Union, UnionType) or kinds.keys() != {Literal, type}:
        return None
    words, kind = get_args(kinds[Literal]), get_args(kinds[type])[0]

    def read(given: list[str]) -> Any:
        if given[0] in words:
            return given[0]
        if names_class(given[0], kind):
            return named_class(given[0], kind)
        raise ConfigError(f"{given[0]!r} is unknown; {did_you_mean(given[0], words)} Yours is my_file.py:MyClass.")

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join([*words, "FILE.py:CLASS"]),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, type) or value in words,
        str_from_instance=lambda value: [class_name(value) if isinstance(value, type) else value],
    )


def _scale_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`--optimizer.scale encoder=0.1 decoder.cell=0.5`."""
    if get_origin(info.type) is not dict or get_args(info.type) != (str, float):
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=FACTOR",
        instance_from_str=lambda words: dict(map(_factor, words)),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda values: [f"{name}={factor}" for name, factor in values.items()],
    )


def _factor(word: str) -> tuple[str, float]:
    name, equals, factor = word.partition("=")
    try:
        if name and equals:
            return name, float(factor)
    except ValueError:
        pass
    raise ConfigError(f"{word!r}: wanted NAME=FACTOR, such as encoder=0.1.")


_REGISTRY = ConstructorRegistry()
_REGISTRY.primitive_rule(_optional_rule)
_REGISTRY.primitive_rule(_words_rule)
_REGISTRY.primitive_rule(_class_rule)
_REGISTRY.primitive_rule(_word_or_class_rule)
_REGISTRY.primitive_rule(_scale_rule)
