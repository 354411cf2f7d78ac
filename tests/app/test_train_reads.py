"""What `seq2seq train` reads, and what its report says of it before anything is compiled."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from command_line import TINY, job, report, write_pairs

_PLAIN = ("--model.cell", "elman", "--model.attention", "none", "--model.no-bidirectional")


def test_formats(tmp_path, trained):
    pairs = [tuple(line.split("\t")) for line in (trained.parent / "pairs.tsv").read_text().splitlines()]
    (tmp_path / "s.txt").write_text("".join(f"{s}\n" for s, _ in pairs))
    (tmp_path / "t.txt").write_text("".join(f"{t}\n" for _, t in pairs))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in pairs))
    (tmp_path / "scan.txt").write_text("".join(f"IN: {s} OUT: {t}\n" for s, t in pairs))
    tsv = job(trained.parent / "pairs.tsv")
    assert "36 to train on, 4 to measure on, 0 skipped" in report(tsv) and "held out distinct sources" in report(tsv)
    for words in (["--source", "s.txt", "--target", "t.txt"], ["p.jsonl"], ["scan.txt"]):
        other = job(*words)
        assert other.batches.dataset.fingerprint == tsv.batches.dataset.fingerprint
        assert other.evaluation.pairs == tsv.evaluation.pairs


def test_next_sentence_is_judged_by_its_loss(tmp_path):
    text = "\n".join(" ".join(f"w{i * j}" for j in range(1, 8)) for i in range(60))
    (tmp_path / "text.txt").write_text(text)
    made = job("text.txt", "--next-sentence")
    assert made.options.metric == "loss_nats_per_token"
    assert "a block of neighbouring lines" in report(made)


def test_inflection_is_evaluated_and_generated(run, tmp_path):
    lines = [f"{w}\tN;{n}\t{w}{'s' * (n == 'PL')}\n" for w in ("ab", "bc", "cd", "de", "ef") for n in ("SG", "PL")]
    (tmp_path / "train.tsv").write_text("".join(lines))
    (tmp_path / "dev.tsv").write_text("fa\tN;PL\tfas\n")
    ran = run("train", "train.tsv", "--dev", "dev.tsv", "--out", "run", *TINY, *_PLAIN, "--updates", 1)
    assert ran.code == 0 and "wer_percent 100" in ran.err
    assert len(run("generate", "run", "--beam", 1, stdin=b"ab\tN;PL\n  \n").out.splitlines()) == 2
    wrong = run("generate", "run", "--beam", 1, stdin=b"\nab\n")
    assert wrong.code == 2 and "input:2: no features" in wrong.err


def test_the_source_of_an_inflection_is_symbols_however_many_letters_it_has():
    rows = [f"{chr(0xAC00 + 91 * n)}{chr(0xAC00 + 53 * n + 7)}\tV;PST\t{chr(0xAC00 + n)}\n" for n in range(120)]
    Path("korean").write_text("".join(rows))
    made = job("korean", "--format", "sigmorphon")
    tokenizer = made.text_model.source_tokenizer
    assert tokenizer.rule == "symbols in NFD" and "the letters of lemmas" in report(made)
    assert tokenizer.pieces("가 +V") == [*unicodedata.normalize("NFD", "가"), "+V"]
    assert job("korean", "--format", "sigmorphon", "--source-tokens", "bpe").text_model.source_tokenizer.kind == "bpe"


def test_the_report_tells_what_was_read_and_chosen(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.tsv")
    pairs.write_bytes(b"\xef\xbb\xbf" + pairs.read_bytes().replace(b"\n", b"\r\n") + b"no tab\r\n" + b"abc\t" * 2)
    said = report(job("pairs.tsv", "--skip-bad", "--dev", "pairs.tsv"))
    assert "4 skipped" in said.splitlines()[0]  # two in each of the files
    for words in (
        "byte-order mark left out (1 line, first pairs.tsv:1)",
        "CR LF",
        "skipped: no TAB (1 line, first pairs.tsv:41)",
        "character tokens, 10 different (the lines are single words",
        "EncoderDecoder, ",
        " parameters",
        "MiB",
        " ms an update",
        "warning: 40 of the dev pairs have a line that is also in the training data",
    ):
        assert words in said


def test_the_report_counts_what_is_too_long(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.tsv")
    pairs.write_text(pairs.read_text() + f"{'a' * 20}\tb\n{'b' * 20}\tb\n")
    write_pairs(tmp_path / "dev.tsv")
    assert "2 pairs with a side of more than 10 tokens" in report(job(pairs, "--dev", "dev.tsv", "--max-length", 10))


def test_two_spaces_between_symbols_are_one():
    lines = [f"{source}\ta  b\n" for source in ("ab", "cd", "ef", "gh") * 10]
    Path("pairs.tsv").write_text("".join(lines), "utf-8")
    evaluation = job("pairs.tsv", "--target-tokens", "symbols").evaluation
    assert {evaluation.text_model.target_tokenizer.said(target) for _, target in evaluation.pairs} == {"a b"}


def test_repeated_and_unlike_pairs_are_left_out_where_asked():
    lines = [f"{a}{b}\t{b}{a}\n" for a in "abcd" for b in "abcd"]
    Path("pairs.tsv").write_text("".join([*lines, *lines, "ab\tabababab\n"]))
    Path("dev.tsv").write_text("ab\tba\n")
    plain = job("pairs.tsv", "--dev", "dev.tsv", "--out", "plain")
    chosen = job("pairs.tsv", "--dev", "dev.tsv", "--deduplicate", "--max-ratio", "2", "--out", "chosen")
    assert (len(plain.batches.dataset), len(chosen.batches.dataset)) == (33, 16)
    said = [text for name, text in chosen.report if name == "left out"]
    assert said == [
        "16 pairs that were there before",
        "1 pairs with a side of more than 1000 tokens, or so long for the other (--max-ratio 2)",
    ]


def test_a_long_pair_to_measure_on_is_left_out(run):
    write_pairs(Path("pairs.tsv"))
    Path("dev.tsv").write_text("abc\tcba\n" + "a" * 300 + "\tb\n")
    made = job("pairs.tsv", "--dev", "dev.tsv", "--max-length", 100)
    assert made.evaluation.pairs == [("abc", "cba")] and "1 pairs to measure on with a side of more" in report(made)


def test_dev_pairs_of_another_format_are_refused(fails):
    write_pairs(Path("pairs.tsv"))
    Path("forms.tsv").write_text("ab\tpos=N\tabs\ncd\tpos=N\tcds\n")
    message = fails("train", "pairs.tsv", "--dev", "forms.tsv", "--format", "auto", "--out", "run")
    assert "the pairs to measure on are read as sigmorphon" in message
