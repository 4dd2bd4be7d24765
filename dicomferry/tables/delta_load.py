"""Check and load a Delta table, by one atomic commit."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from dicomferry.storage.base import Storage
from dicomferry.storage.delta_commits import committing, creating
from dicomferry.storage.writable import is_writable
from dicomferry.tables.delta_types import (
    DELTA_TYPES,
    arrow_schema,
    columns_of,
    in_delta,
    in_order_of,
)
from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.duckdb_types import (
    MEMORY_BUDGETS,
    UNFIT_ROW_ERRORS,
    is_out_of_memory,
    too_large,
    unfit_row,
)
from dicomferry.tables.errors import TableBusyError, TableError, TableNotEmptyError
from dicomferry.tables.parquet_files import ParquetFiles
from dicomferry.tables.schema import Schema, widened
from dicomferry.tables.special_files import refuse_special_files

if TYPE_CHECKING:
    from dicomferry.tables.delta_table import DeltaTablePath

_APP = "dicomferry-load"
_ATTEMPTS = 20
T = TypeVar("T")


def check(destination: "DeltaTablePath", disposition: WriteDisposition, schema: Schema) -> None:
    """Refuse what `load` would refuse, as far as it can be known; changes nothing.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableError.
    """
    _refuse(_open_latest(destination), destination, disposition, schema)
    if not is_writable(destination.storage):
        raise TableError(
            f"the folder {destination.location} cannot be made or written. Change the permissions,"
            " or choose another."
        )


def load(destination: "DeltaTablePath", load: Load) -> None:
    """Put the rows in by one commit, all or none of them, and once for a `Load.job`.

    A new table appears, empty, before the commit, and so do new columns before their rows. If
    another load commits in between, this one checks the table again; the rows of the other remain,
    except under WRITE_TRUNCATE.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableBusyError, TableError: no row was added.
    """
    table = _open_latest(destination)
    if table is not None and _has(destination, table, load.job):
        return
    _refuse(table, destination, load.disposition, load.schema)
    if table is None:
        # If two loads create a table with their rows at the same time, both succeed, and the rows
        # of both are in it. So it is created empty, and then handled like one that was there.
        _create(destination, load.schema)
    ordered = load.schema if table is None else in_order_of(columns_of(table), load.schema)
    with ParquetFiles(destination.storage) as files:
        for budget in MEMORY_BUDGETS:
            try:
                files.write(load.shards, ordered, DELTA_TYPES, budget)
                break
            except duckdb.Error as error:
                if not is_out_of_memory(error):
                    if isinstance(error, UNFIT_ROW_ERRORS):
                        raise unfit_row(destination.uri) from None
                    raise
        else:
            raise too_large(destination.uri)
        _commit(destination, files, load)


def _commit(destination: "DeltaTablePath", files: ParquetFiles, load: Load) -> None:
    def try_once() -> bool:
        """Return whether the rows are in, by this commit or an earlier one."""
        table = _open(destination)
        if table.transaction_version(load.job) is not None:
            # The table has these files if the answer of our own commit was lost; if another process
            # ran the same load, it has others.
            files.keep(pa.table(table.get_add_actions()).column("path").to_pylist())
            return True
        files.keep(())
        _refuse(table, destination, load.disposition, load.schema)
        files.keep()  # until the outcome is known: a commit that fails may have got through
        try:
            _add(destination.storage, table, files.added, load)
        except CommitFailedError:
            if not destination.storage.capabilities.is_networked:
                files.keep(())
            return False
        return True

    for attempt in range(_ATTEMPTS):
        if _retried(destination, try_once):
            return
        time.sleep(random.uniform(0.0, 0.1 * (attempt + 1)))
    raise TableBusyError(
        f"the load into {destination.uri} lost {_ATTEMPTS} races against other loads. Try again"
        " when fewer run."
    )


def _add(storage: Storage, table: DeltaTable, files: list[AddAction], load: Load) -> None:
    # Delta refuses a commit if one of the same application came after the version of `table`; the
    # transaction's number has no effect. An application named after the job records that it ran.
    ours, done = Transaction(_APP, 1), Transaction(load.job, 1)
    columns = arrow_schema(load.schema)
    with committing(storage, table) as changed:
        if load.disposition is WriteDisposition.WRITE_TRUNCATE:
            mode, schema_after = "overwrite", DeltaSchema.from_arrow(columns)
        else:
            existing = columns_of(changed)
            if widened(existing, in_delta(load.schema)) != existing:
                write_deltalake(
                    changed,
                    columns.empty_table(),
                    mode="append",
                    schema_mode="merge",
                    commit_properties=CommitProperties(app_transactions=[ours]),
                )
            mode, schema_after = "append", changed.schema()
        changed.create_write_transaction(
            list(files),
            mode,
            schema_after,
            commit_properties=CommitProperties(app_transactions=[ours, done]),
        )


def _open(destination: "DeltaTablePath") -> DeltaTable:
    storage = destination.storage
    return DeltaTable(storage.root, storage_options=storage.delta_options())


def _open_latest(destination: "DeltaTablePath") -> DeltaTable | None:
    """Return the table at its latest version, None if it does not exist."""
    location = destination.location
    if destination.is_local:
        if not os.path.exists(location):
            return None
        is_folder = os.path.isdir(location)
        if not is_folder or (os.listdir(location) and "_delta_log" not in os.listdir(location)):
            raise TableError(
                f"{location} exists and is not a Delta table. Choose another folder, or empty it."
            )
        refuse_special_files(_files_of_log(os.path.join(location, "_delta_log")))
    try:
        return _retried(destination, lambda: _open(destination))
    except TableNotFoundError:
        return None


def _files_of_log(folder: str) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return [entry.path for entry in entries if not entry.is_dir()]
    return []


def _create(destination: "DeltaTablePath", schema: Schema) -> None:
    """Create an empty table, unless another load was faster."""
    columns, storage = arrow_schema(schema), destination.storage
    options = storage.delta_options()

    def create() -> None:
        try:
            with creating(storage) as uri:
                DeltaTable.create(uri, columns, mode="error", storage_options=options)
        except DeltaError:
            if _open_latest(destination) is None:
                raise

    _retried(destination, create)


def _has(destination: "DeltaTablePath", table: DeltaTable, job: str) -> bool:
    return _retried(destination, lambda: table.transaction_version(job)) is not None


def _retried(destination: "DeltaTablePath", call: Callable[[], T]) -> T:
    """Call an idempotent function until the table's storage answers in full."""

    def call_networked() -> T:
        try:
            return call()
        except TableNotFoundError:
            raise
        except DeltaError as error:
            # A listing that broke off, or a version that it listed and then could not read.
            raise OSError(str(error)) from error

    storage = destination.storage
    return storage.retry(call_networked if storage.capabilities.is_networked else call)


def _refuse(
    table: DeltaTable | None,
    destination: "DeltaTablePath",
    disposition: WriteDisposition,
    schema: Schema,
) -> None:
    if table is None or disposition is WriteDisposition.WRITE_TRUNCATE:
        return
    if disposition is WriteDisposition.WRITE_EMPTY and table.count():
        raise TableNotEmptyError(destination.uri)
    widened(columns_of(table), in_delta(schema))
