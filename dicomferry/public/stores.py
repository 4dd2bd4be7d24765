"""Stores as Python objects, and the jobs that fill and empty them."""

import dataclasses
import importlib
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Unpack

from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.requests import Request
from dicomferry.public.flags import (
    ExportFilesFlags,
    ExportTableFlags,
    ImportFlags,
    Path,
    make_request,
)
from dicomferry.public.progress import progress_bar
from dicomferry.public.results import DeletionResult, ExportResult, ImportResult, JobResult
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage
from dicomferry.store import dicom_store, maintenance, verification
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import read_instance_filter
from dicomferry.store.verification import Finding

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from apache_beam.options.pipeline_options import PipelineOptions

    from dicomferry.public.own_pipelines import ExportRun, ImportRun

_Request = TypeVar("_Request", bound=Request)
_Result = TypeVar("_Result", bound=JobResult)


class StoreMetrics(NamedTuple):
    """Contents of a store: google.cloud.healthcare.v1.dicom.DicomStoreMetrics.

    Attributes:
        study_count: number of studies.
        series_count: number of series.
        instance_count: number of instances.
        structured_storage_size_bytes: size of the metadata of all instances as DICOM JSON.
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

        A file that cannot be imported raises no error: see `ok` and `failures` of the result.

        Args:
            source: file, or pattern with *, ? or **; local or gs://bucket/….
            **flags: the same as of `dicomferry import`; see `ImportFlags`.

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
            **flags: the same as of `dicomferry export files`; see `ExportFilesFlags`.

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
            **flags: the same as of `dicomferry export table`; see `ExportTableFlags`.

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

    def import_pipeline(
        self,
        *,
        dry_run: bool = False,
        on_conflict: str = "fail",
        options: "PipelineOptions | None" = None,
    ) -> "AbstractContextManager[ImportRun]":
        """Return a context manager for your own pipeline that imports with `ImportInstances`.

        The operation begins and ends with the `with` block.

        Args:
            dry_run: read and check everything, store nothing.
            on_conflict: "fail" or "ignore".
            options: the options of your Beam pipeline; default: the local runner.

        Raises:
            JobError: the pipeline failed.

        >>> import apache_beam as beam, dicomferry
        >>> store = dicomferry.create_store("own")
        >>> with store.import_pipeline() as run, beam.Pipeline("FnApiRunner") as pipeline:
        ...     uris = pipeline | beam.Create(["dicom/*.dcm"])
        ...     _ = uris | dicomferry.ListSources() | dicomferry.ImportInstances(run.job)
        >>> run.result.counts
        {'imported': 4}
        """
        from dicomferry.pipelines.options import beam_options
        from dicomferry.public.own_pipelines import importing

        request = self._request(ImportRequest, {"dry_run": dry_run, "on_conflict": on_conflict})
        return importing(request, options or beam_options())

    def export_pipeline(
        self,
        destination: Path,
        *,
        mime_type: str = "",
        options: "PipelineOptions | None" = None,
    ) -> "AbstractContextManager[ExportRun]":
        """Return a context manager for your own pipeline that exports with `ExportInstances`.

        Args:
            destination: folder, or gs://bucket/prefix.
            mime_type: format of the files; default: as uploaded.
            options: the options of your Beam pipeline; default: the local runner.

        Raises:
            JobError: the pipeline failed.
            ValueError, LookupError: an argument is wrong; nothing was started.

        >>> import apache_beam as beam, dicomferry
        >>> store = dicomferry.create_store("own-export")
        >>> _ = store.import_files("dicom/*.dcm")
        >>> with store.export_pipeline("out") as run, beam.Pipeline("FnApiRunner") as pipeline:
        ...     files = pipeline | beam.Create(run.files)
        ...     _ = files | dicomferry.ExportInstances(run.job)
        >>> run.result.counts
        {'exported': 4}
        """
        from dicomferry.pipelines.options import beam_options
        from dicomferry.public.own_pipelines import exporting

        values = {"destination": destination, "mime_type": mime_type}
        request = self._request(ExportRequest, values)
        return exporting(request, options or beam_options())

    def instances(self) -> "ds.Dataset":
        """Return the index as an Arrow dataset: one row per instance, as of now.

        The column `Metadata` holds the DICOM JSON of the instance (PS3.18 Annex F): patient data.

        >>> import dicomferry, duckdb
        >>> store = dicomferry.create_store("instances")
        >>> _ = store.import_files("dicom/*.dcm")
        >>> instances = store.instances()
        >>> duckdb.sql("SELECT Modality FROM instances ORDER BY Modality").fetchall()
        [('CT',), ('MR',), ('MR',), ('RTPLAN',)]
        """
        return Index(self._found().data).dataset()

    def to_arrow(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the index, or only the named columns, as an Arrow table.

        >>> import dicomferry
        >>> store = dicomferry.create_store("arrow")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> store.to_arrow(["Modality", "NumberOfFrames"]).to_pylist()
        [{'Modality': 'CT', 'NumberOfFrames': 1}]
        """
        return self.instances().to_table(columns=list(columns) if columns is not None else None)

    def delete_instances(self, filter: Path, *, purge_history: bool = False) -> DeletionResult:
        """Delete the instances below the given paths; this cannot be undone.

        Args:
            filter: file, local or gs://, with one path per line:
                /studies/UID[/series/UID[/instances/UID]].
            purge_history: also delete earlier versions of the index, which have the attributes too.

        Raises:
            ValueError, LookupError: the filter cannot be used, or the store is gone.

        >>> import dicomferry, pathlib
        >>> store = dicomferry.create_store("delete")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> [study] = store.to_arrow(["StudyInstanceUID"]).column(0).to_pylist()
        >>> _ = pathlib.Path("erase.txt").write_text(f"/studies/{study}")
        >>> store.delete_instances("erase.txt", purge_history=True).counts
        {'deleted': 1}
        """
        from dicomferry.pipelines import delete_instances

        uri = os.fspath(filter)
        instances = read_instance_filter(uri)
        deletion = delete_instances.Deletion(self._root, self._name, instances, uri, purge_history)
        record = delete_instances.run(deletion)
        return DeletionResult.of(record, self._root)

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

    def verify(self, sample: float = 1.0) -> list[Finding]:
        """Read the files of the store, and return the instances whose file is missing or damaged.

        Args:
            sample: share of the instances to read, above 0 and up to 1; chosen at random.

        >>> import dicomferry
        >>> store = dicomferry.create_store("verify")
        >>> _ = store.import_files("dicom/CT_small.dcm")
        >>> store.verify()
        []
        """
        return [
            finding
            for finding in verification.verify(self._found(), sample=sample)
            if finding.problem
        ]

    def _found(self) -> DicomStore:
        return dicom_store.get_store(self._root, self._name)

    def _request(self, kind: type[_Request], values: Mapping[str, Any]) -> _Request:
        return make_request(kind, store=self._name, root=self._root, **values)

    def _run(self, kind: type[Request], result: type[_Result], flags: Mapping[str, Any]) -> _Result:
        from dicomferry.pipelines.options import beam_options

        values = dict(flags)
        is_shown, beam_args = values.pop("progress", None), values.pop("beam_args", ())
        request = self._request(kind, values)
        pipeline = importlib.import_module(f"dicomferry.pipelines.{kind.pipeline}")
        options = beam_options(beam_args)
        with progress_bar(kind.method.verb.lower(), is_shown=is_shown) as on_progress:
            record = pipeline.run(request, options, on_progress)
        return result.of(record, self._root)
