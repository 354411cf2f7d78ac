"""`seq2seq chat MODEL...`: a prompt where a line is answered; from a pipe, one answer a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from seq2seq.app.arguments import EnsembleOptions, parse
from seq2seq.app.chat import Chat
from seq2seq.app.decoding import Decoding
from seq2seq.app.pictures.terminal import Screen
from seq2seq.app.rerank import RerankOptions
from seq2seq.app.runtime import state_folder
from seq2seq.app.train import say
from seq2seq.data import BadLineError, Ledger, stream_lines
from seq2seq.data.lines import LONGEST_LINE
from seq2seq.errors import ConfigError, Seq2SeqError

_REMEMBERED = 1000
"""Lines."""


@dataclass(frozen=True)
class ChatOptions(RerankOptions, Decoding, EnsembleOptions):
    """Talk with a model: a line that you type is answered; /help tells more, /quit leaves.

    Lines can be edited, and those of earlier talks come back with the arrow keys. Nothing is prompted for where the
    input is no terminal: one line in, one answer out.
    """

    models: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[MODEL...]")] = ()
    """More models, which answer together."""
    history: bool = True
    """Remember what was typed, in a file of the user's own state folder."""


def main(arguments: Sequence[str]) -> int:
    """Talk."""
    options = parse(ChatOptions, "chat", arguments)
    reranker = options.reranker(options, options.load_one)
    if reranker is None:
        options.check()
    model, rest = options.load_leading(options.models)
    if reranker is not None:
        reranker.check(model)
    if rest:
        raise ConfigError(f"{rest[0]} is no model; chat reads what you type, or a pipe.")
    chat = Chat(model, options, reranker, Screen.of(sys.stdout))
    if not is_typed():
        return _answer_all(chat)
    say("Type a line to be answered; /help tells more, /quit leaves.")
    with remembered(state_folder() / "seq2seq" / "chat_history" if options.history else None):
        _talk(chat)
    return 0


def is_typed() -> bool:
    """Whether somebody types and reads."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _talk(chat: Chat) -> None:
    """Prompt and answer until the end of the input, /quit or Ctrl-C."""
    try:
        while not chat.over:
            try:
                line = input("> ")
                if line.strip() and (said := chat.reply(line)):
                    print(said, flush=True)
            except (Seq2SeqError, UnicodeDecodeError) as error:
                say(f"error: {error}")
    except (EOFError, KeyboardInterrupt):
        print()


def _answer_all(chat: Chat) -> int:
    """An answer for each line; an empty one where there is an error, so that lines stay beside each other."""
    for _, line in stream_lines(sys.stdin.buffer, "standard input", LONGEST_LINE, Ledger()):
        try:
            if isinstance(line, BadLineError):
                raise ConfigError(f"{line}.")
            said = chat.reply(line)
        except Seq2SeqError as error:
            said = ""
            say(f"error: {error}")
        if chat.over:
            break
        print(said, flush=True)
    return 0


@contextmanager
def remembered(path: Path | None) -> Iterator[None]:
    """Line editing where Python has it, with the lines of earlier talks in `path`, where the new ones are kept."""
    try:
        import readline
    except ImportError:  # Windows, whose terminal edits lines itself
        yield
        return
    readline.clear_history()
    readline.set_history_length(_REMEMBERED)
    if path is None:
        yield
        return
    try:
        if path.is_file():
            readline.read_history_file(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # what is typed is nobody else's business
    except OSError as error:
        say(f"note: {path} cannot be used ({error.strerror or error}); lines are not remembered.")
        yield
        return
    before = readline.get_current_history_length()
    try:
        yield
    finally:
        with suppress(OSError):  # a full disk is no reason to end badly
            if hasattr(readline, "append_history_file"):  # which keeps what another talk has written meanwhile
                readline.append_history_file(readline.get_current_history_length() - before, path)
            else:
                readline.write_history_file(path)
