"""Functions of the Python API: open and create stores, and run one job on a store by its name."""

import os
from collections.abc import Mapping, Sequence
from typing import Unpack

from dicomferry.pipelines.requests import default_root
from dicomferry.public.flags import ExportFilesFlags, ExportTableFlags, ImportFlags, Path
from dicomferry.public.results import ExportResult, ImportResult
from dicomferry.public.stores import Store
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store import dicom_store
from dicomferry.store.dicom_store import StoreExistsError
from dicomferry.tables.destination import parse_destination


def create_store(
    name: str,
    *,
    root: Path | None = None,
    labels: Mapping[str, str] | None = None,
    stream_to: Sequence[str] = (),
    exist_ok: bool = False,
) -> Store:
    """Create a store.

    Args:
        name: id or full resource name.
        root: folder or gs://bucket/prefix that holds the stores (default: $DICOMFERRY_ROOT, else
            ./dicomferry-data).
        labels: labels of the store, for filters of lists.
        stream_to: tables to which each import appends a row per new instance: bq://…, duckdb:… or
            delta:…
        exist_ok: if the store exists, return it unchanged.

    Raises:
        StoreExistsError: the name is taken, and `exist_ok` is not set.
        ValueError: an argument is wrong, or the root cannot hold a store.

    >>> import dicomferry
    >>> dicomferry.create_store("new", root="archive", labels={"site": "north"})
    Store('new', root='.../archive')
    >>> dicomferry.create_store("new", root="archive", exist_ok=True)
    Store('new', root='.../archive')
    """
    store = Store(_root_of(root), parse_store(name))
    streams = [{"bigqueryDestination": {"tableUri": _checked(table)}} for table in stream_to]
    resource = {"labels": dict(labels or {}), "streamConfigs": streams}
    resource = {field: value for field, value in resource.items() if value}
    try:
        dicom_store.create_store(store._root, store._name, resource)
    except StoreExistsError:
        if not exist_ok:
            raise
    return store


def open_store(name: str, *, root: Path | None = None) -> Store:
    """Open an existing store.

    Args:
        name: id or full resource name.
        root: as in `create_store`.

    Raises:
        StoreNotFoundError: there is no such store.

    >>> import dicomferry
    >>> _ = dicomferry.create_store("old")
    >>> dicomferry.open_store("old").metrics().instance_count
    0
    """
    store = Store(_root_of(root), parse_store(name))
    dicom_store.get_store(store._root, store._name)
    return store


def import_files(
    store: str | Store, source: Path = "", *, root: Path | None = None, **flags: Unpack[ImportFlags]
) -> ImportResult:
    """Import DICOM files into a store; see `Store.import_files`.

    Args:
        store: name of a store, or the store.
        source: file, or pattern with *, ? or **; local or gs://bucket/….
        root: as in `create_store`; only for a store by name.
        **flags: the same as of `dicomferry import`; see `ImportFlags`.

    >>> import dicomferry
    >>> _ = dicomferry.create_store("imported")
    >>> dicomferry.import_files("imported", "dicom/**", dry_run=True).counts
    {'imported': 4, 'failed': 1}
    """
    return _store_of(store, root).import_files(source, **flags)


def export_files(
    store: str | Store,
    destination: Path,
    *,
    root: Path | None = None,
    **flags: Unpack[ExportFilesFlags],
) -> ExportResult:
    """Export instances of a store as files; see `Store.export_files`.

    Args:
        store: name of a store, or the store.
        destination: folder, or gs://bucket/prefix.
        root: as in `create_store`; only for a store by name.
        **flags: the same as of `dicomferry export files`; see `ExportFilesFlags`.

    >>> import dicomferry
    >>> _ = dicomferry.create_store("source").import_files("dicom/CT_small.dcm")
    >>> jpeg_2000 = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"
    >>> dicomferry.export_files("source", "j2k", mime_type=jpeg_2000).counts
    {'exported': 1}
    """
    return _store_of(store, root).export_files(destination, **flags)


def export_table(
    store: str | Store, table: str, *, root: Path | None = None, **flags: Unpack[ExportTableFlags]
) -> ExportResult:
    """Export the instances of a store as rows of a table; see `Store.export_table`.

    Args:
        store: name of a store, or the store.
        table: bq://project.dataset.table, duckdb:FILE#schema.table or delta:FOLDER.
        root: as in `create_store`; only for a store by name.
        **flags: the same as of `dicomferry export table`; see `ExportTableFlags`.

    >>> import dicomferry
    >>> _ = dicomferry.create_store("rows").import_files("dicom/CT_small.dcm")
    >>> dicomferry.export_table("rows", "delta:table", schema="json").counts
    {'exported': 1}
    """
    return _store_of(store, root).export_table(table, **flags)


def _store_of(store: str | Store, root: Path | None) -> Store:
    return Store(_root_of(root), parse_store(store)) if isinstance(store, str) else store


def _root_of(root: Path | None) -> Storage:
    return default_root() if root is None else open_storage(os.fspath(root))


def _checked(table: str) -> str:
    """Return the URI of a table, or raise ValueError if it is wrong."""
    parse_destination(table)
    return table
