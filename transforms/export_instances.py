"""Export the instances of a store: the whole graph of an export, as one PTransform."""

import dataclasses
from typing import Any

import apache_beam as beam

from dicomferry.operations.folder import OperationFolder
from dicomferry.places import PlaceRules
from dicomferry.storage.base import Storage
from dicomferry.store.instance_filter import StoredFilter
from dicomferry.tables.destination import WriteDisposition
from dicomferry.transforms.export_files import ExportFiles
from dicomferry.transforms.export_table import ExportTable
from dicomferry.transforms.find_paths import FindPaths
from dicomferry.transforms.finish_operation import FinishOperation
from dicomferry.transforms.load_table import Covered, LoadTable
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_index import ReadIndex
from dicomferry.transforms.write_instance import FileTarget
from dicomferry.transforms.write_outcomes import WriteOutcomes, shards_for
from dicomferry.transforms.write_rows import TableTarget


@dataclasses.dataclass(frozen=True)
class ExportJob:
    """An export, as its steps need it; can be pickled.

    Attributes:
        data: the store's data folder.
        folder: the operation's.
        target: files or rows of a table.
        instances: the export is limited to these; None: all.
        workers: processes that read and write; 0: the runner's own.
        is_remote: whether the work happens on other machines.
        ends_operation: whether the graph's last step ends the operation. It loads the table,
            too, as every remote graph does.
        disposition: of that load.
        total: how many instances there are, for that step and the lists of outcomes.
        finds_paths: whether the graph compares the index with the filter, reports the paths that
            mean nothing, and finds the total, of which `total` is a bound; else all of that was
            done.
        max_failures: how many instances may fail before that step fails the job.
        version: of the index whose rows all are exported; None if it is not known.
        rules: that a table must follow when it is loaded; None: there are none.
    """

    data: Storage
    folder: OperationFolder
    target: FileTarget | TableTarget
    instances: StoredFilter | None = None
    workers: int = 0
    is_remote: bool = False
    ends_operation: bool = False
    disposition: WriteDisposition = WriteDisposition.WRITE_EMPTY
    total: int = 0
    finds_paths: bool = False
    max_failures: int = 0
    version: int | None = None
    rules: PlaceRules | None = None

    @property
    def covered(self) -> Covered | None:
        """What the rows are, if they are all rows of the store."""
        if self.instances is not None or self.version is None:
            return None
        return Covered(self.data, self.version)


class ExportInstances(beam.PTransform):
    """Export the instances in Parquet files of a pinned index version, as files or rows.

    Elements in are paths of `Index.files`. Outputs one element when all is written: the counts of
    outcomes of an export to files, the `WrittenRows` of one to a table. At least once: names come
    from UIDs alone, and a retry writes the same bytes.

    In a pipeline of your own:

        store = get_store(open_storage("gs://b/stores"), parse_store("trial"))
        folder = start_operation(open_storage("gs://b/stores"), store.name, Method.EXPORT)
        index = Index(store.data)
        target = FileTarget(store.data, open_storage("gs://b/out"))
        job = ExportJob(store.data, folder, target, ends_operation=True, total=index.count())
        with beam.Pipeline() as pipeline:
            _ = pipeline | beam.Create(index.files) | ExportInstances(job)
    """

    def __init__(self, job: ExportJob) -> None:
        """Export as a job says."""
        super().__init__()
        self.job = job

    def expand(self, files: beam.PCollection[str]) -> beam.PCollection[Any]:
        """Read the index, write files or rows, and end the operation if the job says so."""
        job = self.job
        progress = ProgressReporter(None if job.is_remote else job.folder)
        written = (
            self._write_rows(files, job.target, progress)
            if isinstance(job.target, TableTarget)
            else self._write_files(files, job.target, progress)
        )
        total: int | beam.pvalue.AsSingleton = job.total
        if job.finds_paths and job.instances:
            find = FindPaths(job.data, job.instances, job.folder)
            total = beam.pvalue.AsSingleton(files | "FindPaths" >> find)
        if job.ends_operation:
            end = FinishOperation(job.folder, total, "instances", job.max_failures)
            _ = written | "FinishOperation" >> end
        return written

    def _write_files(
        self, files: beam.PCollection[str], target: FileTarget, progress: ProgressReporter
    ) -> beam.PCollection[Any]:
        job = self.job
        outcomes = WriteOutcomes(
            job.folder,
            "00000",
            shards_for(job.total),
            is_remote=job.is_remote,
            entry="ExportDicomLogEntry",
        )
        return (
            files
            | "ReadIndex" >> ReadIndex(job.data, job.instances)
            | "ExportFiles" >> ExportFiles(target, job.workers, progress)
            | "WriteOutcomes" >> outcomes
        )

    def _write_rows(
        self, files: beam.PCollection[str], target: TableTarget, progress: ProgressReporter
    ) -> beam.PCollection[Any]:
        job = self.job
        rows = ExportTable(job.data, job.folder, target, job.workers, progress, job.instances)
        written = files | "ExportTable" >> rows
        if not (job.ends_operation or job.is_remote):
            return written  # the caller loads
        load = LoadTable(job.folder, target.destination, job.disposition, job.covered, job.rules)
        loaded = written | "LoadTable" >> load
        # The process that waits for an engine learns from the record that the rows are loaded.
        return loaded if job.ends_operation else written
