"""Files of pictures: PNG and SVG, by matplotlib, which need not be there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.core.files import atomic_write
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_AN_INCH = 150


def check_picture(path: str) -> None:
    """Refuse a picture that could not be written, before anything takes time.

    Raises:
        ConfigError: the name does not end in .png or .svg, or matplotlib is not installed.
    """
    kind_of_picture(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "pictures need matplotlib, which is not installed: pip install 'seq2seq-jax[plot]'; "
            "seq2seq plot without --output draws in the terminal."
        ) from None


def kind_of_picture(path: str) -> str:
    """png or svg, by the end of the file's name.

    Raises:
        ConfigError: it ends otherwise.

    Example:
        >>> kind_of_picture("map.SVG")
        'svg'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg"):
        raise ConfigError(f"{path}: the name of a picture ends in .png or .svg, not in {suffix or 'nothing'}.")
    return suffix[1:]


def write_figure(figure: Figure, path: str) -> None:
    """Write a figure; all of the file or nothing.

    Raises:
        ConfigError: the name does not end in .png or .svg.
        ArchiveError: the file cannot be written.
    """
    kind = kind_of_picture(path)
    # Without the date the same picture is the same file.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}

    def fill(file: Path) -> None:
        from matplotlib import rc_context

        with rc_context({"svg.hashsalt": "seq2seq"}):  # names of an SVG's parts are drawn by chance else
            figure.savefig(file, format=kind, dpi=_DOTS_AN_INCH, metadata=metadata, bbox_inches="tight")

    atomic_write(Path(path), fill)
