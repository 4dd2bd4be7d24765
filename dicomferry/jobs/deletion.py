"""The program that deletes the data of a store that is marked as deleted.

It waits for the end of its standard input, when its parent has recorded the operation.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from dicomferry.pipelines import exit_codes
from dicomferry.resource_names import parse_store
from dicomferry.storage.failures import storage_errors, storage_message
from dicomferry.storage.registry import open_storage
from dicomferry.store.deletion import delete_store

_LOGGER = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Delete the data; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    for flag in ("--root", "--store", "--operation"):
        parser.add_argument(flag, required=True)
    given = parser.parse_args(argv)
    sys.stdin.buffer.read()
    try:
        delete_store(open_storage(given.root), parse_store(given.store), operation=given.operation)
    except (ValueError, LookupError) as error:
        _LOGGER.error("%s", error)
        return exit_codes.of_error(error)
    except storage_errors() as error:
        _LOGGER.error("%s", storage_message(error))
        return exit_codes.of_error(error)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(main(sys.argv[1:]))
