"""Shards: files of newline-delimited JSON rows between the workers and the one load."""

import glob
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


def _read_local(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(1 << 20), b"")


class Shards(NamedTuple):
    """The rows of one load.

    Attributes:
        uris: local paths or gs:// URIs, all of one kind; one JSON object a line, in UTF-8. Each
            should hold at most some hundred MB: a remote one is fetched to the local disk.
        read: gives the bytes of one of `uris`, in pieces; asked for remote ones only.
    """

    uris: tuple[str, ...]
    read: Callable[[str], Iterable[bytes]] = _read_local

    @property
    def remote(self) -> bool:
        """Whether they are in a bucket."""
        return any("://" in uri for uri in self.uris)

    def local_globs(self) -> Iterator[list[str]]:
        """Give globs of local files that together hold all rows, in turns.

        Local shards come all at once, remote ones are fetched one by one; a fetched file
        lasts until the next turn.
        """
        local = [glob.escape(uri) for uri in self.uris if "://" not in uri]
        if local:
            yield local
        for uri in self.uris:
            if "://" in uri:
                with tempfile.TemporaryDirectory(prefix="dicomferry-") as folder:
                    path = os.path.join(folder, "shard.ndjson")
                    with open(path, "wb") as file:
                        file.writelines(self.read(uri))
                    yield [glob.escape(path)]
