"""The index of a store: a Delta table with one row per instance.

An instance exists when, and only when, a committed row points at its blob. Every
append goes through `append`, which Delta refuses if anything was committed after the
version that this object has loaded. What was looked up in an earlier version has to be
compared with what came since, first: `index_commit` does.
"""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import (
    CommitProperties,
    PostCommitHookProperties,
    Schema,
    Transaction,
)
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from dicomferry.storage.base import Storage
from dicomferry.storage.delta_commits import committing
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store.commit_conflicts import CommitConflictError, reporting_conflicts
from dicomferry.store.delta_tables import (
    arrow_dataset,
    create_table,
    open_table,
    table_filesystem,
)
from dicomferry.store.index_files import (
    APP_ID,
    IndexFile,
    WrittenFile,
    add_action,
    appended_files,
    index_folder,
    is_deleted,
    log_path,
    read_columns,
)
from dicomferry.store.index_lookup import find_rows
from dicomferry.store.index_schema import (
    LOOKUP_COLUMNS,
    SCHEMA,
    STATISTICS,
    UID_COLUMNS,
    Column,
)

_RETENTION_HOURS = 7 * 24
# delta-rs deletes log entries that are 30 days old; `vacuum` lets it where nobody needs them.
_KEPT_LOG = timedelta(days=29)
_KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)
# Of all UIDs: files that are read at once, and rows that are handed on.
_READ_FILES = 4
_BATCH_ROWS = 1 << 16
# Name of the transaction whose version is the cut-off, in milliseconds.
_CUTOFF = "cutoff"


def create_index(data: Storage) -> None:
    """Create the empty index of a new store."""
    configuration: dict[str, str | None] = {"delta.dataSkippingStatsColumns": ",".join(STATISTICS)}
    create_table(index_folder(data), SCHEMA, configuration)


def add_columns(data: Storage) -> None:
    """Add the columns that an index lacks, because an earlier version created it.

    Writers fit their rows to the columns that there are. Commits meanwhile are repeated.
    """
    folder = index_folder(data)

    version = 0

    def add() -> None:
        nonlocal version
        table = open_table(folder)
        version = table.version()
        present = {field.name for field in table.schema().fields}
        if missing := [field for field in SCHEMA if field.name not in present]:
            fields = list(Schema.from_arrow(pa.schema(missing)).fields)
            with reporting_conflicts(folder), committing(folder, table, keeps_log=True) as changed:
                changed.alter.add_columns(fields, post_commithook_properties=_KEEP_LOG)

    repeat_until_committed(add, CommitConflictError, lambda: version)


