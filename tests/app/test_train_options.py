"""The options of `train`: what goes before what, and what is refused before anything is read."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import LAST, write_pairs

import seq2seq
from seq2seq.app.commands.train import options_from
from seq2seq.app.options import TrainOptions
from seq2seq.app.prepare import prepare
from seq2seq.app.text_model import TextModel
from seq2seq.app.tokens import tokenizers
from seq2seq.data import Corpus, Pair
from seq2seq.errors import ConfigError


def test_new_limits_take_the_place_of_the_old(trained):
    shutil.copytree(trained, "run")
    options = options_from(["--resume", "--out", "run", "--minutes", "5"])
    assert (options.updates, options.epochs, options.minutes) == (None, None, 5.0)
    assert options_from(["--resume", "--out", "run"]).updates == LAST


def test_a_resume_may_have_a_configuration_over_that_of_the_run(trained):
    shutil.copytree(trained, "run")
    Path("more.toml").write_text('\ufefflog-every = 7\nmodel-type = "encoder-decoder"\n', "utf-8")
    options = options_from(["--resume", "--out", "run", "--config", "more.toml"])
    assert options.log_every == 7 and options.model.hidden == options_from(["--resume", "--out", "run"]).model.hidden


def test_what_a_configuration_says_goes_before_what_the_run_began_with(trained):
    shutil.copytree(trained, "run")
    again = ["--resume", "--out", "run", "--config", "more.toml"]
    Path("more.toml").write_text("epochs = 50\nbatch-pairs = 32\n[optimizer]\nhalve-after = 2000\n")
    Path("run/config.toml").write_text(f"minutes = 3.0\n{Path('run/config.toml').read_text()}")
    options = options_from(again)
    assert (options.updates, options.epochs, options.minutes) == (None, 50, None)
    assert (options.batch_pairs, options.batch_tokens) == (32, None)
    assert options_from([*again, "--minutes", "4"]).minutes == 4.0
    options = options_from(["--preset", "luong2015", "--config", "more.toml"])
    assert (options.optimizer.halve_after, options.optimizer.halve_after_epochs) == (2000, None)
    Path("more.toml").write_text("vocabulary = 50\n")
    with pytest.raises(ConfigError, match="--vocabulary was None when this run began"):
        options_from(again)


def test_a_run_goes_on_where_it_lies_now(monkeypatch):
    Path("new").mkdir()
    Path("new/config.toml").write_text('out = "old"\npairs = ["old/distilled.jsonl", "old/mine.tsv"]\n')
    Path("new/distilled.jsonl").touch()
    options = options_from(["--resume", "--out", "new"])
    assert (options.out, options.pairs) == ("new", ("new/distilled.jsonl", "old/mine.tsv"))
    monkeypatch.chdir("new")
    options = options_from(["--resume"])
    assert (options.out, options.pairs) == (".", ("distilled.jsonl", "old/mine.tsv"))


def test_the_threads_are_set_before_code_of_the_user_runs(monkeypatch):
    monkeypatch.setenv("NPROC", "2")
    code = "import os\nfrom seq2seq import GRU, module\n@module\nclass Mine(GRU):\n    at = os.environ['NPROC']\n"
    Path("own.toml").write_text("threads = 1\n")
    for name, words in (("cell.py", ["--threads", "1"]), ("other.py", ["--config", "own.toml"])):
        Path(name).write_text(code)
        monkeypatch.setenv("NPROC", "2")
        assert options_from(["pairs.tsv", "--model.cell", f"{name}:Mine", *words]).model.cell.at == "1"


def test_what_a_run_was_told_before_may_be_told_again():
    Path("run").mkdir()
    Path("run/config.toml").write_text('epochs = 50\nminutes = 30.0\nsource_form = "nfd"\n')
    Path("my.toml").write_text('epochs = 50\nsource_form = "auto"\n')
    again = ["--resume", "--out", "run", "--config", "my.toml"]
    assert (options_from(again).epochs, options_from(again).minutes) == (50, 30.0)
    Path("my.toml").write_text("epochs = 60\nminutes = 30.0\n")
    assert (options_from(again).epochs, options_from(again).minutes) == (60, 30.0)
    Path("my.toml").write_text('epochs = "None"\nupdates = "None"\nminutes = 20\n')
    options = options_from(again)
    assert (options.updates, options.epochs, repr(options.minutes)) == (None, None, "20.0")


def test_a_configuration_that_goes_with_its_preset_need_not_go_without():
    Path("my.toml").write_text("[model]\nsampled_softmax = 2000\n")
    options = options_from(["pairs.tsv", "--preset", "bahdanau2015", "--config", "my.toml"])
    assert (options.model.sampled_softmax, options.model.label_smoothing) == (2000, 0.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dev-source", "a"], "give --dev PAIRS, or both --dev-source FILE and --dev-target FILE"),
        (["--dev", "b", "--dev-source", "a", "--dev-target", "b"], "give --dev PAIRS, or both --dev-source"),
        (["--optimizer.freeze", "encoder", "pairs.tsv"], "--optimizer.freeze takes every word behind it"),
    ],
)
def test_which_files_were_meant(words, said):
    several = [] if "pairs.tsv" in words else ["pairs.tsv"]
    Path("pairs.tsv").touch()
    with pytest.raises(ConfigError, match=said):
        prepare(options_from([*several, *words, "--out", "run"]))


def test_a_format_is_of_the_pairs_and_not_of_parallel_files():
    options = TrainOptions(pairs=("pairs.tsv",), format="tsv", dev_source="a", dev_target="b")
    assert (options.dev_files() or options).format == "auto"
    text = replace(options, format="auto", next_sentence=True, split="clause")
    assert text.dev_files() == options.dev_files()  # plain lines that belong together, whatever the training reads


@pytest.mark.parametrize("words", [["--target-tokens", "word"], ["--target-form", "nfd"]])
def test_one_vocabulary_is_cut_in_one_way(words):
    options = options_from(["pairs.tsv", "--out", str(Path.cwd()), *words])
    with pytest.raises(ConfigError, match=f"{words[0]} does not go with this model, which has one vocabulary"):
        tokenizers(options, Corpus([Pair("a b", "b a")]), None, shared=True)


def test_what_never_goes_back_does_not_write_from_the_end():
    Path("mine.py").write_text(
        "import seq2seq\nfrom seq2seq.models.hard_monotonic import HardMonotonic\n\n\n"
        "@seq2seq.module\nclass Mine(HardMonotonic):\n    pass\n"
    )
    for model in ("hard-monotonic", "mine.py:Mine"):
        words = ["pairs.tsv", "--out", "run", "--model.type", model, "--right-to-left"]
        with pytest.raises(ConfigError, match=f"--right-to-left does not go with {model}"):
            options_from(words)
        assert options_from([*words, "--no-right-to-left"])


def test_of_one_vocabulary_only_targets_are_turned():
    options = options_from(["pairs.tsv", "--out", str(Path.cwd()), "--right-to-left"])
    source, target = tokenizers(options, Corpus([Pair("a b", "b a")]), None, shared=True)
    assert source.tokenizer.encode("a b") == target.tokenizer.encode("b a") != target.tokenizer.encode("a b")
    again = tokenizers(replace(options, resume=True), Corpus([]), None, shared=True)
    assert [one.tokenizer.right_to_left for one in again] == [False, True]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_as_many_pieces_as_suit_the_corpus(kind):
    texts = [f"{n} thousand and {n * n} and {n**3}" for n in range(300)]  # 1,800 words want 600 pieces
    options = TrainOptions(out=str(Path.cwd()), source_tokens=kind, target_tokens="word")
    source, target = tokenizers(options, Corpus([Pair(text, text) for text in texts]), None, shared=False)
    assert 400 < source.tokenizer.size <= 600 < target.tokenizer.size


def test_pairs_of_a_batch_go_before_the_tokens_of_a_file(trained):
    for word in ("--batch-pairs", "--batch_pairs"):
        options = options_from(["--config", str(trained / "config.toml"), word, "4"])
        assert (options.batch_pairs, options.batch_tokens) == (4, None)


def test_a_cosine_ends_where_it_ended():
    folder = Path("run")
    folder.mkdir()
    (folder / "config.toml").write_text('epochs = 2\nminutes = 3.0\n[optimizer]\nschedule = "cosine"\n')
    options = options_from(["--resume", "--out", "run", "--minutes", "1"])
    assert (options.updates, options.epochs, options.minutes) == (None, 2, 1.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume", "--out", "run", "--vocabulary", "5"], "--vocabulary was None when this run began"),
        (["--resume", "--out", "run", "--right-to-left"], "--right-to-left was False when this run began"),
        (["--from", "run", "--right-to-left"], "--right-to-left does not go with --from"),
        (["--from", "run", "--no-right-to-left"], "--right-to-left does not go with --from"),
        (["--from", "run", "--source-tokens", "bpe"], "--source-tokens does not go with --from"),
        (["--from", "run", "--source_tokens", "bpe"], "--source-tokens does not go with --from"),
        (["--resume", "--out", "run", "--preset", "small"], "--preset does not go with --resume"),
        (["--resume=True", "--out", "run"], "--resume takes no value"),
        (["--from", "run", "--preset", "small"], "--preset does not go with --from"),
        (["--config", "preset.toml"], "preset.toml: preset is for the command line"),
    ],
)
def test_what_would_have_no_effect_is_refused(trained, words, said):
    shutil.copytree(trained, "run")
    Path("preset.toml").write_text('preset = "small"\n')
    with pytest.raises(ConfigError, match=said):
        options_from(words)


def test_a_preset_of_another_model_is_told_as_one():
    with pytest.raises(ConfigError) as told:
        options_from(["pairs.tsv", "--model.type", "hard-monotonic", "--preset", "medium"])
    assert str(told.value) == (
        "--preset medium is for --model.type encoder-decoder; hard-monotonic has no attention, bidirectional, bridge, "
        "readout. Leave one of the two out; seq2seq train --model.type hard-monotonic --help lists its options."
    )
    options = options_from(["pairs.tsv", "--model.type", "hard-monotonic", "--preset", "small"])
    assert (options.model.hidden, options.model.embedding) == (128, 64)  # which both models have


def test_help_names_the_paper_of_what_came_later(run):
    text = " ".join(run("train", "--help").out.replace("│", " ").split())
    papers = {
        "--model.type": "Wu and Cotterell 2019",
        "--model.cell": "Ba et al. 2016",
        "--model.copy": "See et al. 2017",
        "--model.tied": "Press and Wolf 2017",
        "--model.variational": "Gal and Ghahramani 2016",
        "--model.recurrent-dropout": "Gal and Ghahramani 2016",
        "--model.label-smoothing": "Szegedy et al. 2016",
        "--target-dropout": "Bowman et al. 2016",
        "--right-to-left": "Liu et al. 2016",
        "--average": "Junczys-Dowmunt et al. 2016",
        "--moving-average": "Polyak and Juditsky 1992",
    }
    for option, paper in papers.items():
        told = re.search(rf" {re.escape(option)}[, ].*?\(default: ", text)
        assert told and paper in told[0], option


def test_a_cosine_keeps_its_end(trained):
    shutil.copytree(trained, "run")
    config = Path("run/config.toml")
    config.write_text(config.read_text().replace('schedule = "constant"', 'schedule = "cosine"'))
    options = options_from(["--resume", "--out", "run", "--minutes", "5"])
    assert (options.updates, options.minutes) == (LAST, 5.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "nan"], "--minutes is nan"),
        (["--save-minutes", "nan"], "--save-minutes 0 or more"),
        (["--optimizer.scale", "encoder=nan"], "scale encoder is nan"),
        (["--optimizer.learning-rate", "inf"], "learning_rate is inf"),
    ],
)
def test_numbers_that_are_none(run, words, said):
    ran = run("train", write_pairs(Path("pairs.tsv")), "--out", "run", *words)
    assert ran.code == 2 and said in " ".join(ran.err.replace("│", " ").split())


def test_a_name_that_no_configuration_could_hold(run):
    ran = run("train", "caf\udce9.tsv", "--out", "run")
    assert ran.code == 2 and "this name is not UTF-8" in " ".join(ran.err.replace("│", " ").split())


def test_a_class_of_a_users_model_may_have_moved_whatever_its_option_is_called(tmp_path):
    code = "import seq2seq as s2s\n\n@s2s.module\nclass Mine(s2s.Model):\n    @classmethod\n"
    code += "    def init(cls, key, vocabulary: int, my_cell: type[s2s.Cell] = s2s.GRU): ...\n"
    code += "    def loss(self, batch, key): ..."
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "my.toml").write_text('[model]\nmy_cell = "gone.py:Cell"')
    words = ["pairs.tsv", "--model.type", "mine.py:Mine", "--config", "my.toml", "--model.my_cell", "lstm"]
    assert options_from(words).model.my_cell is seq2seq.LSTM


def test_a_file_and_the_command_line_may_say_what_only_goes_together():
    options = options_from(["pairs.tsv", "--preset", "cho2014", "--model.attention", "none"])
    assert options.model.summary == "everywhere"


def test_a_preset_tells_the_rate_of_its_own_optimiser():
    def rate(*words):
        return options_from(["pairs.tsv", "--preset", "sutskever2014", *words]).optimizer.learning_rate

    assert rate() == rate("--optimizer.name", "sgd") == rate("--optimizer.clip", "1") == 0.7
    assert rate("--optimizer.name", "adam") is None  # Adam's own, as without the preset
    assert rate("--optimizer.name", "adam", "--optimizer.learning-rate", "0.5") == 0.5
    Path("adam.toml").write_text('[optimizer]\nname = "adam"')
    assert rate("--config", "adam.toml") is None
    Path("both.toml").write_text('[optimizer]\nname = "adam"\nlearning_rate = 0.25')
    assert rate("--config", "both.toml") == 0.25


def test_a_file_tells_numbers_of_its_own_optimiser_and_schedule():
    numbers = "learning_rate = 0.001\nweight_decay = 0.0\nwarmup-updates = 0"
    Path("run.toml").write_text(f'[optimizer]\nname = "adam"\nschedule = "constant"\n{numbers}')

    def told(*words):
        return options_from(["pairs.tsv", "--config", "run.toml", *words]).optimizer

    assert (told().learning_rate, told().weight_decay, told().warmup_updates) == (0.001, 0.0, 0)
    assert told("--optimizer.schedule", "warmup").warmup == 1000
    assert (told("--optimizer.name", "adamw").decay, told("--optimizer.name", "sgd").rate) == (0.01, 1.0)
    Path("rate.toml").write_text("[optimizer]\nlearning_rate = 0.5")  # of whatever optimiser
    assert options_from(["pairs.tsv", "--config", "rate.toml", "--optimizer.name", "sgd"]).optimizer.rate == 0.5


def test_an_option_takes_the_place_of_what_a_file_says_otherwise():
    Path("all.toml").write_text('pairs = ["a.tsv"]\ndev = ["b.tsv"]\nupdates = 7')

    def told(*words):
        return options_from(["--config", "all.toml", *words])

    both = told("--source", "s", "--target", "t", "--dev-source", "u", "--dev-target", "v")
    assert (both.pairs, both.dev, both.source, both.dev_target) == ((), (), "s", "v")
    assert (told().pairs, told().dev, told("--epochs", "3").updates) == (("a.tsv",), ("b.tsv",), 7)
    halved = options_from(["pairs.tsv", "--preset", "sutskever2014", "--optimizer.halve-after", "500"]).optimizer
    assert (halved.in_updates(1000).halve_after, halved.in_updates(1000).halve_every) == (500, 500)
    assert options_from(["pairs.tsv", "--preset", "large", "--epochs", "200"]).updates is None
    assert options_from(["pairs.tsv", "--preset", "large", "--epochs", "200", "--updates", "9"]).updates == 9
    assert options_from(["pairs.tsv", "--preset", "large", "--epochs", "9", "--config", "all.toml"]).updates == 7
    Path("epochs.toml").write_text("epochs = 9")
    assert options_from(["pairs.tsv", "--preset", "large", "--config", "epochs.toml"]).updates is None


def test_no_words_at_all():
    assert options_from([]).out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--optimizer.halve-after-epochs", "8"), "is for --optimizer.schedule halving, and it is constant"),
        (("--optimizer.plateau-patience", "2"), "is for --optimizer.schedule plateau, and it is constant"),
        (("--optimizer.schedule", "plateau", "--patience", "3"), "would end the run at the first plateau"),
        (("--config", "named.toml"), "--from is called from_model in a file"),
        (("--config", "typed.toml"), "--model.type is model_type"),
        (("--config", "wrong.toml"), "wrong.toml: model"),
    ],
)
def test_what_would_do_nothing_or_is_called_otherwise(words, told):
    Path("named.toml").write_text('from = "base.npz"')
    Path("typed.toml").write_text('[model]\ntype = "hard-monotonic"')
    Path("wrong.toml").write_text("model = 3")
    with pytest.raises(ConfigError, match=told):
        options_from(["pairs.tsv", *words])
    assert options_from(["pairs.tsv", "--optimizer.schedule", "halving", "--optimizer.halve-after-epochs", "8"])


def test_the_last_model_to_begin_with_counts(trained, twin, tmp_path, monkeypatch):
    model = seq2seq.load(twin)
    model.with_model(replace(model.model, dropout=0.7)).save(tmp_path / "other.npz")
    # Nothing may be computed for the sake of options.
    monkeypatch.setattr(TextModel, "load", lambda *_: pytest.fail("the arrays of a model were read"))
    options = options_from(["pairs.tsv", "--from", str(trained), "--from", "other.npz"])
    assert (options.from_model, options.model.dropout) == ("other.npz", 0.7)
    Path("from.toml").write_text('from_model = "other.npz"')
    assert options_from(["pairs.tsv", "--config", "from.toml", "--from", "None"]).model.hidden == 512


def test_a_typing_mistake_beside_another_model_is_told(trained):
    Path("my.toml").write_text("[model]\nhidden = 999\ndropuot = 0.5")
    with pytest.raises(ConfigError, match="did you mean dropout"):
        options_from(["pairs.tsv", "--from", str(trained), "--config", "my.toml"])


def test_smoothing_does_not_go_with_a_sampled_softmax_of_another_model(trained, tmp_path):
    model = seq2seq.load(trained)
    sampled = replace(model.model, sampled_softmax=3, label_smoothing=0.0)
    model.with_model(sampled).save("sampled.npz")
    (tmp_path / "pairs.tsv").write_text("abc\tcba\nfed\tdef\n")
    options = options_from(["pairs.tsv", "--from", "sampled.npz", "--model.label-smoothing", "0.1"])
    with pytest.raises(ConfigError, match=r"sampled_softmax needs model\.label_smoothing 0"):
        prepare(options)
