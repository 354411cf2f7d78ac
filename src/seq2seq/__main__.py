"""`python -m seq2seq`: the command line."""

from __future__ import annotations

import sys

from seq2seq.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
