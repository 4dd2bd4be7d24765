"""Operations for a user's own pipelines, built from `ImportInstances` or `ExportInstances`."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from apache_beam.options.pipeline_options import PipelineOptions

from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.import_request import ImportRequest, ReadyImport
from dicomferry.pipelines.job import Job
from dicomferry.pipelines.options import remote_runner
from dicomferry.public.results import ExportResult, ImportResult
from dicomferry.store.dicom_store import get_store
from dicomferry.tables.stream import streams_of
from dicomferry.transforms.export_instances import ExportJob
from dicomferry.transforms.import_instances import ImportJob


@dataclasses.dataclass
class ImportRun:
    """An import that runs in a user's own pipeline.

    Attributes:
        job: argument of `ImportInstances`.
        result: the result, once the `with` block has ended.
    """

    job: ImportJob
    result: ImportResult | None = None


@dataclasses.dataclass
class ExportRun:
    """An export that runs in a user's own pipeline.

    Attributes:
        job: argument of `ExportInstances`.
        files: input of `ExportInstances`: the files of the pinned version of the index.
        result: the result, once the `with` block has ended.
    """

    job: ExportJob
    files: Sequence[str]
    result: ExportResult | None = None


@contextmanager
def importing(request: ImportRequest, options: PipelineOptions) -> Iterator[ImportRun]:
    """Hold an operation open while the block runs its pipeline; the request needs no source.

    Raises:
        JobError: the pipeline failed; the operation has the same error.
        LookupError: there is no such store.
    """
    store = get_store(request.root, request.store)
    ready = ReadyImport(store, streams_of(store.resource, str(store.name)), None)
    with Job(request, None) as job:
        planned = import_dicom.make_job(request, ready, job, options)
        run = ImportRun(dataclasses.replace(planned, ends_operation=False))
        yield run
        job.expect(job.folder.counts().done)
        run.result = ImportResult.of(job.finish("files"), request.root)


@contextmanager
def exporting(request: ExportRequest, options: PipelineOptions) -> Iterator[ExportRun]:
    """Hold an operation open while the block runs its pipeline; at its end, load rows, if any.

    Raises:
        JobError: the pipeline failed; the operation has the same error.
        ValueError, LookupError: the request is wrong.
    """
    ready = request.resolve(remote_runner(options))
    with Job(request, None) as job:
        export_dicom.claim_destination(request, ready)
        export_dicom.expect_instances(ready, job, options)
        planned = export_dicom.make_job(request, ready, job, options)
        run = ExportRun(dataclasses.replace(planned, ends_operation=False), ready.snapshot.files)
        yield run
        export_dicom.finish_rows(request, planned, job)
        run.result = ExportResult.of(job.finish("instances"), request.root)
