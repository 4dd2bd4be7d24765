"""How far the table of a stream_config follows the index of its store.

    streams/{table}/start.json        the version of the index at which it began to follow
    streams/{table}/{n}.json          one append: the rows of the versions after one, up to another
    streams/{table}/{n}.done          they are in the table
    streams/{table}/{n}.refused       the table refused them, wholly

An append is written down, create-only, before any of its rows go anywhere, and its number names
the load. Appends are made in their order. So whoever finds some that are neither done nor refused,
because a process was killed or is slow, makes the same loads again, which a table takes once. A
refused append counts as if it never was: its versions are part of a later one.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from dicomferry.storage.base import Storage

# Of appends before the last that is done; a slow process may still ask for some.
_KEPT = 100


class Append(NamedTuple):
    """Rows that go into a table by one load.

    Attributes:
        number: its place among the appends to the table.
        after: version of the index up to which rows are in earlier appends.
        upto: the last version whose rows are in this one.
    """

    number: int
    after: int
    upto: int


class Standing(NamedTuple):
    """Where a table stands.

    Attributes:
        at: version of the index up to which all rows are in appends.
        appends: those that are not yet made.
        next: the number of the append that follows all of them.
    """

    at: int
    appends: list[Append]
    next: int


class StreamPosition:
    """The appends to one table."""

    def __init__(self, data: Storage, table: str) -> None:
        """Name the store by its data folder, and the table by something that can name a folder."""
        self._files = data.subfolder(f"streams/{table}")

    def begin(self, version: int) -> None:
        """Let the table follow from a version of the index on, unless it does already."""
        self._create("start.json", {"version": version})

    def standing(self) -> Standing:
        """Find out where the table stands.

        Raises:
            FileNotFoundError: the table does not follow yet.
        """
        names = self._names()
        numbers = _numbers(names, ".json")
        last_done = max(_numbers(names, ".done"), default=0)
        if last_done:
            at = self._read(last_done).upto
        else:
            at = int(json.loads(self._files.read("start.json"))["version"])
        appends = []
        for number in sorted(number for number in numbers if number > last_done):
            # What follows a refused append is refused too, though nobody may have said so yet.
            if f"{number}.refused" not in names and (append := self._read(number)).after == at:
                appends.append(append)
                at = append.upto
        return Standing(at, appends, max(numbers, default=0) + 1)

    def plan(self, standing: Standing, upto: int) -> Append | None:
        """Write down the append that follows; None if another process has, since `standing`."""
        append = Append(standing.next, standing.at, upto)
        is_ours = self._create(f"{append.number}.json", {"after": append.after, "upto": upto})
        return append if is_ours else None

    def finish(self, append: Append) -> None:
        """Say that the rows of an append are in the table."""
        self._files.write(f"{append.number}.done", b"")
        self._files.sync([f"{append.number}.done"])
        old = [n for n in _numbers(self._names(), ".json") if n < append.number - _KEPT]
        # The last name of each goes last, so that a deletion that breaks off is seen again.
        self._files.delete(f"{n}.{end}" for n in old for end in ("refused", "done", "json"))

    def refuse(self, appends: Iterable[Append]) -> None:
        """Say that the table refused appends, wholly."""
        for append in appends:
            self._files.write(f"{append.number}.refused", b"")

    def _names(self) -> set[str]:
        return {entry.path for entry in self._files.list()}

    def _read(self, number: int) -> Append:
        return Append(number, **json.loads(self._files.read(f"{number}.json")))

    def _create(self, name: str, value: dict[str, int]) -> bool:
        written = self._files.create(name, json.dumps(value).encode())
        if written:
            self._files.sync([name])
        return written


def _numbers(names: Iterable[str], end: str) -> list[int]:
    stems = (name.removesuffix(end) for name in names if name.endswith(end))
    return [int(stem) for stem in stems if stem.isdigit()]
