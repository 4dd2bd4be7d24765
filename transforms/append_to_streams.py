"""Append the rows of new instances to the tables of a store's stream_configs."""

import dataclasses
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from dicomferry.errors import Reason
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.lagging import GONE
from dicomferry.places import Access, PlaceRules
from dicomferry.storage.base import Storage
from dicomferry.storage.failures import storage_errors, storage_message
from dicomferry.store.index import Index
from dicomferry.store.index_files import appended_files
from dicomferry.store.stream_log import Append, StreamLog
from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.errors import TableBusyError, TableError, TableOutOfReachError
from dicomferry.tables.stream import Stream
from dicomferry.transforms.export_table import divide, write_in_pool
from dicomferry.transforms.read_index import split_files
from dicomferry.transforms.write_rows import (
    ROW_TOO_LARGE,
    RowGroupSelection,
    SkippedRow,
    TableTarget,
    WrittenRows,
    combine,
    shards_of,
)

_LOGGER = logging.getLogger(__name__)
_APPEND = WriteDisposition.WRITE_APPEND
_REMOTE_SHARES = 100
# Per share of an append: 4,000 in all, as in an export.
_MAX_PARTS = 40
# Of a stream that got no rows; later parts of the import try again only if it was busy.
_BUSY = "busy"
_GIVEN_UP = "given-up"
_TOO_LARGE = "its row is larger than 1 MB, the limit of streams"

# The number of a stream, and the `Append` to it as a plain tuple, since Beam groups by it.
_Key = tuple[int, tuple[int, int, int]]


@dataclasses.dataclass
class AppendToStreams(beam.PTransform):
    """Append rows of the index to the table of every stream, after all commits of the import.

    This includes rows that other imports have committed and not appended, because they still run
    or were killed: each row is appended exactly once. Rows that a table refuses, or the rules for
    places do, rows above 1 MB, which streams do not take, and those that could not be made are
    logged and listed in stream-errors-*.jsonl beside the operation; the import continues, and the
    next one sends refused rows again. A table that is busy gets them from the next part.
    stream-warnings-*.jsonl lists values that do not fit their columns.

    Counters, in namespace "stream": rows, skipped, refused, warnings.
    """

    streams: Sequence[Stream]
    data: Storage
    folder: OperationFolder
    workers: int
    rules: PlaceRules | None = None

    def expand(self, outcomes: beam.PCollection[object]) -> beam.PCollection[None]:
        """Wait for all commits (their values are not used), then append.

        Returns:
            None per stream that got rows.
        """
        return (
            outcomes
            | "AwaitCommits" >> beam.combiners.Count.Globally()
            | "Plan" >> beam.FlatMap(_plan, self)
            | "SplitFiles" >> beam.FlatMap(_split, self.data, 1 if self.workers else _REMOTE_SHARES)
            # Also redistributes: one file fans out to many row groups.
            | "GroupByShare" >> beam.GroupByKey()
            | "WriteShards" >> beam.FlatMap(_write, self)
            | "Combine" >> beam.CombinePerKey(combine)
            | "ByStream" >> beam.MapTuple(lambda key, written: (key[0], (key[1], written)))
            | "GroupByStream" >> beam.GroupByKey()
            | "Load" >> beam.Map(_load_all, self)
        )


def begin_streams(streams: Sequence[Stream], data: Storage) -> None:
    """Start the log of streams that are new: their tables get the rows from now on."""
    for stream in streams:
        StreamLog(data, stream.log_name).start(Index(data).version)


def _plan(_: int, options: AppendToStreams) -> Iterator[tuple[_Key, str]]:
    """Yield the index files of all appends to make, each with the key of its append."""
    data, folder = options.data, options.folder
    newest = Index(data).version
    for number, stream in enumerate(options.streams):
        if folder.storage.head(_errors(stream, _GIVEN_UP)):
            continue  # by an earlier part
        position = StreamLog(data, stream.log_name)
        try:
            _check_place(stream, options)
            stream.destination.check(_APPEND)
        except _failures() as error:
            _give_up(folder, stream, error)
            continue
        for append in _appends(position, data, newest):
            files, gone = appended_files(data, append.after, append.until)
            if gone:
                path = _errors(stream, f"{append.number}-gone")
                _list_errors(folder, path, stream, [_error(GONE, _gone(gone))])
            if not files:
                position.mark_done(append)
            for file in files:
                yield (number, (append.number, append.after, append.until)), file


def _check_place(stream: Stream, options: AppendToStreams) -> None:
    if options.rules:
        options.rules.check(stream.destination.uri, Access.WRITE)


def _gone(versions: Sequence[int]) -> str:
    return (
        f"rows imported in versions {min(versions)} to {max(versions)} of the store can no longer "
        "be determined, and are missing: export the table again, with WRITE_TRUNCATE"
    )


def _appends(position: StreamLog, data: Storage, newest: int) -> list[Append]:
    """Return the appends to make: those left by other imports, and one up to the newest version."""
    while True:
        state = position.state()
        if state.version >= newest or not _has_rows(data, state.version, newest):
            return state.pending
        if append := position.plan(state, newest):
            return [*state.pending, append]


