"""Formats of stores: the number that stands in a store's record, and what has to happen to a store.

| format | |
|---|---|
| 1 | stores without a number |
| 2 | the number stands in the record. Who writes to the index keeps columns that it does not know |

A later number means that earlier versions of the software would read the store wrongly, or damage
it: they refuse it. A new column of the index is no new format. From 2 on, imports add it by
themselves, since workers of earlier versions keep it; a store of format 1 gets it by
`dicomferry stores upgrade`.
"""

from collections.abc import Mapping
from typing import Any

FORMAT = 2
"""What this version makes, and the latest that it reads."""

_FIRST_WITH_NEW_COLUMNS = 2


class StoreFormatError(ValueError):
    """A store is of a later format than this version of the software reads."""


def format_of(record: Mapping[str, Any]) -> int:
    """Return the format of the store that a record is of."""
    number = record.get("format", 1)
    # Whatever else stands there, a later version wrote it.
    return number if type(number) is int and number > 0 else FORMAT + 1


def check_format(number: int, name: object) -> None:
    """Refuse a store of a later format.

    Raises:
        StoreFormatError: with the remedy.
    """
    if number > FORMAT:
        raise StoreFormatError(
            f"{name} was made or upgraded by a later version of dicomferry: this one reads stores "
            f"up to format {FORMAT}; install that version"
        )


def takes_new_columns(number: int) -> bool:
    """Whether columns may be added while workers of earlier versions write to the store."""
    return number >= _FIRST_WITH_NEW_COLUMNS
