"""What imports have read and not committed yet, where the next import finds it: a hint.

    read/{name}     a table in Arrow's IPC format, after the CRC-32C of its bytes
    reads-erased    an empty file: its time is that of the last deletion of all of them

A file is written when the blobs of its rows are synced, and deleted when its import has ended. What
a killed import leaves is taken by the next one, and `stores vacuum` deletes it after 7 days. It
holds Metadata, so `stores delete-instances` deletes all of it: who writes later what was read
before looks for the mark of that, and deletes what it wrote. Losing a file costs time, never data.
"""

from collections.abc import Sequence
from itertools import islice

import google_crc32c
import pyarrow as pa

from dicomferry.storage.base import Storage
from dicomferry.store.renewal import safe_time

FOLDER = "read"
_ERASED = "reads-erased"
_CHECKSUM_BYTES = 4
_DELETED_AT_ONCE = 1000


def write_kept(data: Storage, name: str, table: pa.Table, since: float) -> None:
    """Write a file, replacing one of the same name; it is gone if all were deleted meanwhile.

    Args:
        data: the data folder of a store.
        name: of the file: made of content alone, so that two imports write the same.
        table: its content.
        since: when the first of it was read, by the clock of the storage.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    data.write(f"{FOLDER}/{name}", _checksum(content) + content)
    erased = data.head(_ERASED)
    if erased and since <= safe_time(erased.modified.timestamp()):
        delete_kept(data, [name])


def read_kept(data: Storage, name: str, schema: pa.Schema) -> pa.Table | None:
    """Return the content of a file; None if there is none, or if it is damaged.

    Args:
        data: the data folder of a store.
        name: of the file.
        schema: that it has, or it is damaged.
    """
    try:
        content = data.read(f"{FOLDER}/{name}")
    except FileNotFoundError:
        return None
    checksum, content = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if checksum != _checksum(content):
        return None
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all() if reader.schema.equals(schema) else None


def delete_kept(data: Storage, names: Sequence[str]) -> None:
    """Delete files; it is not an error if one is gone already."""
    if names:
        data.delete([f"{FOLDER}/{name}" for name in names])


def erase_all_kept(data: Storage) -> None:
    """Delete all files, and what others are about to write of what they read before."""
    data.write(_ERASED, b"")
    paths = (entry.path for entry in data.list(FOLDER))
    while some := list(islice(paths, _DELETED_AT_ONCE)):
        data.delete(some)


def _checksum(content: bytes) -> bytes:
    checksum: int = google_crc32c.value(content)
    return checksum.to_bytes(_CHECKSUM_BYTES, "big")
