"""Fonts that have the characters of a text: of those that matplotlib finds, no others are asked for."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

_USUAL = "DejaVu Sans"  # comes along with matplotlib
_NONE = ("Last Resort",)  # draws the name of a script in place of its characters
_PREFERRED = ("Noto Sans", "Arial Unicode MS", "Apple SD Gothic Neo", "Malgun Gothic", "Nanum")


class Fonts(NamedTuple):
    """Where the characters of a text are.

    Attributes:
        families: names of fonts, each used for what those before it lack.
        missing: the characters that no font has, in order.
    """

    families: list[str]
    missing: list[str]

    def drawable(self, text: str) -> str:
        """The text with what no font has, and controls, as code points, which say more than boxes.

        Example:
            >>> Fonts(["DejaVu Sans"], ["한"]).drawable("한a")
            'U+D55Ca'
        """
        hidden = {c for c in text if c in self.missing or unicodedata.category(c) == "Cc"}
        return "".join(f"U+{ord(c):04X}" if c in hidden else c for c in text)

    @property
    def note(self) -> str:
        """What people should know, or nothing.

        Example:
            >>> Fonts(["DejaVu Sans"], ["한"]).note
            'no font here has 한: shown as code points; install one that has, such as Noto Sans.'
        """
        if not self.missing:
            return ""
        some = " ".join(self.missing[:10]) + " ..." * (len(self.missing) > 10)
        return f"no font here has {some}: shown as code points; install one that has, such as Noto Sans."


def fonts_for(texts: Iterable[str]) -> Fonts:
    """The fonts for texts, out of those on this machine."""
    wanted = dict.fromkeys(character for text in texts for character in text)
    found = choose(wanted, _families(), _characters)
    return choose(wanted, _families(), _characters) if found.missing and _look_again() else found


def choose(wanted: Iterable[str], families: Iterable[str], characters: Callable[[str], frozenset[int]]) -> Fonts:
    """The usual font, then for what it lacks the one that has most of it, and so on; `families` in order of preference.

    Example:
        >>> known = {"DejaVu Sans": "ab", "Mincho": "한", "Noto Sans": "한국"}
        >>> choose("a한국🙂", known, lambda name: frozenset(map(ord, known[name])))
        Fonts(families=['DejaVu Sans', 'Noto Sans'], missing=['🙂'])
    """
    chosen = [_USUAL]
    left = [character for character in wanted if _is_drawn(character) and ord(character) not in characters(_USUAL)]
    others = [family for family in families if family != _USUAL]
    while left and others:
        best = max(others, key=lambda family: sum(ord(character) in characters(family) for character in left))
        had = characters(best)
        if not any(ord(character) in had for character in left):
            break
        chosen.append(best)
        left = [character for character in left if ord(character) not in had]
    return Fonts(chosen, left)


def _is_drawn(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] != "Z" and kind not in ("Cc", "Cf")


def _families() -> list[str]:
    names = [name for name in _files() if not name.startswith(_NONE)]
    return sorted(names, key=lambda name: (not name.startswith(_PREFERRED), name))


@cache
def _files() -> dict[str, str]:
    """The file of each family's plain font; asking matplotlib for it would warn of each that has no normal weight."""
    from matplotlib.font_manager import fontManager

    plain = [entry for entry in fontManager.ttflist if entry.style == "normal"]
    weights = {"normal": 400, "regular": 400, "book": 400, "bold": 700}
    away = [abs((e.weight if isinstance(e.weight, int) else weights.get(str(e.weight), 500)) - 400) for e in plain]
    order = sorted(range(len(plain)), key=lambda index: -away[index])
    return {plain[index].name: plain[index].fname for index in order}


def _look_again() -> bool:
    """Whether there are fonts that were installed since matplotlib wrote down what there is; it knows them now."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    new = [path for path in findSystemFonts() if path not in known]
    for path in new:
        with suppress(OSError, RuntimeError):  # some are no fonts that it can read
            fontManager.addfont(path)
    _files.cache_clear()
    return bool(new)


@cache
def _characters(family: str) -> frozenset[int]:
    """The code points that the plain font of a family has."""
    from matplotlib.font_manager import get_font

    try:
        font: Any = get_font(_files()[family])
    except (OSError, RuntimeError):  # removed since matplotlib wrote down what there is, or none that it can read
        return frozenset()
    return frozenset(font.get_charmap())
