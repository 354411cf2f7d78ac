"""Lets the tests of this room import `contract`, the suites shared between rooms."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
