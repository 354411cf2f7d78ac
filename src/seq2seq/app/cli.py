"""The command line: `seq2seq COMMAND`. Each command is a module of `commands/`, imported when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from seq2seq.core.streams import lasting
from seq2seq.errors import ConfigError, Seq2SeqError, did_you_mean

_MOST_SAID = 500  # characters of an error that is not ours

COMMANDS = {
    "train": "train a model on pairs of text",
    "generate": "generate an output for each line of input",
    "score": "log p(target | source) of each pair, or of each line of a Moses phrase table",
    "rescore": "add log p(hypothesis | source) to a Moses n-best list, and reorder it",
    "evaluate": "loss, errors, BLEU and chrF on pairs, and whether the model listens to the source",
    "distill": "train a student on what a model or an ensemble says",
    "embed": "one vector for each line of input",
    "plot": "pictures: the curves of a run, or where a model looks in a text",
    "chat": "talk with a model, line by line",
    "serve": "a page, and a JSON interface, over one model or several",
    "inspect": "what is in a model file",
    "demo": "train a small model on a corpus that comes along: kjv or g2p",
}
USAGE = """usage: seq2seq COMMAND [OPTIONS]

Encoder-decoder recurrent networks on pairs of text, on JAX.

{commands}

seq2seq COMMAND --help tells the options of a command; --debug shows where an error comes from.
Two commands to begin with:
  seq2seq train pairs.tsv --out run --minutes 10
  echo "some input" | seq2seq generate run"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 if all went well, 2 for an error in input or options, 130 after Ctrl-C and
    143 after SIGTERM."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    _set_streams()
    told_on, sys.stderr = sys.stderr, lasting(sys.stderr)
    try:
        code = _run(words)
        sys.stdout.flush()  # what cannot be written is told now; at its end Python would say so in its own words
        return code
    except Seq2SeqError as error:
        if debug:
            raise
        return _told(f"error: {error}", 2)
    except KeyboardInterrupt as stop:
        numbers = (value for value in stop.args if isinstance(value, int))  # of another signal that training heard
        return _told("interrupted", 128 + next(numbers, signal.SIGINT))
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough
    except OSError as error:
        if os.name == "nt" and error.errno == errno.EINVAL and error.filename is None:
            return 0  # which is what a broken pipe is there
        if debug:
            raise
        return _told(f"error: {error.filename or 'input or output'}: {error.strerror or error}.", 2)
    except MemoryError as error:
        if debug:
            raise
        return _told(f"error: out of memory; a smaller --batch-tokens, --batch or --beam needs less. {error}", 2)
    except Exception as error:  # the one edge where nothing may pass: a bug, of ours or of a user's cell
        if debug:
            raise
        return _told(f"error: {_in_one_line(error)}; --debug shows the way there.", 2)
    finally:
        sys.stderr = told_on
        _leave_off()


def _set_streams() -> None:
    """Read and write UTF-8, whatever the system's own; what was closed before we began leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for as long as we run)
    # A name may be no UTF-8.
    for stream, errors in ((sys.stdin, "strict"), (sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _told(text: str, code: int) -> int:
    """The exit status, after a line on standard error, if anybody reads that."""
    print(text, file=sys.stderr, flush=True)
    return code


def _leave_off() -> None:
    """Point an output that cannot be written to nowhere: Python flushes it once more at its end, and would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _in_one_line(error: Exception) -> str:
    """What happened, and where in the user's own code, or else in ours."""
    ours = str(Path(__file__).parents[1])
    frames = list(reversed(traceback.extract_tb(error.__traceback__)))
    of_ours = [frame for frame in frames if frame.filename.startswith(ours + os.sep)]  # in site-packages, if installed
    not_users = ("site-packages", sysconfig.get_path("stdlib"))
    of_users = [frame for frame in frames if frame not in of_ours and not any(n in frame.filename for n in not_users)]
    where = [*of_users, *of_ours, *frames][0]
    said = " ".join(str(error).split()).rstrip(".") or "no message"
    said = said if len(said) <= _MOST_SAID else said[:_MOST_SAID].rstrip() + " ..."
    return f"{Path(where.filename).name}:{where.lineno}: {type(error).__name__}: {said}"


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(USAGE.format(commands="\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items())))
        return 0
    if words[0] == "--version":
        from importlib import metadata

        print(metadata.version("seq2seq-jax"))
        return 0
    if words[0] not in COMMANDS:
        raise ConfigError(f"no command is called {words[0]}; {did_you_mean(words[0], COMMANDS)}")
    command = importlib.import_module(f"seq2seq.app.commands.{words[0]}")
    try:
        return command.main(words[1:])
    except SystemExit as end:  # of tyro, after --help or a wrong option; or of a file of the user's, with a word
        return _told(end.code, 1) if isinstance(end.code, str) else int(end.code or 0)


if __name__ == "__main__":
    sys.exit(main())
