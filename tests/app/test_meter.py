"""The bar is for terminals only."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from seq2seq.app.meter import Meter


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_a_terminal_and_nothing_elsewhere(terminal: bool) -> None:
    file = io.StringIO()
    with Meter("phrases", 100, Console(file=file, force_terminal=terminal, width=100)) as meter:
        meter.advance(1500, 50)
    assert meter.done == 1500 and meter.speed > 0
    assert ("1,500 phrases" in file.getvalue()) == terminal
    assert terminal or not file.getvalue().strip()
