"""Versions of a resource: `resource/{n}.json` below its folder, of which the highest n counts.

Each is written create-only, so that one of two writers finds out that it lost.
"""

import json
import secrets
from contextlib import suppress
from typing import Any

from dicomferry.storage.base import Storage

# Of writers that are faster.
MAX_ATTEMPTS = 50


def highest(root: Storage, folder: str) -> tuple[int, dict[str, Any] | None]:
    """Return the highest version and its record; 0 and None if there is none."""
    versions = [
        int(entry.path.rpartition("/")[2].removesuffix(".json"))
        for entry in root.list(f"{folder}/resource")
    ]
    for version in sorted(versions, reverse=True):
        # One that a power cut left empty or cut was never reported as written.
        with suppress(ValueError):
            return max(versions), json.loads(root.read(f"{folder}/resource/{version}.json"))
    return max(versions, default=0), None


def write_version(root: Storage, folder: str, version: int, record: dict[str, Any]) -> bool:
    """Write a version; return whether this writer was the first."""
    path = f"{folder}/resource/{version}.json"
    # Two writers can write the same resource.
    record = {**record, "writer": secrets.token_hex(8)}
    data = json.dumps(record, indent=2, ensure_ascii=False).encode()
    return root.create(path, data) or _holds(root, path, data)


def _holds(root: Storage, path: str, data: bytes) -> bool:
    """Whether a file that could not be created has this content: the first answer was lost."""
    if not root.capabilities.is_networked:
        return False
    try:
        return root.read(path) == data
    except FileNotFoundError:
        return False
