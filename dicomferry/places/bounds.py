"""Bounds: the places that someone may read, and those that it may write."""

import enum
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from dicomferry.places.place_set import Places, parse_places


class Access(enum.StrEnum):
    """What is done with a place."""

    READ = "read"
    WRITE = "write"


class Bounds(NamedTuple):
    """Places that may be read, and that may be written.

    Attributes:
        read: of sources and filter files.
        write: of files, tables and notifications.
        remedy: what to do about a place outside, for messages; `{access}` is read or write.
    """

    read: Places
    write: Places
    remedy: str = "is not in a place that this job may {access}"

    @classmethod
    def of_server(
        cls, both: Sequence[str] = (), read: Sequence[str] = (), write: Sequence[str] = ()
    ) -> "Bounds":
        """Return the bounds of a server, by its flags.

        A list without a place in the cloud leaves the cloud to the permissions of the server's
        own account; local folders have to be named.

        Args:
            both: of --allow-path and --allow-prefix.
            read: of --allow-read.
            write: of --allow-write.

        Raises:
            ValueError: one names no place, or no folder that exists.
        """
        for option, texts in (
            ("--allow-path or --allow-prefix", both),
            ("--allow-read", read),
            ("--allow-write", write),
        ):
            for folder in parse_places(texts, option).folders:
                if not os.path.isdir(folder):
                    raise ValueError(f"{option} {folder} is not a folder: name one that exists")
        reads = parse_places([*both, *read], "--allow-read")
        writes = parse_places([*both, *write], "--allow-write")
        return cls(
            reads._replace(remote=reads.remote or None),
            writes._replace(remote=writes.remote or None),
            "is not in a place that requests to this server may {access}: start the server with "
            "--allow-{access} PLACE, or with --allow-path DIR or --allow-prefix gs://… for both",
        )

    def of(self, access: Access) -> Places:
        """Return the places of one access."""
        return self.read if access is Access.READ else self.write

    def both(self, other: "Bounds") -> "Bounds":
        """Return the places that these bounds and others allow."""
        return Bounds(self.read.both(other.read), self.write.both(other.write))

    def to_text(self) -> str:
        """Return the bounds as JSON, without the remedy; `parse_bounds` reads it."""
        return json.dumps({"read": self.read._asdict(), "write": self.write._asdict()})


def parse_bounds(text: str) -> Bounds:
    """Read the text of bounds.

    Raises:
        ValueError: it is not one.
    """
    try:
        content = json.loads(text)
        return Bounds(_places(content["read"]), _places(content["write"]))
    except (ValueError, KeyError, TypeError):
        raise ValueError("--bounds is not what the API server gives to its jobs") from None


def _places(content: dict[str, Any]) -> Places:
    folders, remote = content["folders"], content["remote"]
    texts = [*folders, *(remote or [])]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(texts)
    return Places(tuple(folders), None if remote is None else tuple(remote))
