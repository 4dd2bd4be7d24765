"""Which sources a store has imported already: a hint that saves reading them again.

A Delta table of (SourceUri, Size, Version): a file that changed in place has another
size or version and is read again. Losing rows costs time, never data. Failures and
conflicts are not remembered: they are read, and reported, each time.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError

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

_FOLDER = "sources"
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
    columns = ["SourceUri", "Size", "Version"]
    folder = table_folder(data, _FOLDER)

    def read() -> pa.Table:
        dataset = arrow_dataset(folder, open_table(folder))
        return dataset.to_table(columns=columns, filter=among)

    rows = folder.retry(read).to_pydict()
    known = set(zip(*(rows[column] for column in columns), strict=True))
    return {s for s in sources if not s.code and (s.uri, s.size, s.version) in known}


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

    # A row that is there twice is the same hint.
    repeat_until_committed(lambda: folder.retry(write), CommitFailedError)
