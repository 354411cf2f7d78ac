"""The words of a command line before they are parsed: those that decide which options there are."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.errors import ConfigError


class Words:
    """Words, of which options are asked for by name; `--batch_pairs=4`, which tyro takes too, is `--batch-pairs=4`.

    Example:
        >>> words = Words(["a.tsv", "--types", "x.py:A", "--types=y.py:B", "--model.no_bidirectional"])
        >>> words.all("--types"), words.last("--types"), words.last("--from"), words.options("--model.")
        (['x.py:A', 'y.py:B'], 'y.py:B', None, ['--model.no-bidirectional'])
    """

    def __init__(self, words: Sequence[str]):
        self.words = [_dashed(word) for word in words]

    def all(self, option: str) -> list[str]:
        """The values of an option, which may be given several times."""
        after = [*self.words, None][1:]
        found = [
            value if word == option else word.partition("=")[2]
            for word, value in zip(self.words, after, strict=True)
            if word.partition("=")[0] == option
        ]
        return [value for value in found if value is not None]

    def last(self, option: str) -> str | None:
        """The value that counts: the last one, if it is not None."""
        found = self.all(option)
        return found[-1] if found and found[-1] != "None" else None

    def options(self, prefix: str) -> list[str]:
        """The names of all options that begin so."""
        return [word.partition("=")[0] for word in self.words if word.startswith(prefix)]


def _dashed(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    if name == "--resume" and equals:
        raise ConfigError(f"{word}: --resume takes no value.")
    return name.replace("_", "-") + equals + value
