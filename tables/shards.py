"""Shards: files of newline-delimited JSON rows between the workers and the one load."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple


def _read_local(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class Shards(NamedTuple):
    """The rows of one load.

    Attributes:
        uris: local paths or gs:// URIs, all of one kind; one JSON object a line, in UTF-8. Each
            should hold at most some hundred MB: a remote one is fetched whole.
        read: returns the bytes of one of `uris`; asked for remote ones only.
    """

    uris: tuple[str, ...]
    read: Callable[[str], bytes] = _read_local

    @property
    def remote(self) -> bool:
        """Whether they are in a bucket."""
        return any("://" in uri for uri in self.uris)

    def local_paths(self) -> Iterator[str]:
        """Give a local path for each shard in turn; a fetched one lasts until the next."""
        for uri in self.uris:
            if "://" not in uri:
                yield uri
                continue
            with contextlib.ExitStack() as stack:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dicomferry-"))
                path = os.path.join(folder, "shard.ndjson")
                with open(path, "wb") as file:
                    file.write(self.read(uri))
                yield path
