"""The Delta tables of a store: where they are, and how their errors are reported.

Where a storage is networked, a commit that fails may have happened: its answer can be lost.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSystem, PyFileSystem

from dicomferry.storage.base import Storage
from dicomferry.storage.delta_commits import creating

_OS_ERROR = re.compile(r"\(os error ([0-9]+)\)")


def table_folder(data: Storage, name: str) -> Storage:
    """Return where Delta finds a table of a store's data folder."""
    return data.for_delta().subfolder(name)


def create_table(folder: Storage, schema: pa.Schema, configuration: dict[str, str | None]) -> None:
    """Create an empty Delta table in a folder that nobody else knows yet."""
    options = folder.delta_options()

    def create() -> None:
        with reporting_os_errors(folder), creating(folder) as uri:
            try:
                DeltaTable.create(
                    uri, schema, mode="ignore", storage_options=options, configuration=configuration
                )
            except DeltaError:
                # If the answer to a first attempt was lost, the second one fails like this.
                lost = folder.capabilities.is_networked
                if not (lost and DeltaTable.is_deltatable(uri, storage_options=options)):
                    raise

    folder.retry(create)


def open_table(folder: Storage) -> DeltaTable:
    """Load the newest version of a table.

    Raises:
        deltalake.exceptions.TableNotFoundError: there is no table.
    """
    return folder.retry(lambda: DeltaTable(folder.root, storage_options=folder.delta_options()))


def arrow_dataset(folder: Storage, table: DeltaTable) -> ds.Dataset:
    """Return the loaded version of a table as an Arrow dataset."""
    return table.to_pyarrow_dataset(filesystem=folder.arrow_filesystem())


def table_filesystem(folder: Storage, sizes: dict[str, int]) -> FileSystem:
    """Return a file system that has some files of a table.

    Args:
        folder: of the table.
        sizes: bytes of the files by their paths, which saves a request for each.
    """
    return folder.arrow_filesystem() or PyFileSystem(
        DeltaStorageHandler(folder.root, folder.delta_options(), sizes)
    )


@contextmanager
def reporting_os_errors(folder: Storage) -> Iterator[None]:
    """Raise the OSError that a `DeltaError` of a table in this folder wraps or amounts to.

    deltalake reports an error of a disk as Parquet that cannot be read. An error of a network can
    come to anything.

    Raises:
        CommitFailedError: as it is: another writer was faster.
    """
    try:
        yield
    except CommitFailedError:
        raise
    except DeltaError as error:
        if folder.capabilities.is_networked:
            raise OSError(f"{folder.root} could not be written") from error
        raise_os_error(error, folder.root)


def raise_os_error(error: Exception, uri: str) -> NoReturn:
    """Raise the OSError that an error of deltalake wraps, or the error itself."""
    match = _OS_ERROR.search(str(error))
    if match is None:
        raise error
    raise OSError(int(match[1]), os.strerror(int(match[1])), uri) from error
