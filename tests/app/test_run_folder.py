"""The folder of a run: what is in it that no run wrote stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import TINY, write_pairs


@pytest.mark.parametrize("name", ["data/pairs", "data/pairs.json", "config.toml"])
def test_what_is_read_is_not_written_over(fails, name):
    Path("data").mkdir()
    write_pairs(Path("pairs.tsv"))
    Path(name).write_text("# mine\nseed = 3\n")
    given = ["--config", name] if name == "config.toml" else [name]
    message = fails("train", "pairs.tsv", *given, "--out", ".", *TINY, "--updates", 1)
    assert f"{name} would be overwritten" in message and "choose another --out" in message
    assert Path(name).read_text() == "# mine\nseed = 3\n"


def test_a_file_that_no_run_wrote_stays(fails):
    write_pairs(Path("pairs.tsv"))
    for name in ("config.toml", "source_tokenizer.json"):
        Path(name.partition(".")[0]).mkdir()
        Path(name.partition(".")[0], name).write_text("port = 80\n")
        told = fails("train", "pairs.tsv", "--out", name.partition(".")[0], *TINY, "--updates", 1)
        assert f"{name}: is there already, and no run wrote it" in told
        assert Path(name.partition(".")[0], name).read_text() == "port = 80\n"
    Path("code").mkdir()
    Path("code/my_cell.py").write_text("# another\n")
    Path("my_cell.py").write_text("from seq2seq import GRU, module\n\n\n@module\nclass Mine(GRU):\n    pass\n")
    for name, words in (("code/my_cell.py", ["--model.cell", "my_cell.py:Mine"]), ("lock", [])):
        if name == "lock":
            Path(name).write_text("mine\n")
        before = Path(name).read_text()
        told = fails("train", "pairs.tsv", "--out", ".", *TINY, "--updates", 1, *words)
        assert f"{name}: is there already, and no run wrote it" in told and Path(name).read_text() == before
