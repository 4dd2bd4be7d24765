"""Copies that Cloud Storage makes by itself: no byte comes through this process."""

import base64
from typing import TYPE_CHECKING

from dicomferry.storage import gcs

if TYPE_CHECKING:
    from google.cloud.storage import Blob


_MAX_ATTEMPTS = 5


def exists(uri: str, generation: str = "") -> bool:
    """Whether an object, or that generation of it, is still there."""
    found: bool = _blob(uri, generation).exists(client=gcs.client())
    return found


def crc32c(uri: str, generation: str = "") -> int:
    """The CRC-32C that Cloud Storage keeps of an object, or of one generation of it.

    Raises:
        google.api_core.exceptions.NotFound: that generation is gone.
    """
    blob = _blob(uri, generation)
    blob.reload(client=gcs.client())
    return _crc32c(blob)


def rewrite(source_uri: str, generation: str, target_uri: str) -> None:
    """Copy one generation of an object, unless the target exists.

    Raises:
        google.api_core.exceptions.NotFound: that generation, or the target's bucket, is gone.
    """
    from google.api_core.exceptions import PreconditionFailed

    source = _blob(source_uri, generation)
    target = _blob(target_uri)
    token, attempt = None, 0
    while True:
        try:
            token, _, _ = target.rewrite(
                source,
                token=token,
                client=gcs.client(),
                if_generation_match=0,
                if_source_generation_match=int(generation),
            )
        except PreconditionFailed:
            if target.exists(client=gcs.client()):
                return  # the same content: its name is its checksum
            if attempt == _MAX_ATTEMPTS:
                raise
            # It was there and was deleted between the two requests.
            token, attempt = None, attempt + 1
            continue
        if token is None:
            return


def rewrite_over(source_uri: str, target_uri: str) -> int:
    """Copy an object, replacing the target; return the CRC-32C that is kept of the copy.

    Raises:
        google.api_core.exceptions.NotFound: the object, or the target's bucket, is gone.
    """
    from google.cloud.storage.retry import DEFAULT_RETRY

    source, target, token = _blob(source_uri), _blob(target_uri), None
    while True:
        # Copied twice it is the same: by itself the client makes no second try here.
        token, _, _ = target.rewrite(source, token=token, client=gcs.client(), retry=DEFAULT_RETRY)
        if token is None:
            return _crc32c(target)


def _crc32c(blob: "Blob") -> int:
    return int.from_bytes(base64.b64decode(blob.crc32c), "big")


def _blob(uri: str, generation: str = "") -> "Blob":
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return (
        gcs.client().bucket(bucket).blob(name, generation=int(generation) if generation else None)
    )