class Index:
    """One version of the index; `append` moves it on."""

    def __init__(self, data: Storage, version: int | None = None) -> None:
        """Load the newest or a given version.

        Raises:
            LookupError: there is no such version, or the store was deleted meanwhile.
        """
        self._data = data
        self._folder = index_folder(data)
        try:
            self._table = open_table(self._folder)
        except TableNotFoundError:
            raise LookupError(f"{self._folder.root} is gone: the store was deleted") from None
        newest = self._table.version()
        if version is not None and version != newest:
            if not 0 <= version < newest:
                raise LookupError(f"there is no version {version}: the newest is {newest}")
            self._load_old(version)

    def _load_old(self, version: int) -> None:
        """Load an earlier version, all of whose files are still kept."""
        kept = {entry.path for entry in self._folder.list()}
        try:
            self._folder.retry(lambda: self._table.load_as_version(version))
            is_kept = kept.issuperset(self.files)
        except DeltaError:
            if log_path(version) in kept:
                raise
            is_kept = False
        if not is_kept:
            raise LookupError(
                f"version {version} is no longer kept: `dicomferry stores optimize` deletes the "
                "files that no version of the last 7 days has"
            )

    @property
    def version(self) -> int:
        """The version that reads and appends refer to."""
        return self._table.version()

    @property
    def schema(self) -> pa.Schema:
        """The columns of this version: those of `SCHEMA`, less or more in another version's."""
        return pa.schema(self._table.schema().to_arrow())

    @property
    def files(self) -> list[str]:
        """The Parquet files of this version, sorted, relative to the index folder."""
        paths = pa.table(self._table.get_add_actions()).column("path").to_pylist()
        return sorted(paths)

    def count(self) -> int:
        """Return how many instances this version has: from the log alone, no file is opened."""
        return int(pc.sum(pa.table(self._table.get_add_actions())["num_records"]).as_py() or 0)

    def dataset(self) -> ds.Dataset:
        """Return this version as an Arrow dataset, for queries by pyarrow or duckdb."""
        return arrow_dataset(self._folder, self._table)

    def uids(self) -> Iterator[pa.RecordBatch]:
        """Yield the three UIDs of every row, of a few files at a time.

        A dataset would keep the footers of all files until it has read the last one.
        """
        at_once = min(_READ_FILES, self._folder.capabilities.concurrency)
        read = functools.partial(read_columns, self._data, columns=UID_COLUMNS)
        files = self.files
        with ThreadPoolExecutor(at_once) as threads:
            for start in range(0, len(files), at_once):
                for rows in threads.map(read, files[start : start + at_once]):
                    yield from rows.to_batches(_BATCH_ROWS)

    def lookup(
        self, sop_instance_uids: Sequence[str], files: Sequence[IndexFile] | None = None
    ) -> pa.Table:
        """Return the rows of those SOP Instance UIDs that exist, by one semi-join.

        Args:
            sop_instance_uids: to look for.
            files: the only ones of `file_stats` to look into; default: all.

        Returns:
            `LOOKUP_COLUMNS`, in no order.
        """
        if not sop_instance_uids:
            return SCHEMA.empty_table().select(LOOKUP_COLUMNS)
        uids = sorted(sop_instance_uids)
        among = self.file_stats() if files is None else files
        filesystem = table_filesystem(self._folder, {file.path: file.size for file in among})
        concurrency = self._folder.capabilities.concurrency
        return self._folder.retry(lambda: find_rows(among, filesystem, uids, concurrency))

    def append(self, files: Sequence[WrittenFile]) -> int:
        """Commit files of rows that no file of this version has; return the new version.

        Columns that another version of the software added are null.

        Raises:
            CommitConflictError: something was committed since this version, or may have been.
        """
        now = int(time.time() * 1000)
        added: list[AddAction | RemoveAction] = [
            file.add_action(now, is_new=True) for file in files
        ]
        self._commit(added, [Transaction(APP_ID, self.version + 1)])
        return self.version

    def refresh(self) -> None:
        """Load the newest version.

        Raises:
            LookupError: the store was deleted meanwhile.
        """
        if is_deleted(self._data):  # deltalake would take that for no news
            raise LookupError(f"{self._folder.root} is gone: the store was deleted")
        self._folder.retry(self._table.update_incremental)

    @property
    def cutoff(self) -> float | None:
        """The time until which blobs without a row may be deleted; None if never any were.

        In seconds since the epoch, by the clock of the data folder.
        """
        milliseconds: int | None = self._table.transaction_version(_CUTOFF)
        return None if milliseconds is None else milliseconds / 1000

    def raise_cutoff(self, cutoff: float) -> None:
        """Commit a later cut-off; one that is as late already stays.

        Raises:
            CommitConflictError: something was committed since this object was loaded, or may have
                been.
        """
        if self.cutoff is None or self.cutoff < cutoff:
            self._commit([], self._cutoff_transactions(cutoff))

    def _cutoff_transactions(self, cutoff: float) -> list[Transaction]:
        """Return what makes a commit raise the cut-off, and each append that began before fail."""
        raised = max(cutoff, self.cutoff or 0)
        return [
            Transaction(APP_ID, self.version + 1),
            Transaction(_CUTOFF, math.ceil(raised * 1000)),
        ]

    def _commit(
        self, actions: Sequence[AddAction | RemoveAction], transactions: list[Transaction]
    ) -> None:
        properties = CommitProperties(
            # No retries: delta-rs would commit even if another process already replaced these
            # files, and their rows would be duplicated.
            max_commit_retries=0,
            app_transactions=transactions,
        )
        with (
            reporting_conflicts(self._folder),
            committing(self._folder, self._table, keeps_log=True) as table,
        ):
            table.create_write_transaction(
                list(actions),
                "append",
                table.schema(),
                commit_properties=properties,
                post_commithook_properties=_KEEP_LOG,
            )

    def file_stats(self) -> list[IndexFile]:
        """Return rows and bounds of each of `files`, from the log.

        A file that another program wrote can lack statistics there: its rows are in its footer, and
        it can have any UID.
        """
        log = pa.table(self._table.get_add_actions(flatten=True))
        uid = Column.SOP_INSTANCE_UID
        names = ("path", "num_records", f"min.{uid}", f"max.{uid}", "size_bytes")
        missing = [None] * log.num_rows
        columns = [
            log.column(name).to_pylist() if name in log.column_names else missing for name in names
        ]
        rows = sorted(zip(*columns, strict=True))
        return [
            IndexFile(
                path,
                self._count_rows(path, size) if count is None else count,
                first or "",
                last or "~",
                size,
            )
            for path, count, first, last, size in rows
        ]

    def _count_rows(self, path: str, size: int) -> int:
        filesystem = table_filesystem(self._folder, {path: size})
        with filesystem.open_input_file(path) as source:
            return int(pq.read_metadata(source).num_rows)

    def replace(self, old: Sequence[str], new: Sequence[str], cutoff: float | None = None) -> bool:
        """Commit files in place of files that have the same rows, or more.

        Where the rows are the same, appends of imports meanwhile are no conflict: the commit goes
        on after them. Snapshots keep the old files; `vacuum` deletes them in time.

        Args:
            old: paths of files of this version.
            new: paths of files that are written already.
            cutoff: raises the cut-off in the same commit; required if `new` has fewer rows, since
                an import may have looked these up.

        Returns:
            False if another process replaced one of the old files.

        Raises:
            CommitConflictError: with a cut-off: something was committed since this object was
                loaded, or may have been.
            LookupError: the store was deleted meanwhile.
        """
        now = int(time.time() * 1000)
        removed = [RemoveAction(path, False, now) for path in old]
        added = [add_action(self._folder, path, now) for path in new]
        if cutoff is not None:
            self._commit([*removed, *added], self._cutoff_transactions(cutoff))
            return True

        def commit() -> bool:
            # All that is between a look and the commit: others get ahead in no more time than this.
            self.refresh()
            files = set(self.files)
            if not set(old) <= files:
                return set(new) <= files  # a commit whose answer was lost
            self._commit([*removed, *added], [])
            return True

        return repeat_until_committed(commit, CommitConflictError, lambda: self.version)

    def vacuum(self, passed: int | None = None) -> None:
        """Delete files that no version of the last 7 days has, and log entries of 30 days.

        What was appended after a version stays, as it was appended, and so does its log.

        Args:
            passed: that version, which all have passed that follow the index; default: this one.
        """
        passed = self.version if passed is None else passed
        needed = appended_files(self._data, passed, self.version).files
        # deltalake's own deletion commits what it did, without a sync.
        old = self._table.vacuum(retention_hours=_RETENTION_HOURS, dry_run=True, full=True)
        self._folder.delete(sorted(set(old) - set(needed)))
        first = self._folder.head(log_path(passed + 1))
        if first is None or datetime.now(UTC) - first.modified < _KEPT_LOG:
            self._table.cleanup_metadata()

    def purge_history(self) -> None:
        """Delete the files that this version no longer has: earlier ones can no longer be read.

        Files that no version ever had stay until `vacuum`: a writer may be about to commit them.
        """
        self._folder.delete(self._unused(ever=False))

    def uncommitted(self) -> list[str]:
        """Return the Parquet files that no version ever had, as far as the log tells."""
        unused = set(self._unused(ever=True)) - set(self._unused(ever=False))
        return sorted(path for path in unused if path.endswith(".parquet") and "/" not in path)

    def _unused(self, *, ever: bool) -> list[str]:
        """Return the files that this version does not have; unless `ever`, an earlier one had."""
        return self._table.vacuum(
            retention_hours=0, enforce_retention_duration=False, dry_run=True, full=ever
        )