def _has_rows(data: Storage, after: int, until: int) -> bool:
    return any(appended_files(data, after, until))


def _split(
    keyed: tuple[_Key, str], data: Storage, shares: int
) -> Iterator[tuple[tuple[_Key, int], tuple[str, int]]]:
    key, file = keyed
    for row_group in split_files(file, data):
        yield (key, zlib.crc32(f"{row_group}".encode()) % shares), row_group


def _write(
    keyed: tuple[tuple[_Key, int], Iterable[tuple[str, int]]], options: AppendToStreams
) -> Iterator[tuple[_Key, WrittenRows]]:
    """Write the rows of one share of an append into shards."""
    (key, _), row_groups = keyed
    stream = options.streams[key[0]]
    target = TableTarget(
        stream.destination,
        stream.flattened,
        stream.source_store,
        stream=f"{stream.log_name}-{Append(*key[1]).number}",
    )
    parts = divide(sorted(row_groups), _MAX_PARTS, lambda row_group: RowGroupSelection(*row_group))
    for written in write_in_pool(parts, options.workers, options.data, options.folder, target):
        yield key, written


def _load_all(
    keyed: tuple[int, Iterable[tuple[tuple[int, int, int], WrittenRows]]], options: AppendToStreams
) -> None:
    """Load the appends to one table in order, up to the first that the table refuses.

    What the table does not get is listed before the append is marked, since after that another
    attempt of this step passes it over. Once the table has all, it is no longer listed as late.
    """
    number, appends = keyed
    stream, folder = options.streams[number], options.folder
    position = StreamLog(options.data, stream.log_name)
    ordered = [(Append(*append), written) for append, written in sorted(appends)]
    for at, (append, written) in enumerate(ordered):
        if not position.is_pending(append):
            continue  # another process made it, or an export of the whole store did
        try:
            _load(stream, append, written, options)
        except _failures() as error:
            _give_up(folder, stream, error)
            if not _is_out_of_reach(error):
                position.mark_refused(append for append, _ in ordered[at:])
            # Else the table may have the rows, and the append stays to be made, by the same load.
            break
        lines = [_skipped(row) for row in written.skipped]
        _list_errors(folder, _errors(stream, f"{append.number}"), stream, lines)
        position.mark_done(append)
        Metrics.counter("stream", "rows").inc(written.rows)
        Metrics.counter("stream", "warnings").inc(written.warnings)
        Metrics.counter("stream", "skipped").inc(len(written.skipped))
    if (position.passed() or 0) >= ordered[-1][0].until:  # also what earlier parts left
        folder.storage.delete(_errors(stream, what) for what in (_BUSY, _GIVEN_UP))
    folder.storage.delete(shard for _, written in ordered for shard in written.shards)


def _load(stream: Stream, append: Append, written: WrittenRows, options: AppendToStreams) -> None:
    if not written.rows:
        return
    store = options.data.root.rpartition("/")[2]
    job = f"{store}-{stream.log_name}-{append.number}"
    shards = shards_of(options.folder, written)
    _check_place(stream, options)
    stream.destination.load(Load(shards, written.schema, _APPEND, job))


def _failures() -> tuple[type[Exception], ...]:
    """Return what a table raises that gets no rows."""
    return TableError, *storage_errors()


def _is_out_of_reach(error: Exception) -> bool:
    """Whether a table may have got the rows, or may get them still."""
    return isinstance(error, TableOutOfReachError) or not isinstance(error, TableError)


def _errors(stream: Stream, what: str) -> str:
    """Name a file of errors."""
    return f"stream-errors-{stream.log_name}-{what}.jsonl"


def _give_up(folder: OperationFolder, stream: Stream, error: Exception) -> None:
    """List that a stream got no rows, and log it; later parts try again only if it was busy."""
    Metrics.counter("stream", "refused").inc()
    text = str(error) if isinstance(error, TableError) else storage_message(error)
    reason = f"{text.removesuffix('.')}. The next import into this store tries again."
    code = "OUT_OF_REACH" if _is_out_of_reach(error) else "REFUSED"
    what = _BUSY if isinstance(error, TableBusyError) else _GIVEN_UP
    _list_errors(folder, _errors(stream, what), stream, [_error(code, reason)])


def _skipped(row: SkippedRow) -> dict[str, str]:
    too_large = row.code == ROW_TOO_LARGE
    reason = _TOO_LARGE if too_large else Reason(row.code).sentence
    about = _error(row.code, reason, row.sop_instance_uid)
    return {**about, "fault": row.fault} if row.fault else about


def _error(code: str, reason: str, uid: str = "") -> dict[str, str]:
    about = {"sopInstanceUid": uid} if uid else {}
    return {**about, "code": code, "reason": reason}


def _list_errors(
    folder: OperationFolder, path: str, stream: Stream, errors: Sequence[dict[str, str]]
) -> None:
    lines = [json.dumps({"table": stream.table_uri, **error}) for error in errors]
    for line in lines:
        _LOGGER.warning("not streamed: %s", line)
    if lines:
        folder.storage.write(path, "".join(f"{line}\n" for line in lines).encode())
