"""Log of what was appended to each stream_config's table, and up to which index version.

    streams/{table}/start.json        the version of the index at which the table began to follow it
    streams/{table}/{n}.json          one append: the rows of the versions after one, until another
    streams/{table}/{n}.done          its rows are in the table
    streams/{table}/{n}.refused       the table refused all of its rows

An append is written, create-only, before any of its rows are sent, and its number names the load.
Appends are made in their order. A process that finds appends that are neither done nor refused,
because another was killed or is slow, makes the same loads again, which a table accepts once. A
refused append has no effect: its versions are part of a later one.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from dicomferry.storage.base import Storage

_FOLDER = "streams"
# Appends kept before the last one that is done: a slow process may still read some.
_MAX_OLD_APPENDS = 100


class Append(NamedTuple):
    """Rows that go into a table by one load.

    Attributes:
        number: its place among the appends to the table.
        after: version of the index until which rows are in earlier appends.
        until: the last version whose rows are in this one.
    """

    number: int
    after: int
    until: int


class StreamState(NamedTuple):
    """Which rows of an index are in appends.

    Attributes:
        version: of the index, until which all rows are in appends.
        pending: the appends that are still to be made.
        next: the number of the append that follows all of them.
    """

    version: int
    pending: list[Append]
    next: int


class StreamLog:
    """The appends to one table."""

    def __init__(self, data: Storage, table: str) -> None:
        """Name the log.

        Args:
            data: the data folder of the store.
            table: what stands for the table as the name of a folder.
        """
        self._files = data.subfolder(f"{_FOLDER}/{table}")

    def start(self, version: int) -> None:
        """Let the table follow the index after a version, unless it follows already."""
        self._create("start.json", {"version": version})

    def state(self) -> StreamState:
        """Read the state of the table.

        Raises:
            FileNotFoundError: the table does not follow the index yet.
        """
        names = self._names()
        numbers = _numbers(names, ".json")
        last_done = max(_numbers(names, ".done"), default=0)
        if last_done:
            version = self._read(last_done).until
        else:
            version = int(json.loads(self._files.read("start.json"))["version"])
        pending = []
        for number in sorted(number for number in numbers if number > last_done):
            if f"{number}.refused" in names:
                continue
            append = self._read(number)
            # What follows a refused append is refused too, even if it is not marked yet.
            if append.after == version:
                pending.append(append)
                version = append.until
        return StreamState(version, pending, max(numbers, default=0) + 1)

    def passed(self) -> int | None:
        """Return the version until which no row is needed any more; None if it follows nothing."""
        try:
            state = self.state()
        except FileNotFoundError:
            return None
        return state.pending[0].after if state.pending else state.version

    def is_pending(self, append: Append) -> bool:
        """Whether an append is still to be made."""
        return append in self.state().pending

    def cover(self, version: int) -> None:
        """Record that the table has the rows until a version, and no others, by other means.

        Appends that were refused or are pending are not made any more.
        """
        append = None
        while append is None and self.passed() is not None:
            append = self.plan(self.state(), version)
        if append:
            self.mark_done(append)

    def plan(self, state: StreamState, until: int) -> Append | None:
        """Write the append that follows a state; return None if another process already has."""
        append = Append(state.next, state.version, until)
        is_ours = self._create(f"{append.number}.json", {"after": append.after, "upto": until})
        return append if is_ours else None

    def mark_done(self, append: Append) -> None:
        """Record that the rows of an append are in the table."""
        self._files.write(f"{append.number}.done", b"")
        oldest = append.number - _MAX_OLD_APPENDS
        old = [number for number in _numbers(self._names(), ".json") if number < oldest]
        # .json goes last: a deletion that breaks off is then found, and finished, by the next.
        self._files.delete(
            f"{number}.{end}" for number in old for end in ("refused", "done", "json")
        )

    def mark_refused(self, appends: Iterable[Append]) -> None:
        """Record that the table refused all rows of appends."""
        for append in appends:
            self._files.write(f"{append.number}.refused", b"")

    def _names(self) -> set[str]:
        return {entry.path for entry in self._files.list()}

    def _read(self, number: int) -> Append:
        append = json.loads(self._files.read(f"{number}.json"))
        return Append(number, append["after"], append["upto"])

    def _create(self, name: str, value: dict[str, int]) -> bool:
        return self._files.create(name, json.dumps(value).encode())


def stream_logs(data: Storage) -> list[str]:
    """Return the names of all logs of a store, also of streams and topics that it no longer has."""
    return list(data.folders(_FOLDER))


def _numbers(names: Iterable[str], end: str) -> list[int]:
    stems = (name.removesuffix(end) for name in names if name.endswith(end))
    return [int(stem) for stem in stems if stem.isdigit()]
