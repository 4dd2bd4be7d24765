"""What imports have read and not committed yet, where the next import finds it: a hint.

    reads-erased              the name of the last deletion of all of them, if there was one
    read/{deletion}/{name}    what was read since: a table in Arrow's IPC format, after the CRC-32C
                              of its bytes; read/{name} if there was none

A file is written when the blobs of its rows are synced, and deleted when its import has ended. What
a killed import leaves is taken by the next one, and `stores vacuum` deletes it after 7 days. It
holds Metadata, so `stores delete-instances` deletes all of it. An import reads the mark before it
reads the first source: so what it writes later is in the folder of a deletion that is not the last,
where nobody looks for it. The writer deletes it; after a writer that was killed, `delete_stale`
does. Losing a file costs time, never data.
"""

import os
import secrets
from collections.abc import Iterable, Sequence
from itertools import islice

import google_crc32c
import pyarrow as pa

from dicomferry.storage.base import Storage

FOLDER = "read"
_ERASED = "reads-erased"
_CHECKSUM_BYTES = 4
_DELETED_AT_ONCE = 1000


def folder_of_reads(data: Storage) -> str:
    """Return the folder of what is read from now on: another one after each deletion of all."""
    try:
        deletion = data.read(_ERASED).decode()
    except FileNotFoundError:
        return FOLDER
    return f"{FOLDER}/{deletion}" if deletion else FOLDER


def write_kept(data: Storage, path: str, table: pa.Table) -> None:
    """Write a file, replacing one of the same name, unless all are deleted meanwhile.

    Args:
        data: the data folder of a store.
        path: of the file: in the folder that `folder_of_reads` returned before the first of it was
            read, and a name made of content alone, so that two imports write the same.
        table: its content.
    """
    if _is_stale(path, folder_of_reads(data)):
        return
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    data.write(path, _checksum(content) + content)
    if _is_stale(path, folder_of_reads(data)):
        delete_kept(data, [path])


def read_kept(data: Storage, path: str, schema: pa.Schema) -> pa.Table | None:
    """Return the content of a file; None if there is none, or if it is damaged.

    Args:
        data: the data folder of a store.
        path: of the file.
        schema: that it has, or it is damaged.
    """
    try:
        content = data.read(path)
    except FileNotFoundError:
        return None
    checksum, content = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if checksum != _checksum(content):
        return None
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all() if reader.schema.equals(schema) else None


def delete_kept(data: Storage, paths: Sequence[str]) -> None:
    """Delete files; it is not an error if one is gone already."""
    if paths:
        data.delete(paths)


def erase_all_kept(data: Storage) -> None:
    """Delete all files, and what others are about to write of what they read before."""
    data.write(_ERASED, secrets.token_hex(8).encode())
    _delete_all(data, (entry.path for entry in data.list(FOLDER)))


def delete_stale(data: Storage) -> None:
    """Delete what was read before the last deletion of all, by writers that were killed.

    Of files that were not complete, those of this host.
    """
    folder = folder_of_reads(data)
    if folder == FOLDER:
        return
    paths = (entry.path for entry in data.list(FOLDER))
    _delete_all(data, (path for path in paths if _is_stale(path, folder)))
    for parent in {os.path.dirname(entry.path) for entry in data.partial_files(FOLDER)}:
        data.remove_partial(parent)


def _is_stale(path: str, folder: str) -> bool:
    return os.path.dirname(path) != folder


def _delete_all(data: Storage, paths: Iterable[str]) -> None:
    paths = iter(paths)
    while some := list(islice(paths, _DELETED_AT_ONCE)):
        data.delete(some)


def _checksum(content: bytes) -> bytes:
    checksum: int = google_crc32c.value(content)
    return checksum.to_bytes(_CHECKSUM_BYTES, "big")
