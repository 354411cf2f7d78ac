"""What a model got wrong, for people to read: the items, and which tokens it writes for which."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from seq2seq.app.hypothesis import on_one_line
from seq2seq.core.files import atomic_write
from seq2seq.data.inflection import parse_inflection_source
from seq2seq.metrics import Split, confusions
from seq2seq.training import Sample

_MOST = 10
_NOTHING = "(nothing)"


def write_mistakes(path: str, samples: Sequence[Sample], source_format: str) -> int:
    """Write the wrong ones, one a line: source TAB output TAB its targets, with ` | ` between these.

    A source of lemma and features is written in two columns, as the model is asked for it.

    Args:
        path: the file.
        samples: of all items.
        source_format: how the pairs were written; see `Corpus.format`.

    Returns:
        How many they are.

    Raises:
        ArchiveError: the file cannot be written.
    """
    wrong = [sample for sample in samples if sample.output not in sample.targets]
    lines: list[str] = []
    for one in wrong:
        source = parse_inflection_source(one.source) if source_format == "sigmorphon" else (one.source,)
        lines.append("\t".join(map(on_one_line, (*source, one.output, " | ".join(one.targets)))) + "\n")
    atomic_write(Path(path), lambda temporary: temporary.write_bytes("".join(lines).encode()))
    return len(wrong)


def most_confused(samples: Sequence[Sample], split: Split) -> list[tuple[str, int]]:
    """The most frequent token errors, `wanted > written`, and how often.

    Example:
        >>> most_confused([Sample("red", ["R EH D"], "R IY D"), Sample("a", ["AH"], "AH N")], str.split)
        [('EH > IY', 1), ('(nothing) > N', 1)]
    """
    found = confusions([one.output for one in samples], [one.targets for one in samples], split)
    return [(f"{_shown(wanted)} > {_shown(written)}", n) for (wanted, written), n in found.most_common(_MOST)]


def _shown(token: str) -> str:
    """A token that can be seen beside others: a space as elsewhere, a mark on a circle."""
    if not token:
        return _NOTHING
    return ("◌" if unicodedata.combining(token[0]) else "") + on_one_line(token).replace(" ", "▁")
