"""The index of a store: a Delta table with one row an instance.

An instance exists when, and only when, a committed row points at its blob. Every
append goes through `append`, which Delta refuses if another import committed after
the version that this object was loaded at: lookup and append must share one object.
"""

import bisect
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from dicomferry.resource_names import INDEX_FOLDER
from dicomferry.storage import gs_clients
from dicomferry.storage.base import Storage
from dicomferry.storage.retries import with_retries

SCHEMA = pa.schema(
    [
        ("StudyInstanceUID", pa.string()),
        ("SeriesInstanceUID", pa.string()),
        ("SOPInstanceUID", pa.string()),
        ("SOPClassUID", pa.string()),
        ("TransferSyntaxUID", pa.string()),
        ("Modality", pa.string()),
        ("NumberOfFrames", pa.int64()),
        ("Metadata", pa.string()),  # DICOM JSON model, PS3.18 Annex F; see headers/metadata.py
        ("StructuredStorageSize", pa.int64()),  # bytes of Metadata
        ("BlobUri", pa.string()),  # relative to the data folder
        ("BlobStorageSize", pa.int64()),  # bytes of the blob
        ("Sha256", pa.string()),  # hex; null where a server-side copy spared reading the bytes
        ("Crc32c", pa.int64()),
        ("SourceUri", pa.string()),
        ("Operation", pa.string()),
        ("LastUpdated", pa.timestamp("us", tz="UTC")),
    ]
)
# What a lookup needs to tell a duplicate from a conflict.
LOOKUP_COLUMNS = [
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "BlobStorageSize",
    "Sha256",
    "Crc32c",
    "SourceUri",
    "Operation",
]
T = TypeVar("T")

_APP_ID = "import"
# Metadata would put whole documents into the statistics of the log and of footers.
STATISTICS = [
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "TransferSyntaxUID",
    "LastUpdated",
]
_OS_ERROR = re.compile(r"\(os error ([0-9]+)\)")
_WRITER = WriterProperties(compression="ZSTD", max_row_group_size=4096)
_UID_COLUMN = SCHEMA.get_field_index("SOPInstanceUID")
# Footers of a bucket come in tens of milliseconds.
_READ_THREADS = 16


class CommitConflictError(Exception):
    """Another import committed since this index was loaded: load anew and look up again.

    Or the bucket failed during a commit, which may have got through: the same is to be done.
    """


def create_index(data: Storage) -> None:
    """Make the empty index of a new store."""
    create_table(
        data, INDEX_FOLDER, SCHEMA, {"delta.dataSkippingStatsColumns": ",".join(STATISTICS)}
    )


def create_table(
    data: Storage, folder: str, schema: pa.Schema, configuration: dict[str, str | None]
) -> None:
    """Make an empty Delta table in a folder that nobody else knows yet."""
    uri, options = data.uri(folder), storage_options(data)

    def create() -> None:
        try:
            DeltaTable.create(
                uri, schema, mode="ignore", storage_options=options, configuration=configuration
            )
        except DeltaError as error:
            if data.is_local:
                raise
            # What another try meets, if the answer to the first one was lost.
            if not DeltaTable.is_deltatable(uri, storage_options=options):
                raise OSError(f"{uri} could not be created") from error

    if data.is_local:
        create()
    else:
        with_retries(create)


def arrow_dataset(data: Storage, folder: str, table: DeltaTable) -> ds.Dataset:
    """A version of a Delta table as an Arrow dataset."""
    if not data.is_local:
        return table.to_pyarrow_dataset()
    # What deltalake puts between Arrow and local files doubles the time of many small reads.
    return table.to_pyarrow_dataset(
        filesystem=SubTreeFileSystem(data.uri(folder), LocalFileSystem())
    )


class IndexFile(NamedTuple):
    """One Parquet file: its rows, the first and the last SOP Instance UID."""

    path: str
    rows: int
    first: str
    last: str


