"""Reading files of an index while `stores delete-instances --purge-history` deletes old ones."""

from collections.abc import Callable
from typing import TypeVar

from dicomferry.store.index import Index

T = TypeVar("T")


def repeat_where_purged(index: Index, read: Callable[[], T]) -> T:
    """Call a function that reads files of an index until none of them was deleted meanwhile.

    Args:
        index: moves on to the newest version before another call: what the function returns holds
            for the version that it is at then. An append by the same object needs no other look.
        read: reads files of the version that is loaded, and is harmless to repeat.

    Raises:
        FileNotFoundError: a file is gone that the newest version has.
        LookupError: the store was deleted meanwhile.
    """
    while True:
        version = index.version
        try:
            return read()
        except FileNotFoundError:
            index.refresh()
            if index.version == version:
                raise
