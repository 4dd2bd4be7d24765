"""Shards: files of newline-delimited JSON rows between the workers and the one load."""

import contextlib
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
        uris: local paths, or URIs in a bucket; one JSON object per line, in UTF-8. A file should
            have at most some hundred MB, since a remote one is fetched to the local disk.
        read: yields the bytes of a remote file, in chunks.
    """

    uris: tuple[str, ...]
    read: Callable[[str], Iterable[bytes]] = _read_local

    def local_globs(self) -> Iterator[list[str]]:
        """Yield lists of globs of local files, which together hold all rows.

        Local shards are in one list; remote ones are fetched one by one, and a fetched file exists
        until the next list is requested.
        """
        local = [glob.escape(uri) for uri in self.uris if "://" not in uri]
        if local:
            yield local
        for uri in self.uris:
            if "://" in uri:
                with tempfile.TemporaryDirectory(prefix="dicomferry-") as folder:
                    path = os.path.join(folder, "shard.ndjson")
                    self.fetch(uri, path)
                    yield [glob.escape(path)]

    @contextlib.contextmanager
    def local_paths(self) -> Iterator[list[str]]:
        """Yield paths of local files for a `with` block; all remote shards are fetched for it."""
        with tempfile.TemporaryDirectory(prefix="dicomferry-") as folder:
            paths = []
            for number, uri in enumerate(self.uris):
                paths.append(os.path.join(folder, f"{number}.ndjson") if "://" in uri else uri)
                if "://" in uri:
                    self.fetch(uri, paths[-1])
            yield paths

    def fetch(self, uri: str, path: str) -> None:
        """Copy a remote shard to a local file."""
        with open(path, "wb") as file:
            file.writelines(self.read(uri))
