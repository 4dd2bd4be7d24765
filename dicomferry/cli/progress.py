"""Progress of a command on standard error, as its options have it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dicomferry.cli.settings import settings
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.public.progress import progress_bar, progress_lines

_LOGGER = logging.getLogger(__name__)


@contextmanager
def progress(verb: str, noun: str = "file") -> Iterator[ProgressCallback]:
    """Yield a function that shows counts and the total.

    It is a bar in a terminal, elsewhere a line now and then; nothing with --quiet.

    Args:
        verb: import, export, delete or verify.
        noun: what is counted.
    """
    if settings.quiet:
        yield lambda *_: None
    elif settings.logs_json:
        yield progress_lines(
            verb, noun, lambda line: _LOGGER.warning("%s", line, extra={"severity": "INFO"})
        )
    else:
        with progress_bar(verb, noun) as bar:
            yield bar or progress_lines(verb, noun)
