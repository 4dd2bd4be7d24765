"""Copies that Cloud Storage makes by itself: no byte comes through this process."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicomferry.storage import gs_clients

if TYPE_CHECKING:
    from google.cloud.storage import Blob

    from dicomferry.storage.base import Storage

_MAX_ATTEMPTS = 5


class GsCopy:
    """An object that Cloud Storage copies: a `dicomferry.storage.capabilities.ServerSideCopy`.

    A target whose bucket is gone raises google.api_core.exceptions.NotFound.
    """

    def __init__(self, target: "Storage", source_uri: str, generation: str = "") -> None:
        """Name an object, or one generation of it, and the storage that it is copied to."""
        self._target = target
        self._source_uri = source_uri
        self._source = _blob(source_uri, generation)
        self._generation = int(generation) if generation else None

    def crc32c(self) -> int:
        """Return the CRC-32C that is kept of the object; see `ServerSideCopy`."""
        with self._reporting_gone():
            self._source.reload(client=gs_clients.client())
        return _crc32c(self._source)

    def create(self, path: str) -> None:
        """Copy the object unless the target exists; see `ServerSideCopy`."""
        from google.api_core.exceptions import PreconditionFailed

        target = _blob(self._target.uri(path))
        token, attempt = None, 0
        while True:
            try:
                with self._reporting_gone():
                    token, _, _ = target.rewrite(
                        self._source,
                        token=token,
                        client=gs_clients.client(),
                        if_generation_match=0,
                        if_source_generation_match=self._generation,
                    )
            except PreconditionFailed:
                if target.exists(client=gs_clients.client()):
                    return  # the same content: its name is its checksum
                if attempt == _MAX_ATTEMPTS:
                    raise
                # The target was deleted between the two requests.
                token, attempt = None, attempt + 1
                continue
            if token is None:
                return

    def replace(self, path: str) -> int:
        """Copy the object over the target; see `ServerSideCopy`."""
        from google.cloud.storage.retry import DEFAULT_RETRY

        target, token = _blob(self._target.uri(path)), None
        while True:
            # Repeating it is harmless, but the client retries a rewrite only on request.
            with self._reporting_gone():
                token, _, _ = target.rewrite(
                    self._source, token=token, client=gs_clients.client(), retry=DEFAULT_RETRY
                )
            if token is None:
                return _crc32c(target)

    @contextmanager
    def _reporting_gone(self) -> Iterator[None]:
        """Tell an object that is gone from a target whose bucket is."""
        from google.api_core.exceptions import NotFound

        try:
            yield
        except NotFound:
            if self._source.exists(client=gs_clients.client()):
                raise
            raise FileNotFoundError(self._source_uri) from None


def _crc32c(blob: "Blob") -> int:
    return int.from_bytes(base64.b64decode(blob.crc32c), "big")


def _blob(uri: str, generation: str = "") -> "Blob":
    bucket, name = gs_clients.split_uri(uri)
    client = gs_clients.client()
    return client.bucket(bucket).blob(name, generation=int(generation) if generation else None)
