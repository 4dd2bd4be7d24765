"""The log of worker processes has the form of their parent's. No Beam here."""

import logging
import sys


def log_formatter() -> logging.Formatter | None:
    """Return what formats the lines of this process's log; None if no log was set up."""
    handlers = logging.getLogger().handlers
    # Others, such as those of test tools, can have formatters that do not cross to a process.
    own = (
        each for each in handlers if type(each).__module__.startswith(("logging", "dicomferry."))
    )
    return next((each.formatter for each in own if isinstance(each, logging.StreamHandler)), None)


def set_up_log(formatter: logging.Formatter | None) -> None:
    """Let this process write warnings and errors in the form of its parent."""
    if formatter:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter)
        logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
