"""What rules can be seen to make impossible, said before anything is compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from seq2seq.core.seams import END
from seq2seq.errors import SearchError
from seq2seq.search.phrases import BannedPhrases, RequiredPhrases
from seq2seq.search.rules import MinimumLength, NoRepeat, Prefix, Rule

Ids = tuple[int, ...]


class Demands(NamedTuple):
    """What is asked of one row.

    Attributes:
        prefix: its forced tokens.
        required, banned: its phrases; single banned ids are phrases of one.
        minimum: the fewest tokens, END counted.
        no_repeat: the lengths of which no phrase may come twice.
    """

    prefix: Ids = ()
    required: tuple[Ids, ...] = ()
    banned: tuple[Ids, ...] = ()
    minimum: int = 0
    no_repeat: tuple[int, ...] = ()

    @property
    def least(self) -> int:
        """A length that no output which meets this can be shorter than, END counted.

        Phrases may overlap, so that it is no sum: as many of each token as the phrase that has most of it.

        Example:
            >>> Demands(prefix=(4, 5), required=((5, 6), (7, 7, 4))).least
            6
        """
        most: Counter[int] = Counter()
        for phrase in (self.prefix, *self.required):
            most |= Counter(phrase)
        return max(self.minimum, most.total() + 1)

    def contradiction(self, show: Callable[[Ids], object] = list) -> str:
        """Why nothing can meet this, whatever its length; empty if nothing is seen. `show` says what a phrase is."""
        for name, phrases in (("prefix", (self.prefix,)), ("required phrase", self.required)):
            for phrase in phrases:
                if END in phrase:
                    return f"its {name} {show(phrase)!r} holds END ({END}); leave it out"
                for banned in self.banned:
                    if holds(phrase, banned):
                        return (
                            f"its {name} {show(phrase)!r} holds {show(banned)!r}, which is banned; take out one of them"
                        )
                for size in self.no_repeat:
                    if _repeats(phrase, size):
                        return f"its {name} {show(phrase)!r} has {size} tokens in a row twice; allow that, or change it"
        return ""


def check_rules(
    name: str,
    rules: Sequence[Rule],
    lengths: ArrayLike,
    limit: ArrayLike,
    max_length: int,
    banned: tuple[int, ...] = (),
) -> None:
    """Refuse rules that nothing can keep. In a compiled function, where values are not known yet, only their kinds.

    Raises:
        SearchError: a row whose rules contradict each other, or ask for more tokens than its limit.
        ShapeError: arrays of a rule that are not of these rows.
    """
    for rule in rules:  # which says what is wrong with its own arrays
        jax.eval_shape(lambda rule=rule: rule.start(np.shape(lengths)[0], max_length))
    if sum(isinstance(rule, RequiredPhrases) for rule in rules) > 1:
        raise SearchError(f"{name}: two rules of required phrases; put all phrases into one.")
    if not rules or not _known((rules, lengths, limit)):
        return
    lengths, limits = np.asarray(lengths), np.minimum(np.asarray(limit), max_length)
    for row in np.flatnonzero((lengths > 0) & (limits > 0)):
        refuse(f"{name}: row {row}", demands_of(rules, int(row), len(lengths), banned), int(limits[row]))


def refuse_required(name: str, rules: Sequence[Rule]) -> None:
    """Refuse required phrases in a search that takes no token back.

    Raises:
        SearchError: there are some.
    """
    if any(isinstance(rule, RequiredPhrases) for rule in rules):
        raise SearchError(f"{name}: RequiredPhrases need a beam, which keeps places for them; use beam.")


def refuse(where: str, demands: Demands, limit: int, show: Callable[[Ids], object] = list) -> None:
    """Raise if what is asked of a row is impossible; `show` says what a phrase is, by its ids if nothing better.

    Raises:
        SearchError: it is.

    Example:
        >>> refuse("line 3", Demands(prefix=(4, 5, 6)), 2)
        Traceback (most recent call last):
        seq2seq.errors.SearchError: line 3: what is asked for takes 4 tokens or more, END counted, but the limit is 2.
    """
    if reason := demands.contradiction(show):
        raise SearchError(f"{where}: {reason}.")
    if demands.least > limit:
        found = f"what is asked for takes {demands.least} tokens or more, END counted, but the limit is {limit}"
        raise SearchError(f"{where}: {found}.")


def demands_of(rules: Sequence[Rule], row: int, rows: int, banned: tuple[int, ...] = ()) -> Demands:
    """What the rules of this package ask of a row."""
    demands = Demands(banned=tuple((token,) for token in banned))
    for rule in rules:
        if isinstance(rule, MinimumLength):
            minimum = int(np.broadcast_to(np.asarray(rule.length), rows)[row])
            demands = demands._replace(minimum=max(demands.minimum, minimum))
        elif isinstance(rule, NoRepeat):
            demands = demands._replace(no_repeat=(*demands.no_repeat, rule.size))
        elif isinstance(rule, Prefix):
            ids: NDArray[Any] = np.asarray(rule.ids)
            length = int(np.broadcast_to(np.asarray(rule.lengths), rows)[row])
            demands = demands._replace(prefix=tuple(ids[:length, row].tolist()))
        elif isinstance(rule, BannedPhrases):
            demands = demands._replace(banned=(*demands.banned, *rule.phrases_of(row)))
        elif isinstance(rule, RequiredPhrases):
            demands = demands._replace(required=tuple(rule.phrases_of(row)))
    return demands


def holds(whole: Ids, part: Ids) -> bool:
    """Whether `part` stands somewhere in `whole`, without a gap.

    Example:
        >>> holds((4, 5, 6), (5, 6)), holds((4, 5, 6), (4, 6))
        (True, False)
    """
    starts = (start for start, token in enumerate(whole) if token == part[0])
    return any(whole[start : start + len(part)] == part for start in starts)


def _known(tree: Any) -> bool:
    """Whether all values are known: false inside of a compiled function."""
    try:
        for leaf in jax.tree.leaves(tree):
            np.asarray(leaf)
    except jax.errors.TracerArrayConversionError:
        return False
    return True


def _repeats(phrase: Ids, size: int) -> bool:
    windows = [phrase[start : start + size] for start in range(len(phrase) - size + 1)]
    return len(set(windows)) < len(windows)
