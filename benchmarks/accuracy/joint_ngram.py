"""How hard are the words that the CMUdict table is measured on? A joint n-gram model, with a published number, tells.

    pip install --target .bench/phonetisaurus phonetisaurus==0.3.0
    python -m benchmarks.accuracy.joint_ngram --data DATA

Phonetisaurus (Novak, Minematsu and Hirose 2012) aligns letters and phonemes and takes an 8-gram of the pairs. It is
trained and measured on the very files of `python -m benchmarks.accuracy cmudict`. On the test file of the papers it has
24.4 % wrong words: what it has here beyond that, these words are harder (or rest on fewer). It takes four minutes on
one core, on Linux and x86-64.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
from pathlib import Path

from benchmarks.accuracy.tables import cmudict
from benchmarks.table import Table
from seq2seq.metrics import group, wer_percent

PUBLISHED = 24.4
"""Wrong words of the classic test file in %."""
_ORDER = 8


class Phonetisaurus:
    """The programs of the wheel, in whose folder `bin` and `lib` are parted by the kind of processor."""

    def __init__(self, folder: Path) -> None:
        kind = platform.machine()
        self._programs, libraries = folder / "bin" / kind, folder / "lib" / kind
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}

    def run(self, program: str, *words: str | Path) -> str:
        """What the program prints.

        Raises:
            SystemExit: it is not there, or fails.
        """
        command = [str(self._programs / program), *map(str, words)]
        try:
            done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise SystemExit(f"error: no {command[0]}; install the wheel as `--help` tells.") from None
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"error: {program} ended with {error.returncode}: {error.stderr[-300:]}") from None
        return done.stdout

    def answers(self, train: Path, words: list[str], work: Path) -> list[str]:
        """The pronunciation of each word by a model of the training file."""
        aligned, counts, model, asked = (work / name for name in ("aligned", "arpa", "fst", "words"))
        self.run("phonetisaurus-align", f"--input={train}", f"--ofile={aligned}", "--seq1_del=false")
        self.run("estimate-ngram", "-o", str(_ORDER), "-t", aligned, "-wl", counts)
        self.run("phonetisaurus-arpa2wfst", f"--lm={counts}", f"--ofile={model}")
        asked.write_text("".join(f"{word}\n" for word in words), "utf-8")
        said = self.run("phonetisaurus-g2pfst", f"--model={model}", f"--wordlist={asked}", "--nbest=1")
        found = {line.split("\t")[0]: line.split("\t")[-1] for line in said.splitlines()}
        return [found.get(word, "") for word in words]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy.joint_ngram",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="the folder that holds cmudict_g2p")
    parser.add_argument("--wheel", type=Path, default=Path(".bench/phonetisaurus"), help="where pip put it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        task = next(cmudict(options.data, work))
        lines = Path(task.measured["dev"][0]).read_text("utf-8").splitlines()
        words, pronunciations = group(line.split("\t") for line in lines)
        program = Phonetisaurus((options.wheel / "phonetisaurus").absolute())
        answers = program.answers(Path(task.train[0]), words, work)
        found = wer_percent(answers, pronunciations)
    shown = {"words": len(words), "wrong %": found, "published, test %": PUBLISHED, "harder by": found - PUBLISHED}
    Table().row("cmudict, dev", f"joint {_ORDER}-gram", shown)


if __name__ == "__main__":
    main()
