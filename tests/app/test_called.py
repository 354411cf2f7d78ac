"""The commands that are named as the next ones run, whatever the PATH and the name of the folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import seq2seq
from seq2seq.app.called import program, quoted

SCRIPT = """#!{python}
import sys
from pathlib import Path
from seq2seq.app.cli import main
from seq2seq.app.commands.demo import _next

sys.exit(_next(Path("my run"), "abc") if sys.argv[1] == "demo" else main())
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A `seq2seq` that is not on the PATH, as that of an environment that is not activated."""
    made = tmp_path / ".venv" / "bin" / "seq2seq"
    made.parent.mkdir(parents=True)
    made.write_text(SCRIPT.format(python=sys.executable))
    made.chmod(0o755)
    return made


def test_a_bug_is_one_line_also_where_the_package_is_installed(tmp_path):
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "seq2seq").symlink_to(Path(seq2seq.__file__).parent)
    code = "import seq2seq.app.commands.inspect as i, seq2seq.app.cli as c; i.parse = 3; exit(c.main(['inspect']))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site-packages")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2 and ran.stderr.startswith("error: inspect.py:") and ran.stderr.count("\n") == 1


def test_the_program_is_called_as_it_was_unless_the_path_has_it(script, tmp_path, monkeypatch):
    other = tmp_path / "other" / "seq2seq"
    other.parent.mkdir()
    shutil.copy(script, other)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "seq2seq").symlink_to(script)
    monkeypatch.setattr(sys, "argv", [".venv/bin/seq2seq", "demo"])
    for path, wanted in (
        (tmp_path, ".venv/bin/seq2seq"),
        (other.parent, ".venv/bin/seq2seq"),  # the shell's is another one
        (script.parent, "seq2seq"),
        (tmp_path / "linked", "seq2seq"),
    ):
        monkeypatch.setenv("PATH", str(path))
        assert program() == wanted
    monkeypatch.setattr(sys, "argv", [str(Path(seq2seq.__file__).parent / "__main__.py"), "demo"])
    assert program() == f"{quoted(sys.executable)} -m seq2seq"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    assert program() == "seq2seq"


def test_the_page_is_one_printed_command_away_from_the_demo(script, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "my run")
    path = os.pathsep.join([str(Path(seq2seq.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": path}
    told = subprocess.run([".venv/bin/seq2seq", "demo"], capture_output=True, text=True, check=True, env=environment)
    (line,) = [line.strip() for line in told.stdout.splitlines() if " serve " in line]
    assert line == ".venv/bin/seq2seq serve 'my run'"
    words = ["exec " + line + " --port 0"]
    with subprocess.Popen(words, shell=True, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout and server.stdout.readline().startswith("Serving my run at http://127.0.0.1:")
            server.send_signal(signal.SIGTERM)  # which counts as soon as that is said
            assert server.wait(60) == 0
        finally:
            server.kill()


def test_train_names_the_next_commands_so(run, trained, script, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "my run")
    monkeypatch.setattr(sys, "argv", [".venv/bin/seq2seq"])
    monkeypatch.setenv("PATH", "/usr/bin")
    told = run("train", "--resume", "--out", "my run", "--updates", 4).err
    for command in ("generate 'my run' INPUT", "evaluate 'my run' PAIRS", "chat 'my run'", "serve 'my run'"):
        assert f" .venv/bin/seq2seq {command}" in told
