"""Import sources into a store: the whole graph of an import, as one PTransform."""

import dataclasses

import apache_beam as beam

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.places import PlaceRules
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.store.notifications import Topic
from dicomferry.tables.stream import Stream
from dicomferry.transforms.append_to_streams import AppendToStreams
from dicomferry.transforms.commit_instances import CommitInstances
from dicomferry.transforms.delete_kept_reads import DeleteKeptReads
from dicomferry.transforms.finish_operation import FinishOperation
from dicomferry.transforms.group_by_bucket import GroupByBucket
from dicomferry.transforms.ingest import ImportTarget
from dicomferry.transforms.outcome_bounds import OutcomeBounds
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.publish_notifications import PublishNotifications
from dicomferry.transforms.read_and_store import ReadAndStore
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.skip_known import SkipKnown
from dicomferry.transforms.write_outcomes import WriteOutcomes


@dataclasses.dataclass(frozen=True)
class ImportJob:
    """An import, as its steps need it; can be pickled.

    Attributes:
        store: resource name of the store, for notifications.
        data: the store's data folder.
        folder: the operation's.
        dry_run: read and check everything, store nothing.
        fail_conflicts: whether a conflict counts as a failure.
        allowed_folders: folders that local sources must resolve into; None: any.
        streams: tables that new rows are appended to.
        topics: topics that are notified of new instances.
        rules: that tables and topics must follow when they are written to; None: there are none.
        part: names this run among the parts of the job.
        workers: processes that read and write; 0: the runner's own.
        is_remote: whether the work happens on other machines.
        is_small: whether there are no more sources than a bucket has rows.
        ends_operation: whether the graph's last step ends the operation.
        max_failures: how many files may fail before that step fails the job.
        empty_error: its message if there are no sources; '': an empty import is a success.
    """

    store: str
    data: Storage
    folder: OperationFolder
    dry_run: bool = False
    fail_conflicts: bool = True
    allowed_folders: AllowedFolders | None = None
    streams: tuple[Stream, ...] = ()
    topics: tuple[Topic, ...] = ()
    rules: PlaceRules | None = None
    part: str = "00000"
    workers: int = 0
    is_remote: bool = False
    is_small: bool = False
    ends_operation: bool = False
    max_failures: int = 0
    empty_error: str = ""


class ImportInstances(beam.PTransform):
    """Import listings of sources; outputs the counts of outcomes, one element.

    Elements in are `list[Source]`, one lookup of known sources each, as `ListSources` makes them.
    At least once: a retry stores the same blobs, commits no second row, replaces its outcomes.

    In a pipeline of your own:

        store = get_store(open_storage("gs://b/stores"), parse_store("trial"))
        folder = start_operation(open_storage("gs://b/stores"), store.name, Method.IMPORT)
        job = ImportJob(str(store.name), store.data, folder, ends_operation=True)
        with beam.Pipeline() as pipeline:
            uris = pipeline | beam.Create(["gs://b/incoming/**"])
            counts = uris | ListSources() | ImportInstances(job)
    """

    def __init__(self, job: ImportJob) -> None:
        """Import as a job says."""
        super().__init__()
        self.job = job

    def expand(self, listings: beam.PCollection[list[Source]]) -> beam.PCollection[OutcomeCounts]:
        """Skip known sources, read and store the others, commit, list every outcome."""
        job = self.job
        progress = ProgressReporter(None if job.is_remote else job.folder, job.part)
        target = ImportTarget(job.data, job.dry_run, job.allowed_folders)
        listed = listings | "CountFiles" >> beam.Map(len) | "SumFiles" >> beam.CombineGlobally(sum)
        total = beam.pvalue.AsSingleton(listed)
        bounds = listings | "OutcomeBounds" >> OutcomeBounds()

        new = listings | "SkipKnown" >> SkipKnown(job.data, job.is_remote)
        read = (
            new.shares
            | "Reshuffle" >> beam.Reshuffle()  # one listing fans out to many shares
            | "ReadAndStore" >> ReadAndStore(target, job.workers, progress)
        )
        committed = (
            read.instances
            | "GroupByBucket" >> GroupByBucket(is_one=job.is_small)
            | "CommitInstances" >> CommitInstances(job.data, job.folder.id, job.dry_run, progress)
        )
        counts = (
            (new.outcomes, read.outcomes, committed)
            | "AllOutcomes" >> beam.Flatten()
            | "WriteOutcomes" >> self._write_outcomes(beam.pvalue.AsSingleton(bounds))
        )
        delete = DeleteKeptReads(job.data, beam.pvalue.AsSingleton(counts))
        _ = read.kept | "DeleteKeptReads" >> delete
        followed = self._follow(committed)
        if job.ends_operation:
            end = FinishOperation(
                job.folder, total, "files", job.max_failures, job.empty_error, followed
            )
            _ = counts | "FinishOperation" >> end
        return counts

    def _write_outcomes(self, bounds: beam.pvalue.AsSingleton) -> WriteOutcomes:
        job = self.job
        return WriteOutcomes(
            job.folder,
            job.part,
            bounds,
            is_remote=job.is_remote,
            fail_conflicts=job.fail_conflicts,
            remember=None if job.dry_run else job.data,
        )

    def _follow(self, committed: beam.PCollection[FileOutcome]) -> beam.PCollection[object] | None:
        """Append to streams and notify topics after the commits; None if there are neither."""
        job = self.job
        ends = []
        if job.streams and not job.dry_run:
            append = AppendToStreams(job.streams, job.data, job.folder, job.workers, job.rules)
            ends.append(committed | "AppendToStreams" >> append)
        if job.topics and not job.dry_run:
            publish = PublishNotifications(job.topics, job.store, job.data, job.folder, job.rules)
            ends.append(committed | "PublishNotifications" >> publish)
        return ends | "AllFollowed" >> beam.Flatten() if ends else None
