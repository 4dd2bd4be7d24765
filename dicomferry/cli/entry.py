"""The program `dicomferry`: Ctrl-C ends it in one line also while it is still imported."""

import sys
from typing import NoReturn

_INTERRUPTED = 130  # as in exit_codes


def main() -> NoReturn:
    """Import the command line and run it."""
    try:
        from dicomferry.cli.main import main as run
    except KeyboardInterrupt:
        print("interrupted before anything was done", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    run()
