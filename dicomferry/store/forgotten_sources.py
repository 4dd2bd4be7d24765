"""Sources that a deletion of instances made a store forget: they are read again.

    forgotten/{hash}   hashes of URIs, 8 bytes each, sorted

What is forgotten stays so, also if an import remembers it later: that import may have committed
before the deletion.
"""

import functools
import hashlib
from collections.abc import Iterable

from dicomferry.storage.base import Storage

_FORGOTTEN = "forgotten"
_HASH_BYTES = 8


def forget_sources(data: Storage, uris: Iterable[str]) -> None:
    """Let the next import read sources again."""
    content = b"".join(sorted({hash_of(uri) for uri in uris}))
    if not content:
        return
    # Named by its content: what a process has read of it stays right.
    path = f"{_FORGOTTEN}/{hashlib.sha256(content).hexdigest()}"
    data.write(path, content)
    data.sync([path])


def forgotten(data: Storage) -> frozenset[bytes]:
    """Return the hashes of all sources that were forgotten."""
    paths = sorted(entry.path for entry in data.list(_FORGOTTEN))
    return _read_forgotten(data, tuple(paths)) if paths else frozenset()


@functools.lru_cache(maxsize=1)
def _read_forgotten(data: Storage, paths: tuple[str, ...]) -> frozenset[bytes]:
    content = b"".join(data.read(path) for path in paths)
    starts = range(0, len(content), _HASH_BYTES)
    return frozenset(content[start : start + _HASH_BYTES] for start in starts)


def hash_of(uri: str) -> bytes:
    """Return what a source is known by among those forgotten."""
    content = uri.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(content, digest_size=_HASH_BYTES).digest()
