"""Which sources a store has taken in already: a hint that spares reading them again.

A Delta table of (SourceUri, Size, Version): a file that changed in place has another
size or version and is read again. Losing rows costs time, never data. Failures and
conflicts are not remembered: they are read, and reported, each time.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError

from dicomferry.sources.listing import Source
from dicomferry.storage.base import Storage
from dicomferry.storage.retries import with_retries
from dicomferry.store.index import arrow_dataset, create_table, raise_os_error, storage_options

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
    """Make the empty table of a new store."""
    create_table(data, _FOLDER, _SCHEMA, {})


def known_sources(data: Storage, sources: Sequence[Source]) -> set[Source]:
    """Those of the sources that were taken in with this very size and version."""
    uris = pa.array([source.uri for source in sources], pa.string())
    field = pc.field("SourceUri")
    found = (field >= pc.min(uris)) & (field <= pc.max(uris)) & field.isin(uris)
    columns = ["SourceUri", "Size", "Version"]

    def read() -> pa.Table:
        table = DeltaTable(data.uri(_FOLDER), storage_options=storage_options(data))
        return arrow_dataset(data, _FOLDER, table).to_table(columns=columns, filter=found)

    rows = (read() if data.is_local else with_retries(read)).to_pydict()
    known = set(zip(rows["SourceUri"], rows["Size"], rows["Version"], strict=True))
    return {s for s in sources if not s.code and (s.uri, s.size, s.version) in known}


def remember_sources(data: Storage, rows: Sequence[tuple[str, int, str, str]]) -> None:
    """Add (SourceUri, Size, Version, Outcome) rows."""
    if not rows:
        return
    columns = [
        pa.array(column, field.type)
        for column, field in zip(zip(*sorted(rows), strict=True), _SCHEMA, strict=True)
    ]

    def write() -> None:
        try:
            write_deltalake(
                data.uri(_FOLDER),
                pa.table(columns, schema=_SCHEMA),
                mode="append",
                storage_options=storage_options(data),
                writer_properties=_WRITER,
            )
        except DeltaError as error:
            if data.is_local:
                raise_os_error(error, data.uri(_FOLDER))
            # As in `dicomferry.store.index.Index.append`: another try may help.
            raise OSError(f"{data.uri(_FOLDER)} could not be written") from error

    if data.is_local:
        write()
    else:
        with_retries(write)  # rows that are there twice are no other hint
