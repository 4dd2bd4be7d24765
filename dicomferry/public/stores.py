"""Stores as Python objects, and the jobs that fill and empty them."""

import dataclasses
import importlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Unpack

from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.requests import Request, default_root
from dicomferry.public.flags import (
    ExportFilesFlags,
    ExportTableFlags,
    ImportFlags,
    Path,
    make_request,
)
from dicomferry.public.progress import progress_bar
from dicomferry.public.results import ExportResult, ImportResult, JobResult
from dicomferry.resource_names import StoreName, parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store import dicom_store, maintenance
from dicomferry.store.dicom_store import DicomStore, StoreExistsError
from dicomferry.store.index import Index
from dicomferry.store.maintenance import Finding
from dicomferry.tables.destination import parse_destination

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

_Result = TypeVar("_Result", bound=JobResult)


class StoreMetrics(NamedTuple):
    """Contents of a store: google.cloud.healthcare.v1.dicom.DicomStoreMetrics.

    Attributes:
        study_count: studies.
        series_count: series.
        instance_count: instances.
        structured_storage_size_bytes: size of all metadata as DICOM JSON.
        blob_storage_size_bytes: size of all files.
    """

    study_count: int
    series_count: int
    instance_count: int
    structured_storage_size_bytes: int
    blob_storage_size_bytes: int


