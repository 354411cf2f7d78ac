"""What the command line lays over a file: it may mend what the file says wrong, and takes the place of what it says."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

import pytest

from seq2seq.app.commands.train import options_from
from seq2seq.errors import ConfigError


@pytest.mark.parametrize(
    ("file", "words", "wrong"),
    [
        ("[model]\nsampled_softmax = 2000\n", ("--model.label-smoothing", "0"), "needs model.label_smoothing 0"),
        ("[model]\nhidden = 7\n", ("--model.no-bidirectional",), "even number"),
        ("[optimizer]\nlearning_rate = 0.02\nminimum_rate = 0.005\n", ("--optimizer.name", "sgd"), ""),
        ("max_ratio = 0.5\n", ("--max-ratio", "2"), "--max-ratio is 0.5"),
    ],
)
def test_a_file_is_judged_with_what_lies_over_it(file, words, wrong):
    Path("my.toml").write_text(file)
    assert options_from(["pairs.tsv", "--config", "my.toml", *words])
    if wrong:
        with pytest.raises(ConfigError, match=f"my.toml: .*{wrong}"):  # which names the file
            options_from(["pairs.tsv", "--config", "my.toml"])


def test_a_file_may_be_a_pipe():
    end, begin = os.pipe()
    os.write(begin, b"seed = 9\n[model]\nhidden = 6\n")
    os.close(begin)
    options = options_from(["pairs.tsv", "--config", f"/dev/fd/{end}"])  # a second look would find nothing
    os.close(end)
    assert (options.seed, options.model.hidden) == (9, 6)


def test_an_error_of_the_command_line_is_its_own(capsys):
    Path("my.toml").write_text("max_ratio = 0.5\n")
    with pytest.raises(SystemExit):
        options_from(["pairs.tsv", "--config", "my.toml", "--max-ratio", "2", "--seed", "-1"])
    said = capsys.readouterr().err
    assert "--seed is -1" in said and "my.toml" not in said


def test_pairs_of_one_kind_take_the_place_of_those_of_the_other():
    Path("both.toml").write_text('source = "a"\ntarget = "b"\n')
    options = options_from(["new.tsv", "--config", "both.toml"])
    assert (options.pairs, options.source, options.target) == (("new.tsv",), None, None)
    Path("lines.toml").write_text('pairs = ["run/distilled.jsonl"]\nformat = "jsonl"\n')
    options = options_from(["--source", "a", "--target", "b", "--config", "lines.toml"])
    assert (options.pairs, options.source, options.format) == ((), "a", "auto")
    assert options_from(["--config", "lines.toml"]).format == "jsonl"


CHECKED = """
from dataclasses import dataclass
import seq2seq as s2s

@dataclass(frozen=True)
class Settings:
    hidden: int

    def __post_init__(self):
        if self.hidden < 1:
            raise s2s.errors.ConfigError(f"hidden is {self.hidden}; wanted 1 or more.")

@s2s.module
class Own(s2s.Model):
    out: s2s.FF

    @classmethod
    def init(cls, key, vocabulary: int, config: Settings):
        return cls(out=s2s.FF.init(key, config.hidden, vocabulary))

    def start(self, source, lengths): ...
    def step(self, memory, state, token): ...
"""


def test_options_of_a_users_model_may_be_needed_and_checked(run):
    Path("own.py").write_text(CHECKED)
    words = ["pairs.tsv", "--model.type", "own.py:Own"]
    assert options_from([*words, "--model.hidden", "5"]).model.hidden == 5
    Path("my.toml").write_text("seed = 3\n[model]\n")
    assert options_from([*words, "--model.hidden", "5", "--config", "my.toml"]).model.hidden == 5
    ran = run("train", *words, "--model.hidden", 0)
    assert ran.code == 2 and "hidden is 0; wanted 1 or more" in ran.err
    assert "--model.hidden" in run("train", *words, "--help").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch-tokens", "9", "--batch-pairs", "4"), "two ways to say one thing"),
        (("--metric", "wer_percnt"), "did you mean wer_percent"),
        (("--types", "own.py:Own"), "--types is for the model of --from"),
    ],
)
def test_what_is_told_in_vain_is_refused(words, said):
    Path("own.py").write_text(CHECKED)
    with pytest.raises(ConfigError, match=said):
        options_from(["pairs.tsv", *words])


def test_an_option_called_as_the_models_own_is_refused():
    alone = CHECKED.replace("config: Settings", "type: int").replace("config.hidden", "type")
    for name, code in (("alone.py", alone), ("among.py", CHECKED.replace("hidden", "type"))):
        Path(name).write_text(code)
        with pytest.raises(ConfigError, match=r"Own\.init: --model\.type names the model"):
            options_from(["pairs.tsv", "--model.type", f"{name}:Own"])


def test_a_models_file_names_no_folder():
    more = (
        "    vectors: str = '/home/me/v.txt'\n    files: tuple[str, ...] = ('/home/me/a', 'b')\n    mark: str = '/'\n"
    )
    Path("own.py").write_text(CHECKED.replace("hidden: int\n", f"hidden: int\n{more}"))
    options = options_from(["pairs.tsv", "--model.type", "own.py:Own", "--model.hidden", "5"])
    public = tomllib.loads(options.public_toml())["model"]
    assert (public["vectors"], public["files"], public["mark"]) == ("v.txt", ["a", "b"], "/")
    assert "/home" in options.toml() and "/home" not in options.public_toml()


def test_a_residual_around_nothing_is_refused(trained):
    with pytest.raises(ConfigError, match=r"--model\.residual goes around the second layer"):
        options_from(["pairs.tsv", "--model.residual"])
    assert options_from(["pairs.tsv", "--model.residual", "--model.encoder-layers", "2"]).model.residual
    shutil.copytree(trained, "run")  # one that began with it, when it did nothing, goes on
    config = Path("run/config.toml")
    config.write_text(config.read_text().replace("residual = false", "residual = true"))
    assert options_from(["--resume", "--out", "run"]).model.residual