class Index:
    """One version of the index; `append` moves it on."""

    def __init__(self, data: Storage, version: int | None = None) -> None:
        """Load the newest or a given version.

        Raises:
            LookupError: there is no such version, or the store was deleted meanwhile.
        """
        self._data = data
        options = storage_options(data)
        uri = data.uri(INDEX_FOLDER)
        try:
            self._table = self._again(lambda: DeltaTable(uri, storage_options=options))
        except TableNotFoundError:
            raise LookupError(f"{uri} is gone: the store was deleted") from None
        newest = self._table.version()
        if version is not None and version != newest:
            if not 0 <= version < newest:
                raise LookupError(f"there is no version {version}: the newest is {newest}")
            self._again(lambda: self._table.load_as_version(version))

    @property
    def version(self) -> int:
        """The version that reads and appends refer to."""
        return self._table.version()

    @property
    def files(self) -> list[str]:
        """The Parquet files of this version, sorted, relative to the index folder."""
        paths = pa.table(self._table.get_add_actions()).column("path").to_pylist()
        return sorted(paths)

    def count(self) -> int:
        """How many instances this version has: from the log alone, no file is opened."""
        return int(pc.sum(pa.table(self._table.get_add_actions())["num_records"]).as_py() or 0)

    def dataset(self) -> ds.Dataset:
        """This version as an Arrow dataset, for queries by pyarrow or duckdb."""
        return arrow_dataset(self._data, INDEX_FOLDER, self._table)

    def uids(self) -> Iterator[pa.RecordBatch]:
        """The three UIDs of every row."""
        columns = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
        yield from self.dataset().to_batches(columns=columns)

    def lookup(
        self, sop_instance_uids: Sequence[str], files: Sequence[str] | None = None
    ) -> pa.Table:
        """The rows of those SOP Instance UIDs that exist: one semi-join, `LOOKUP_COLUMNS`.

        Args:
            sop_instance_uids: to look for.
            files: the only ones of `files` to look into; default: all.
        """
        if not sop_instance_uids:
            return SCHEMA.empty_table().select(LOOKUP_COLUMNS)
        return self._again(lambda: self._find(sorted(sop_instance_uids), files))

    def files_since(self, earlier: "Index") -> list[str] | None:
        """The files that came after an earlier version; None if some of that are gone."""
        before, now = set(earlier.files), set(self.files)
        return sorted(now - before) if before <= now else None

    def _find(self, uids: list[str], files: Sequence[str] | None) -> pa.Table:
        candidates = {
            file.path for file in self.describe() if _is_between(uids, file.first, file.last)
        }
        if files is not None:
            candidates &= set(files)
        dataset = self.dataset()
        fragments = [f for f in dataset.get_fragments() if f.path in candidates]
        # Most are new, which their UIDs alone tell, at half the cost of all columns.
        found = _rows_of(dataset, fragments, uids, ["SOPInstanceUID"])
        known = sorted(found.column(0).to_pylist())
        return _rows_of(dataset, fragments, known, LOOKUP_COLUMNS)

    def _again(self, call: Callable[[], T]) -> T:
        return call() if self._data.is_local else with_retries(call)

    def append(self, rows: pa.Table | pa.RecordBatchReader) -> int:
        """Commit rows (`SCHEMA`) that are sorted by SOPInstanceUID; return the new version.

        A reader is written as it is read, so the whole need never be in memory.

        Raises:
            CommitConflictError: another import committed since this object was loaded, or may
                have.
        """
        before = set(self.files)
        transaction = Transaction(_APP_ID, self.version + 1)
        with self._telling_conflicts():
            write_deltalake(
                self._table,
                rows,
                mode="append",
                writer_properties=_WRITER,
                commit_properties=CommitProperties(app_transactions=[transaction]),
            )
        log = f"_delta_log/{self.version:020}.json"
        added = sorted(set(self.files) - before)
        self._data.sync(f"{INDEX_FOLDER}/{path}" for path in (*added, log))
        return self.version

    def describe(self) -> list[IndexFile]:
        """Each of `files`, from the log alone."""
        log = pa.table(self._table.get_add_actions(flatten=True))
        names = ("path", "num_records", "min.SOPInstanceUID", "max.SOPInstanceUID")
        columns = [log.column(name).to_pylist() for name in names]
        rows = sorted(zip(*columns, strict=True))
        # Whoever wrote a file without bounds: any UID may be in it.
        return [IndexFile(path, count, a or "", z or "~") for path, count, a, z in rows]

    def replace(self, old: Sequence[str], new: Sequence[str]) -> None:
        """Commit files that hold the same rows as those of this version that they replace.

        Snapshots keep the old ones; `remove_replaced` deletes them in time.

        Raises:
            CommitConflictError: something was committed since this object was loaded, or may have
                been.
        """
        now = int(time.time() * 1000)
        self._data.sync(f"{INDEX_FOLDER}/{path}" for path in new)
        removed = [RemoveAction(path, False, now) for path in old]
        added = [self._add(path, now) for path in new]
        with self._telling_conflicts():
            self._table.create_write_transaction(
                [*removed, *added],
                "append",
                SCHEMA,
                # It would commit after another that removed the same files: their rows came twice.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        self._data.sync([f"{INDEX_FOLDER}/_delta_log/{self.version + 1:020}.json"])

    @contextmanager
    def _telling_conflicts(self) -> Iterator[None]:
        """Tell what a commit breaks with as the conflict that it is, or may be."""
        try:
            yield
        except CommitFailedError as error:
            raise CommitConflictError(str(error)) from error
        except (OSError, DeltaError) as error:
            # DeltaError: it was told of another version, and then could not read that one.
            if self._data.is_local:
                raise_os_error(error, self._data.uri(INDEX_FOLDER))
            raise CommitConflictError(str(error)) from error

    def _add(self, path: str, now: int) -> AddAction:
        entry = self._data.head(f"{INDEX_FOLDER}/{path}")
        if entry is None:
            raise FileNotFoundError(self._data.uri(f"{INDEX_FOLDER}/{path}"))
        with _open(self._data, path) as parquet:
            statistics = _statistics(parquet.metadata)
        return AddAction(path, entry.size, {}, now, False, json.dumps(statistics))

    def remove_replaced(self) -> None:
        """Delete files that no version of the last 7 days has."""
        self._table.vacuum(retention_hours=7 * 24, dry_run=False, full=True)


def _statistics(metadata: pq.FileMetaData) -> dict[str, Any]:
    """What the log tells of a file, from its footer: as delta-rs writes it itself."""
    found: dict[str, Any] = {"numRecords": metadata.num_rows}
    found |= {name: {} for name in ("minValues", "maxValues", "nullCount")}
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    for name in STATISTICS:
        column = SCHEMA.get_field_index(name)
        chunks = [group.column(column).statistics for group in groups]
        found["nullCount"][name] = sum(chunk.null_count for chunk in chunks)
        bounded = [chunk for chunk in chunks if chunk.has_min_max]
        if bounded:
            found["minValues"][name] = _bound(min(chunk.min for chunk in bounded))
            found["maxValues"][name] = _bound(max(chunk.max for chunk in bounded))
    return found


def _bound(value: str | datetime) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return value


def raise_os_error(error: Exception, uri: str) -> NoReturn:
    """Raise what the disk said, which deltalake wraps up as Parquet that is no good, or `error`."""
    found = _OS_ERROR.search(str(error))
    if found is None:
        raise error
    raise OSError(int(found[1]), os.strerror(int(found[1])), uri) from error


def _rows_of(
    dataset: ds.Dataset, fragments: Sequence[ds.Fragment], uids: list[str], columns: list[str]
) -> pa.Table:
    """The rows of sorted UIDs, from the row groups whose bounds let them hold one."""
    with ThreadPoolExecutor(_READ_THREADS) as threads:
        narrowed = list(threads.map(lambda fragment: _narrowed(fragment, uids), fragments))
    some = [fragment for fragment in narrowed if fragment is not None]
    files = ds.FileSystemDataset(some, dataset.schema, dataset.format, dataset.filesystem)
    among = pc.field("SOPInstanceUID").isin(pa.array(uids, pa.string()))
    return files.to_table(columns=columns, filter=among)


def _narrowed(fragment: ds.Fragment, uids: list[str]) -> ds.Fragment | None:
    """Its row groups that can hold one of the sorted UIDs; None if there is none.

    Arrow itself skips by the least and the greatest of all UIDs alone.
    """
    metadata = fragment.metadata
    found = []
    for number in range(metadata.num_row_groups):
        bounds = metadata.row_group(number).column(_UID_COLUMN).statistics
        if bounds is None or not bounds.has_min_max or _is_between(uids, bounds.min, bounds.max):
            found.append(number)
    return fragment.subset(row_group_ids=found) if found else None


def _is_between(uids: list[str], first: str, last: str) -> bool:
    place = bisect.bisect_left(uids, first)
    return place < len(uids) and uids[place] <= last


def row_groups(data: Storage, file: str) -> int:
    """How many row groups one of `Index.files` has."""
    with _open(data, file) as parquet:
        return int(parquet.num_row_groups)


def read_row_group(data: Storage, file: str, row_group: int, columns: list[str]) -> pa.Table:
    """Some columns of one row group: the unit in which exports read an index."""
    with _open(data, file) as parquet:
        return parquet.read_row_group(row_group, columns=columns)


def row_group_batches(
    data: Storage, file: str, row_group: int, columns: list[str], rows: int, size: int
) -> Iterator[pa.RecordBatch]:
    """Some columns of one row group, at most so many rows and bytes of Metadata at a time.

    A single Metadata that is larger comes alone.
    """
    with _open(data, file) as parquet:
        sizes = parquet.read_row_group(row_group, columns=["StructuredStorageSize"])
        largest = pc.max(sizes.column(0)).as_py() or 1
        rows = max(1, min(rows, size // largest))
        yield from parquet.iter_batches(rows, row_groups=[row_group], columns=columns)


def appended_files(data: Storage, after: int, upto: int) -> list[str]:
    """The Parquet files that imports appended in the versions after one, up to another.

    Of a file that was compacted meanwhile it is the one from before, with its own rows alone.

    Raises:
        LookupError: the log, or such a file, is no longer kept.
    """
    files = []
    for version in range(after + 1, upto + 1):
        try:
            log = data.read(f"{INDEX_FOLDER}/_delta_log/{version:020}.json")
        except FileNotFoundError:
            raise LookupError(_too_long_ago(data)) from None
        actions = [json.loads(line) for line in log.splitlines()]
        if any(action.get("txn", {}).get("appId") == _APP_ID for action in actions):
            files += [unquote(action["add"]["path"]) for action in actions if "add" in action]
    if any(data.head(f"{INDEX_FOLDER}/{file}") is None for file in files):
        raise LookupError(_too_long_ago(data))
    return files


def _too_long_ago(data: Storage) -> str:
    return f"what was imported long ago is no longer told apart in {data.uri(INDEX_FOLDER)}"


@contextmanager
def _open(data: Storage, file: str) -> Iterator[pq.ParquetFile]:
    """Open one of `Index.files`; where requests wait, its columns are fetched at the same time."""
    with data.open_seekable(f"{INDEX_FOLDER}/{file}") as source:
        yield pq.ParquetFile(source, pre_buffer=data.capabilities.concurrency > 1)


def storage_options(data: Storage) -> dict[str, str] | None:
    """What deltalake needs to reach a storage; None for local folders."""
    return None if data.is_local else gs_clients.delta_storage_options()
