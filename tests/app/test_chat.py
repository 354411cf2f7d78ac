"""`seq2seq chat`: answers as `generate` has them, commands, errors that do not end the talk, lines remembered."""

from __future__ import annotations

import builtins
import io
import sys
from pathlib import Path

import pytest

import seq2seq
from seq2seq import Decoding, Reranker
from seq2seq.app import demands
from seq2seq.app.chat import COMMANDS, HELP, Chat
from seq2seq.app.cli import main
from seq2seq.app.commands import chat as command
from seq2seq.app.pictures.terminal import Screen, heat_map
from seq2seq.errors import ConfigError, ModuleError, SearchError


@pytest.fixture(scope="module")
def model(trained):
    return seq2seq.load(trained)


def test_a_pipe_gives_one_answer_a_line(run, trained, model):
    ran = run("chat", trained, stdin=b"abc\n\nfed\n")
    assert ran.code == 0 and ">" not in ran.out + ran.err
    best = model.generate(["abc", "fed"])
    assert ran.out.split("\n") == [best[0], "", best[1], ""]


def test_an_error_in_a_line_is_told_and_the_talk_goes_on(run, trained, model):
    ran = run("chat", trained, stdin=b"abc\n/scor cba\na\0b\n" + b"a" * 30_000 + b"\n\xff\n//\nabc\n/quit\nabc\n")
    best = model.generate(["abc", "/"])
    assert ran.code == 0
    assert ran.out.split("\n") == [best[0], "", "", "", "", best[1], best[0], ""]
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4 and "no command is called /scor; did you mean score" in errors[0]


def test_commands(trained, model):
    chat = Chat(model, seq2seq.Decoding(), screen=Screen(70))
    for early in ("/attention", "/score x"):
        with pytest.raises(ConfigError, match="type"):
            chat.reply(early)
    best = model.hypotheses(["abc"], attention=True)[0][0]
    assert chat.reply("abc") == best.text
    assert chat.reply("/attention") == heat_map(best.attention, best.source_tokens, best.tokens, Screen(70))
    total, _, rest = chat.reply("/score cba").partition(" nats, ")
    assert float(total) == pytest.approx(model.score([("abc", "cba")])[0], abs=1e-3)
    assert [part.split()[0] for part in rest.partition(":  ")[2].split("  ")] == ["c", "b", "a", "<end>"]
    assert (chat.reply("/nbest"), chat.reply("/nbest 3"), chat.reply("/nbest")) == ("/nbest is 1", *["/nbest is 3"] * 2)
    lines = chat.reply("abc").splitlines()
    assert len(lines) == 3 and lines[0].split()[0] == "1"
    for bad, error in (
        ("/nbest 6", SearchError),
        ("/beam 2", SearchError),
        ("/beam 0", SearchError),
        ("/beam x", ConfigError),
    ):
        with pytest.raises(error):
            chat.reply(bad)
    assert (chat.decoding.beam, chat.decoding.nbest) == (5, 3)
    with pytest.raises(ConfigError, match="/beam is for a search"):
        Chat(model, Decoding(sample=True)).reply("/beam 8")
    assert chat.reply("/help") == HELP and all(f"/{name}" in HELP for name in COMMANDS)
    assert chat.reply("/quit") == "" and chat.over


def test_a_line_whose_attention_would_be_too_large_is_answered_without(model, monkeypatch):
    chat = Chat(model, Decoding())
    answer = chat.reply("abc")
    monkeypatch.setattr(demands, "_MOST_WEIGHTS", 1)
    assert chat.reply("abc") == answer
    with pytest.raises(ModuleError, match="gives no attention of this line"):
        chat.reply("/attention")


def test_a_wider_beam_gives_more_to_choose_among(model):
    chat = Chat(model, Decoding(), Reranker(weight=0.5).among_those_of(Decoding()))
    assert chat.reply("/beam 8") and chat.reply("/nbest 8")
    assert chat.reranker and chat.reranker.candidates == 8
    with pytest.raises(SearchError, match="here is 1"):
        Chat(model, Decoding(), Reranker(weight=0.5).among_those_of(Decoding())).reply("/beam 1")
    own = Chat(model, Decoding(beam=1), Reranker(candidates=20))
    assert own.reply("/beam 8") and own.reranker and own.reranker.candidates == 20
    fixed = Chat(model, Decoding(candidates=4), Reranker(weight=0.5, candidates=4))
    assert fixed.reply("/beam 8") and fixed.reranker and fixed.reranker.candidates == 4


def typing(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> list[str]:
    """Somebody at a terminal who types these lines; gives the prompts that they see."""
    prompts, left = list[str](), iter(lines)

    def read(prompt: str) -> str:
        prompts.append(prompt)
        line = next(left)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr(command, "is_typed", lambda: True)
    monkeypatch.setattr(builtins, "input", read)
    return prompts


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt, "/quit"])
def test_typed_lines_are_prompted_for_and_every_end_is_polite(run, trained, model, monkeypatch, end):
    prompts = typing(monkeypatch, "abc", "", "/nbset 3", end)
    ran = run("chat", trained, "--no-history")
    assert ran.code == 0 and ran.out.rstrip("\n") == model.generate(["abc"])[0]
    assert prompts == ["> "] * 4
    assert "did you mean nbest" in ran.err and "Traceback" not in ran.err


def test_what_is_typed_is_utf8_whatever_the_locale(monkeypatch):
    typed = io.TextIOWrapper(io.BytesIO("né\n".encode()), encoding="ascii", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", typed)
    assert main(["--version"]) == 0 and input() == "né"


def test_lines_are_remembered_in_the_users_own_folder(run, trained, monkeypatch, tmp_path):
    readline = pytest.importorskip("readline")
    file = tmp_path / "state" / "history"
    with command.remembered(file):
        readline.add_history("abc")
    with command.remembered(file):
        assert readline.get_history_item(1) == "abc"
        with file.open("a") as beside:  # another talk, which ended meanwhile
            beside.write("of the other\n")
        readline.add_history("of this one")
    assert file.read_text().splitlines()[-3:] == ["abc", "of the other", "of this one"]
    assert file.stat().st_mode & 0o077 == 0
    with command.remembered(None):
        assert readline.get_current_history_length() == 0
    monkeypatch.setattr(command, "state_folder", lambda: tmp_path / "other")
    for option, kept in (("--no-history", False), ("--history", True)):
        typing(monkeypatch, EOFError)
        assert run("chat", trained, option).code == 0
        assert Path(tmp_path, "other", "seq2seq", "chat_history").exists() == kept


def test_a_folder_that_cannot_be_written_is_told(tmp_path, capsys):
    pytest.importorskip("readline")
    (tmp_path / "file").write_text("")
    with command.remembered(tmp_path / "file" / "history"):
        pass
    assert "lines are not remembered" in capsys.readouterr().err


def test_what_is_no_model_is_refused(fails, trained):
    assert "other.txt is no model; chat reads what you type" in fails("chat", trained, "other.txt")
    assert "needs --beam 9" in fails("chat", trained, "--nbest", 9)
