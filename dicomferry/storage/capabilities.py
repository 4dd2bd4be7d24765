"""How kinds of storage differ, and what they return."""

from datetime import datetime
from typing import NamedTuple, Protocol


class Capabilities(NamedTuple):
    """How kinds of storage differ.

    Attributes:
        is_shared: other machines reach it, so the workers of a distributed job can use it.
        is_networked: bytes can be damaged on the way, and answers lost: a write that fails, or a
            create that is refused, may have happened.
        concurrency: requests at once that keep one core busy; 1 where requests do not wait.
        has_empty_folders: a folder can exist without a file in it.
    """

    is_shared: bool
    is_networked: bool
    concurrency: int
    has_empty_folders: bool


class ServerSideCopy(Protocol):
    """One object that a storage copies by itself: no byte comes through this process.

    Each method raises FileNotFoundError if the object, or that version of it, is gone.
    """

    def crc32c(self) -> int:
        """Return the CRC-32C that the storage keeps of the object."""

    def create(self, path: str) -> None:
        """Copy the object to a path, unless a file of that name exists."""

    def replace(self, path: str) -> int:
        """Copy the object over a path; return the CRC-32C that is kept of the copy."""


class Entry(NamedTuple):
    """A file or object.

    Attributes:
        path: below the storage's root.
        size: bytes.
        modified: time of the last change.
        version: the entity tag; '' where the storage has none.
    """

    path: str
    size: int
    modified: datetime
    version: str = ""
