"""Which sources a store has imported already: a hint that saves reading them again.

A Delta table of (SourceUri, Size, Version): a file that changed in place has another
size or version and is read again. Losing rows costs time, never data. Failures and
conflicts are not remembered: they are read, and reported, each time. A damaged table is begun anew.

    sources/           the table
    forgotten/{hash}   what a deletion of instances forgot: hashes of URIs, 8 bytes each

What is forgotten stays so, also if an import remembers it later: that import may have committed
before the deletion.
"""

import functools
import hashlib
import logging
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from dicomferry.operations.outcomes import Outcome
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.storage.delta_commits import committing
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store.delta_tables import (
    arrow_dataset,
    create_table,
    open_table,
    reporting_os_errors,
    table_folder,
)
from dicomferry.store.index_files import index_folder

_LOGGER = logging.getLogger(__name__)
_FOLDER = "sources"
_FORGOTTEN = "forgotten"
_HASH_BYTES = 8
_SCHEMA = pa.schema(
    [
        ("SourceUri", pa.string()),
        ("Size", pa.int64()),
        ("Version", pa.string()),  # mtime or generation
        ("Outcome", pa.string()),
    ]
)
_WRITER = WriterProperties(compression="ZSTD")


def create_known_sources(data: Storage) -> None:
    """Create the empty table of a new store."""
    create_table(table_folder(data, _FOLDER), _SCHEMA, {})


def known_sources(data: Storage, sources: Sequence[Source]) -> set[Source]:
    """Return those of the sources that were imported with this very size and version."""
    uris = pa.array([source.uri for source in sources], pa.string())
    field = pc.field("SourceUri")
    among = (field >= pc.min(uris)) & (field <= pc.max(uris)) & field.isin(uris)
    columns = ["SourceUri", "Size", "Version", "Outcome"]
    folder = table_folder(data, _FOLDER)

    def read() -> pa.Table:
        dataset = arrow_dataset(folder, open_table(folder))
        return dataset.to_table(columns=columns, filter=among)

    try:
        rows = folder.retry(read).to_pylist()
    except (OSError, DeltaError, pa.ArrowException) as error:
        _warn("read", error)
        if _is_damage(error):
            _begin_anew(data)
        return set()
    if forgotten := _forgotten(data):
        # A duplicate of a deleted instance has another source, which nobody knows.
        rows = [
            row
            for row in rows
            if row["Outcome"] == Outcome.IMPORTED and _hash(row["SourceUri"]) not in forgotten
        ]
    known = {(row["SourceUri"], row["Size"], row["Version"]) for row in rows}
    return {s for s in sources if not s.code and (s.uri, s.size, s.version) in known}


def forget_sources(data: Storage, uris: Iterable[str]) -> None:
    """Let the next import read sources again."""
    content = b"".join(sorted({_hash(uri) for uri in uris}))
    if not content:
        return
    # Named by its content: what a process has read of it stays right.
    path = f"{_FORGOTTEN}/{hashlib.sha256(content).hexdigest()}"
    data.write(path, content)
    data.sync([path])


def _forgotten(data: Storage) -> frozenset[bytes]:
    paths = sorted(entry.path for entry in data.list(_FORGOTTEN))
    return _read_forgotten(data, tuple(paths)) if paths else frozenset()


@functools.lru_cache(maxsize=1)
def _read_forgotten(data: Storage, paths: tuple[str, ...]) -> frozenset[bytes]:
    content = b"".join(data.read(path) for path in paths)
    starts = range(0, len(content), _HASH_BYTES)
    return frozenset(content[start : start + _HASH_BYTES] for start in starts)


def _hash(uri: str) -> bytes:
    content = uri.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(content, digest_size=_HASH_BYTES).digest()


def remember_sources(data: Storage, rows: Sequence[tuple[str, int, str, str]]) -> None:
    """Add (SourceUri, Size, Version, Outcome) rows."""
    if not rows:
        return
    columns = [
        pa.array(column, field.type)
        for column, field in zip(zip(*sorted(rows), strict=True), _SCHEMA, strict=True)
    ]
    folder = table_folder(data, _FOLDER)

    def write() -> None:
        with reporting_os_errors(folder), committing(folder, open_table(folder)) as table:
            rows = pa.table(columns, schema=_SCHEMA)
            write_deltalake(table, rows, mode="append", writer_properties=_WRITER)

    def write_repeatedly() -> None:
        # A row that is there twice is the same hint.
        repeat_until_committed(lambda: folder.retry(write), CommitFailedError)

    try:
        write_repeatedly()
    except (OSError, DeltaError, pa.ArrowException) as error:
        if not _is_damage(error) and not isinstance(error.__cause__ or error, DeltaError):
            raise  # the disk is full, or such
        _warn("written", error)
        if _is_damage(error) and _begin_anew(data):
            write_repeatedly()


def _is_damage(error: Exception) -> bool:
    """Whether the table is broken; what a network did passes by itself."""
    if isinstance(error, CommitFailedError):
        return False
    return isinstance(error, (FileNotFoundError, DeltaError, pa.ArrowException))


def _begin_anew(data: Storage) -> bool:
    """Replace the table by an empty one; return whether that was done."""
    if next(iter(index_folder(data).list("_delta_log")), None) is None:
        return False  # the store was deleted
    try:
        table_folder(data, _FOLDER).remove_all()
        create_known_sources(data)
    except (OSError, DeltaError) as error:  # another process does the same
        _warn("made anew", error)
        return False
    return True


def _warn(what: str, error: Exception) -> None:
    _LOGGER.warning(
        "the list of files that were read already could not be %s (%s): "
        "they are read again, and nothing is imported twice",
        what,
        type(error).__name__,
    )
