"""Coverage-guided fuzzing (atheris, libFuzzer) of everything that reads what others wrote.

    seq2seq train pairs.tsv --out tiny --model.hidden 8 --model.embedding 4 --updates 1
    python -m benchmarks.fuzz --minutes 60 --model tiny/model.npz

gives each target its share of the minutes, in a process of its own. A target takes bytes; whatever they are, it may
only end well or with an error of ours. Inputs that do otherwise stay in OUT/TARGET and the exit code is 1; put them
into `tests/faults/cases/TARGET`, where a test tries them again for ever. It is 1 too if a target did not run, or not to
its end. `pip install atheris` first; it is no dependency.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

Target: TypeAlias = Callable[[bytes, Path], None]
"""Bytes, and a file that may be written; raises what is a fault."""

_LONGEST = 40_000
"""Bytes of an input; libFuzzer reads no more of a seed."""
PAIRS = "a\tb\nhello world\tgood bye\n"
SEEDS: dict[str, list[bytes]] = {
    "tsv": [PAIRS.encode(), b"\xef\xbb\xbfa\tb\r\n"],
    "sigmorphon": [b"Fest\tpos=N,num=PL\tFeste\n", b"a b\tx;y\tc\n"],
    "jsonl": [b'{"source": "a", "target": "b", "document": "c"}\n', b'{"source": "\\ud800"}\n'],
    "scan": [b"IN: jump twice OUT: I_JUMP I_JUMP\n"],
    "text": [b"one. two, three.\n\nfour; five!\nsix\n"],
    "packed": [gzip.compress(PAIRS.encode(), mtime=0)],
    "parquet": [b"PAR1"],
    "tokenizer": [
        b'{"format": 1, "kind": "word", "tokenizer": {"version": "1.0", "truncation": null, "padding": null, '
        b'"added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": " "}, '
        b'"post_processor": null, "decoder": null, "model": {"type": "WordLevel", "vocab": {"< pad >": 0, '
        b'"< unknown >": 1, "< begin >": 2, "< end >": 3, "a": 4}, "unk_token": "< unknown >"}}}',
        b'{"format": 1, "kind": "word", "tokenizer": {}}',
    ],
    "config": [
        b'seed = 2\nvocabulary = "None"\n[model]\ncell = "gru"\nhidden = 8\n[optimizer]\nfreeze = ["encoder"]\n'
    ],
    "phrases": [b"das haus ||| the house ||| 0.5 0.25 ||| 0-0 1-1\n"],
    "nbest": [b"0 ||| the house ||| LM= -1.5 ||| -3.25\n"],
    "line": ["grün \u202e\u0301 \U0001f600 \ufeff".encode()],
    "header": [
        b'{"format": 1, "leaves": {}, "texts": {}, "model": {"class": "seq2seq.nn.recurrent.Stack", '
        b'"static": {"residual": false}, "fields": {"cells": {"tuple": []}}}}',
        b'{"format": 1, "leaves": {}, "texts": {}, "text": {"target_longest": 9}, "provenance": {}, "model": {}}',
    ],
    "model": [],
}


def pairs_of(how: dict[str, Any]) -> Target:
    """Reads a file of pairs, bad lines as errors and then skipped."""

    def target(data: bytes, file: Path) -> None:
        from seq2seq.data import PairFiles, read_pairs

        file.write_bytes(data)
        for skip in (False, True):
            with ours():
                read_pairs(PairFiles((str(file),), skip_bad=skip, max_line=200, **how))

    return target


def tokenizer(data: bytes, file: Path) -> None:
    """A tokenizer from a text, and what it makes of texts."""
    from seq2seq.data import Tokenizer

    with ours(UnicodeDecodeError):
        read = Tokenizer.from_json(data.decode())
        read.decode(read.encode("hello grün"))


def config(data: bytes, file: Path) -> None:
    """A TOML file of options."""
    from seq2seq.app.options import TrainOptions, from_files
    from seq2seq.app.plain import read_toml

    file.write_bytes(data)
    with ours():
        from_files(TrainOptions(), [(str(file), read_toml(file))], None).toml()


def phrases(data: bytes, file: Path) -> None:
    """A line of a phrase table."""
    from seq2seq.data.moses import Phrase

    with ours():
        Phrase.parse(data).with_score(0.5)


def nbest(data: bytes, file: Path) -> None:
    """A line of an n-best list."""
    from seq2seq.data.moses import NBestLine

    with ours():
        NBestLine.parse(data)


def line(data: bytes, file: Path) -> None:
    """A text through every kind of tokenizer: bytes come back, and nothing becomes a special token."""
    from seq2seq.data import BEGIN, END, KINDS, PAD, UNKNOWN, Tokenizer
    from seq2seq.data.tokenizer import FORMS

    text = data.decode("utf-8", errors="ignore")
    for kind, form in product(KINDS, FORMS):
        if kind in ("bpe", "unigram"):
            made = _TOKENIZERS.get((kind, form)) or Tokenizer.train(kind, [PAIRS] * 3, vocabulary=300, form=form)
            _TOKENIZERS[kind, form] = made
        else:
            made = Tokenizer.train(kind, [PAIRS, text], vocabulary=10_000, form=form)
        ids, said = made.encode(text), made.said(text)
        if {PAD, BEGIN, END} & set(ids):
            raise AssertionError(f"{kind}: {text!r} has a special token")
        if UNKNOWN in ids or made.decode(ids) != said:
            raise AssertionError(f"{kind}, {form}: {said!r} comes back as {made.decode(ids)!r}")


_TOKENIZERS: dict[tuple[str, str], Any] = {}


def model(data: bytes, file: Path) -> None:
    """A model file."""
    from seq2seq.app.text_model import TextModel

    file.write_bytes(data)
    with ours():
        TextModel.load(file)


def header(data: bytes, file: Path) -> None:
    """The header of a model file, whose checksum is right whatever it says."""
    from benchmarks.mutations import signed
    from seq2seq.app.text_model import TextModel
    from seq2seq.models.model import load_model

    file.write_bytes(signed({}, data))
    for load in (load_model, TextModel.load):
        with ours():
            load(file)


TARGETS: dict[str, Target] = {
    **{name: pairs_of({"format": name}) for name in ("tsv", "sigmorphon", "jsonl", "scan")},
    "text": pairs_of({"next_sentence": True, "split": "clause"}),
    "packed": pairs_of({"format": "tsv"}),
    "parquet": pairs_of({"format": "parquet"}),
    **{target.__name__: target for target in (tokenizer, config, phrases, nbest, line, header, model)},
}


@contextlib.contextmanager
def ours(*more: type[Exception]) -> Any:
    """Lets our own errors pass, if they say something in one line."""
    from seq2seq.data import BadLineError
    from seq2seq.errors import Seq2SeqError

    try:
        yield
    except (Seq2SeqError, BadLineError) as error:
        if not str(error).strip() or "\n" in str(error):
            raise AssertionError(f"an error that is not one line: {str(error)!r}") from error
    except more:
        pass


def fuzz(name: str, out: Path, seconds: int) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    ours = ["seq2seq.data", "seq2seq.core.archive", "seq2seq.core.header", "seq2seq.core.skeleton", "seq2seq.app.plain"]
    with atheris.instrument_imports(include=[*ours, "zipfile"]):
        import seq2seq.app.options
        import seq2seq.app.text_model
        import seq2seq.data.moses  # noqa: F401

    file = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / f"input.{name}"
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=30",
        "-rss_limit_mb=6000",
        f"-max_len={_LONGEST}",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], str(out / "corpus"), f"-artifact_prefix={out}/", *limits], lambda b: TARGETS[name](b, file)
    )
    atheris.Fuzz()


def run(name: str, out: Path, seconds: int, sound: Path | None) -> dict[str, Any]:
    """Fuzz one target in a process of its own."""
    (out / "corpus").mkdir(parents=True, exist_ok=True)
    seeds = SEEDS[name] + ([sound.read_bytes()] if name == "model" and sound else [])
    for number, seed in enumerate(seeds):
        (out / "corpus" / f"seed-{number}").write_bytes(seed)
    command = [sys.executable, "-m", "benchmarks.fuzz", "--run", name, "--out", str(out), "--seconds", str(seconds)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    faults = sorted(path.name for path in out.iterdir() if path.is_file() and not path.name.startswith("slow-unit"))
    return {
        "seconds": time.monotonic() - began,
        "inputs": int(executed[1]) if executed else 0,
        "covered": int(covered[-1]) if covered else 0,
        "faults": len(faults),
        "code": done.returncode,
        "said": "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["killed"])[-1][:200],
    }


def main() -> None:
    """The series."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all targets together (default 60)")
    parser.add_argument("--targets", help=f"some of {', '.join(TARGETS)} (default all)")
    parser.add_argument("--model", type=Path, help="a sound model.npz to begin with; without, `model` is left out")
    parser.add_argument("--out", type=Path, default=Path(".bench/fuzz"), help="where corpora and faults stay")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        fuzz(options.run, options.out, options.seconds)
        return
    if options.model and options.model.stat().st_size > _LONGEST:
        parser.error(
            f"--model {options.model} has {options.model.stat().st_size:,} bytes, of which {_LONGEST:,} would be read: "
            "train one with --model.hidden 8 --model.embedding 4 on pairs of few letters."
        )
    from benchmarks.table import Table

    table, faults, unfinished = Table(options.json), 0, []
    names = [name for name in TARGETS if name != "model" or options.model]
    if options.targets is not None:
        names = options.targets.split(",")
        if unknown := [name for name in names if name not in TARGETS]:
            parser.error(f"--targets {unknown[0]}: wanted some of {', '.join(TARGETS)}")
        if "model" in names and not options.model:
            parser.error("--targets model: give a sound model.npz by --model")
    for name in names:
        found = run(name, options.out / name, max(1, round(60 * options.minutes / len(names))), options.model)
        faults += found["faults"]
        unfinished += [name] * (found["code"] != 0 or found["inputs"] == 0)
        table.row("fuzz", name, found)
    print(json.dumps({"faults": faults, "unfinished": unfinished}), file=sys.stderr)
    sys.exit(1 if faults or unfinished else 0)


if __name__ == "__main__":
    main()
