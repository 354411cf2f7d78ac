"""One line of a file -> one pair: a parser for each format, and the guess which one a file needs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from seq2seq.data.inflection import inflection_source
from seq2seq.data.lines import BadLineError, check_text

LineFormat: TypeAlias = Literal["tsv", "sigmorphon", "jsonl", "scan", "parquet"]
_PACKED = (".gz", ".zst")
_CSV = re.compile(r"[^,;\s]+[,;][^,;\s][^,;]*")
_JSON = re.compile(r'\{ *"')
_SCAN = re.compile(r"IN: (.*?) OUT: (.*)")
_FEATURES = re.compile(r"[^\s,;]+([,;][^\s,;]+)+|[^\s,;=]+=[^\s,;=]+")


class Pair(NamedTuple):
    """A source, its target, and the document they come from ("" where there is none)."""

    source: str
    target: str
    document: str = ""


def parse_tsv(line: str) -> Pair:
    """`source TAB target`."""
    columns = line.split("\t")
    if len(columns) == 1:
        if _CSV.fullmatch(line):
            raise BadLineError("no TAB", "this looks like CSV; write it with TABs (TSV), in UTF-8")
        raise BadLineError(
            "no TAB",
            "write source TAB target, with a TAB character and not with spaces; plain text, of which each line is to "
            "predict the next, needs --next-sentence",
        )
    if len(columns) > 2:
        more = "; if they are lemma, features and form, say --format sigmorphon" if len(columns) == 3 else ""
        cure = f"keep two of them, such as by cut -f1,2{more}"
        raise BadLineError("extra column", f"{len(columns)} columns where source TAB target has 2; {cure}")
    return Pair(*columns)


def parse_sigmorphon(line: str) -> Pair:
    """`lemma TAB features TAB form`: the source is the lemma and its features as symbols, the target the form."""
    columns = line.split("\t")
    if len(columns) != 3:
        raise BadLineError("not three columns", f"{len(columns)} where lemma TAB features TAB form has 3")
    if not all(columns):
        raise BadLineError("empty side", "lemma, features and form must each hold text")
    _check_order(*columns[1:])
    return Pair(inflection_source(columns[0], columns[1]), columns[2])


def _check_order(features: str, form: str) -> None:
    if _FEATURES.fullmatch(form) and not _FEATURES.fullmatch(features):
        raise BadLineError("columns in another order", "features last; write lemma TAB features TAB form")


def parse_jsonl(line: str) -> Pair:
    """`{"source": ..., "target": ...}`, with a "document" or without; other keys are left alone."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLineError("not JSON", f"{error}; write one object a line") from None
    if not isinstance(fields, dict):
        raise BadLineError("not a JSON object", 'write {"source": ..., "target": ...}')
    document = fields.get("document")
    values = [fields.get("source"), fields.get("target"), "" if document is None else document]
    for name, value in zip(Pair._fields, values, strict=True):
        if not isinstance(value, str):
            raise BadLineError("missing or not text", f'"{name}" must be a string in {{"source": ..., "target": ...}}')
    check_text(values[2], len(values[2]))
    return Pair(*values)


def parse_scan(line: str) -> Pair:
    """`IN: source OUT: target`, as the SCAN data is written."""
    match = _SCAN.fullmatch(line)
    if match is None:
        raise BadLineError("not IN: ... OUT: ...", "write IN: source OUT: target, or name another --format")
    return Pair(match[1], match[2])


PARSERS: dict[LineFormat, Callable[[str], Pair]] = {
    "tsv": parse_tsv,
    "sigmorphon": parse_sigmorphon,
    "jsonl": parse_jsonl,
    "scan": parse_scan,
}


def guess_format(path: Path, first_line: str) -> LineFormat:
    """The format of a file, from its name and its first line.

    Three columns are lemma, features, form only where the middle one looks like features; else they are an error later.

    Example:
        >>> guess_format(Path("german-task1-dev"), "aalen\\tpos=V,tense=PST\\tgeaalt")
        'sigmorphon'
    """
    suffix = path.with_suffix("").suffix if path.suffix in _PACKED else path.suffix
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if _SCAN.fullmatch(first_line):
        return "scan"
    columns = first_line.split("\t")
    if len(columns) == 3 and _FEATURES.fullmatch(columns[1].strip()):
        return "sigmorphon"
    return "jsonl" if _JSON.match(first_line) and "\t" not in first_line else "tsv"


def source_of_line(line: str, corpus_format: str) -> str:
    """The source in one line of input to a trained model: the source as it stood in the training file.

    `corpus_format` is `Corpus.format`; only "sigmorphon" rewrites the line: `lemma TAB features`, which a form may
    follow, becomes symbols.

    Raises:
        BadLineError: the line of an inflection model has no features, or a form before them.

    Example:
        >>> source_of_line("Fest\\tpos=N,num=PL", "sigmorphon")
        'F e s t +pos=N +num=PL'
        >>> source_of_line("Fest", "tsv")
        'Fest'
    """
    if corpus_format != "sigmorphon":
        return line.strip()
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) not in (2, 3) or not all(columns[:2]):
        raise BadLineError("no features", "this model inflects: write lemma TAB features")
    if len(columns) == 3:
        _check_order(*columns[1:])
    return inflection_source(columns[0], columns[1])