@dataclasses.dataclass(frozen=True)
class Store:
    """A DICOM store; make one with `open_store` or `create_store`.

    >>> import dicomferry
    >>> store = dicomferry.create_store("trial")
    >>> store.name
    'projects/local/locations/local/datasets/default/dicomStores/trial'
    """

    _root: Storage
    _name: StoreName

    @property
    def name(self) -> str:
        """Resource name."""
        return str(self._name)

    @property
    def root(self) -> str:
        """Folder or URI of the bucket that holds the store."""
        return self._root.root

    def __repr__(self) -> str:
        return f"Store({self._name.id!r}, root={self.root!r})"

    def import_files(self, source: Path = "", **flags: Unpack[ImportFlags]) -> ImportResult:
        """Import DICOM files.

        A file that cannot be imported fails alone: look at `ok` and `failures` of the result.

        Args:
            source: file, or pattern with *, ? or **; local or gs://bucket/….
            **flags: as those of `dicomferry import`; see `ImportFlags`.

        Raises:
            JobError: nothing matched, or the job broke.
            ValueError, LookupError: an argument is wrong; nothing was started.

        >>> import dicomferry
        >>> store = dicomferry.create_store("import")
        >>> result = store.import_files("dicom/**")
        >>> result.counts
        {'imported': 4, 'failed': 1}
        >>> result.failures.select(["code"]).to_pylist()
        [{'code': 'NOT_DICOM'}]
        >>> store.import_files("dicom/**").counts
        {'skipped': 4, 'failed': 1}
        """
        values = {"source": source, **flags} if source else flags
        return self._run(ImportRequest, ImportResult, values)

    def export_files(self, destination: Path, **flags: Unpack[ExportFilesFlags]) -> ExportResult:
        """Export instances as DESTINATION/{study}/{series}/{instance}[/{frame}].{extension}.

        Args:
            destination: folder, or gs://bucket/prefix.
            **flags: as those of `dicomferry export files`; see `ExportFilesFlags`.

        Raises:
            JobError: the job broke.
            ValueError, LookupError: an argument is wrong; nothing was started.

        >>> import dicomferry
        >>> store = dicomferry.create_store("files")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> store.export_files("png", mime_type="image/png").counts
        {'exported': 1}
        """
        return self._run(ExportRequest, ExportResult, {"destination": destination, **flags})

    def export_table(self, table: str, **flags: Unpack[ExportTableFlags]) -> ExportResult:
        """Export one row per instance to BigQuery, DuckDB or Delta.

        Args:
            table: bq://project.dataset.table, duckdb:FILE#schema.table or delta:FOLDER.
            **flags: as those of `dicomferry export table`; see `ExportTableFlags`.

        Raises:
            JobError: the job broke, or the table refused the rows.
            ValueError, LookupError: an argument is wrong; nothing was started.

        >>> import dicomferry, duckdb
        >>> store = dicomferry.create_store("table")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> store.export_table("duckdb:trial.duckdb#dicom.instances").ok
        True
        >>> duckdb.connect("trial.duckdb").sql("SELECT Modality FROM dicom.instances").fetchall()
        [('CT',)]
        """
        return self._run(ExportRequest, ExportResult, {"table": table, **flags})

    def instances(self) -> "ds.Dataset":
        """Return the index as an Arrow dataset: one row per instance, as of now.

        Its column `Metadata` is the instance's DICOM JSON (PS3.18 Annex F): patient data.

        >>> import dicomferry, duckdb
        >>> store = dicomferry.create_store("instances")
        >>> _ = store.import_files("dicom/*.dcm")
        >>> instances = store.instances()
        >>> duckdb.sql("SELECT Modality FROM instances ORDER BY Modality").fetchall()
        [('CT',), ('MR',), ('MR',), ('RTPLAN',)]
        """
        return Index(self._found().data).dataset()

    def to_arrow(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the index, or some columns of it, as an Arrow table.

        >>> import dicomferry
        >>> store = dicomferry.create_store("arrow")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> store.to_arrow(["Modality", "NumberOfFrames"]).to_pylist()
        [{'Modality': 'CT', 'NumberOfFrames': 1}]
        """
        return self.instances().to_table(columns=list(columns) if columns is not None else None)

    def metrics(self) -> StoreMetrics:
        """Count studies, series, instances and bytes.

        >>> import dicomferry
        >>> store = dicomferry.create_store("metrics")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> store.metrics().instance_count
        1
        """
        _, *counts = maintenance.metrics(self._found()).values()
        return StoreMetrics(*map(int, counts))

    def verify(self) -> list[Finding]:
        """Read all files of the store; return the instances whose file is missing or damaged.

        >>> import dicomferry
        >>> store = dicomferry.create_store("verify")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> store.verify()
        []
        """
        return [finding for finding in maintenance.verify(self._found()) if finding.problem]

    def _found(self) -> DicomStore:
        return dicom_store.get_store(self._root, self._name)

    def _run(self, kind: type[Request], result: type[_Result], flags: Mapping[str, Any]) -> _Result:
        from dicomferry.pipelines.options import beam_options

        values = dict(flags)
        is_shown, beam_args = values.pop("progress", None), values.pop("beam_args", ())
        request = make_request(kind, store=self._name, root=self._root, **values)
        pipeline = importlib.import_module(f"dicomferry.pipelines.{kind.pipeline}")
        options = beam_options(beam_args)
        with progress_bar(kind.method.verb.lower(), is_shown=is_shown) as on_progress:
            record = pipeline.run(request, options, on_progress)
        return result.of(record, self._root)


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
        name: id, or full resource name.
        root: folder or gs://bucket/prefix that holds the stores (default: $DICOMFERRY_ROOT, else
            ./dicomferry-data).
        labels: labels of the store, to find it by.
        stream_to: tables that a row of every new instance is appended to: bq://…, duckdb:… or
            delta:…
        exist_ok: return a store that exists already as it is.

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
    """Open a store that exists.

    Args:
        name: id, or full resource name.
        root: as of `create_store`.

    Raises:
        StoreNotFoundError: there is no such store.

    >>> import dicomferry
    >>> _ = dicomferry.create_store("old")
    >>> dicomferry.open_store("old").metrics().instance_count
    0
    """
    store = Store(_root_of(root), parse_store(name))
    store._found()
    return store


def import_files(
    store: str | Store, source: Path = "", *, root: Path | None = None, **flags: Unpack[ImportFlags]
) -> ImportResult:
    """Import DICOM files into a store; see `Store.import_files`.

    Args:
        store: name of a store, or the store.
        source: file, or pattern with *, ? or **; local or gs://bucket/….
        root: as of `create_store`, for a store by name.
        **flags: as those of `dicomferry import`; see `ImportFlags`.

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
        root: as of `create_store`, for a store by name.
        **flags: as those of `dicomferry export files`; see `ExportFilesFlags`.

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
        root: as of `create_store`, for a store by name.
        **flags: as those of `dicomferry export table`; see `ExportTableFlags`.

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
    """Return the URI of a table, unless it is wrong."""
    parse_destination(table)
    return table
