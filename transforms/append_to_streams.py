"""Append the rows of new instances to the tables of a store's stream_configs."""

import dataclasses
import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from dicomferry.operations.folder import OperationFolder
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.index_files import appended_files
from dicomferry.store.stream_log import Append, StreamPosition
from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.errors import TableError
from dicomferry.tables.stream import Stream
from dicomferry.transforms.export_table import divide, write_in_pool
from dicomferry.transforms.read_index import split_files
from dicomferry.transforms.write_rows import (
    RowGroupSelection,
    TableTarget,
    WrittenRows,
    combine,
    shards_of,
)

_LOGGER = logging.getLogger(__name__)
_APPEND = WriteDisposition.WRITE_APPEND
_REMOTE_SHARES = 100
# Of one share of an append; one load job takes 10,000 files.
_MAX_PARTS = 80

# Which of the streams, and the `Append` to it, as a plain tuple: Beam groups by these.
_Key = tuple[int, tuple[int, int, int]]


@dataclasses.dataclass
class AppendToStreams(beam.PTransform):
    """Make every stream's table follow the index, once all that goes in was committed.

    Takes in also what other imports have committed and not appended, because they run still or
    were killed: no row is left behind, and none goes in twice. What a table refuses, and
    rows above 1 MB, which streams do not take, are logged and listed in stream-errors-*.jsonl
    beside the operation; the import goes on, and the next one tries again what was refused. Values
    that do not fit their columns are listed in stream-warnings-*.jsonl.

    Counters, in namespace "stream": rows, skipped, refused, warnings.
    """

    streams: Sequence[Stream]
    data: Storage
    folder: OperationFolder
    workers: int

    def expand(self, outcomes: beam.PCollection[object]) -> beam.PCollection[None]:
        """Wire it: of the outcomes of commits it matters only that they are all there."""
        return (
            outcomes
            | "AwaitCommits" >> beam.combiners.Count.Globally()
            | "Plan" >> beam.FlatMap(_plan, self.streams, self.data, self.folder)
            | "SplitFiles" >> beam.FlatMap(_split, self.data, 1 if self.workers else _REMOTE_SHARES)
            # Also spreads: one file fans out to many row groups.
            | "GroupByShare" >> beam.GroupByKey()
            | "WriteShards" >> beam.FlatMap(_write, self)
            | "Combine" >> beam.CombinePerKey(combine)
            | "ByStream" >> beam.MapTuple(lambda key, written: (key[0], (key[1], written)))
            | "GroupByStream" >> beam.GroupByKey()
            | "Load" >> beam.Map(_load_all, self)
        )


def begin_streams(streams: Sequence[Stream], data: Storage) -> None:
    """Let tables that are new among the streams follow the index from now on."""
    for stream in streams:
        StreamPosition(data, _name(stream)).begin(Index(data).version)


def _plan(
    _: int, streams: Sequence[Stream], data: Storage, folder: OperationFolder
) -> Iterator[tuple[_Key, str]]:
    """The files of all appends that are to be made."""
    newest = Index(data).version
    for number, stream in enumerate(streams):
        position = StreamPosition(data, _name(stream))
        try:
            stream.destination.check(_APPEND)
        except TableError as error:
            _refused(folder, stream, newest, error)
            continue
        for append in _appends(position, data, newest):
            try:
                files = appended_files(data, append.after, append.upto)
            except LookupError as error:
                reason = f"{error}: export the table anew, with WRITE_TRUNCATE"
                _list_errors(folder, stream, f"{append.number}", [_error("GONE", reason)])
                position.finish(append)
                continue
            for file in files:
                yield (number, (append.number, append.after, append.upto)), file


def _appends(position: StreamPosition, data: Storage, newest: int) -> list[Append]:
    """The appends to make: those that others left, and one up to the newest version."""
    while True:
        standing = position.standing()
        if standing.at >= newest or not _has_rows(data, standing.at, newest):
            return standing.appends
        if append := position.plan(standing, newest):
            return [*standing.appends, append]


def _has_rows(data: Storage, after: int, upto: int) -> bool:
    try:
        return bool(appended_files(data, after, upto))
    except LookupError:
        return True


def _split(
    keyed: tuple[_Key, str], data: Storage, shares: int
) -> Iterator[tuple[tuple[_Key, int], tuple[str, int]]]:
    key, file = keyed
    for unit in split_files(file, data):
        yield (key, zlib.crc32(f"{unit}".encode()) % shares), unit


def _write(
    keyed: tuple[tuple[_Key, int], Iterable[tuple[str, int]]], options: AppendToStreams
) -> Iterator[tuple[_Key, WrittenRows]]:
    """The rows of one share of an append, as shards."""
    (key, _), units = keyed
    stream = options.streams[key[0]]
    target = TableTarget(
        stream.destination,
        stream.flattened,
        stream.source_store,
        stream=f"{_name(stream)}-{Append(*key[1]).number}",
    )
    parts = divide(sorted(units), _MAX_PARTS, lambda unit: RowGroupSelection(*unit))
    for written in write_in_pool(parts, options.workers, options.data, options.folder, target):
        yield key, written


def _load_all(
    keyed: tuple[int, Iterable[tuple[tuple[int, int, int], WrittenRows]]], options: AppendToStreams
) -> None:
    """Load appends to one table in their order, up to the first that is refused."""
    number, appends = keyed
    stream, folder = options.streams[number], options.folder
    position = StreamPosition(options.data, _name(stream))
    ordered = [(Append(*append), written) for append, written in sorted(appends)]
    for at, (append, written) in enumerate(ordered):
        try:
            _load(stream, append, written, options)
        except TableError as error:
            position.refuse(append for append, _ in ordered[at:])
            _refused(folder, stream, append.number, error)
            break
        position.finish(append)
        Metrics.counter("stream", "rows").inc(written.rows)
        Metrics.counter("stream", "warnings").inc(written.warnings)
        Metrics.counter("stream", "skipped").inc(len(written.skipped))
        reason = "its row is larger than 1 MB, which streams do not take"
        lines = [_error("ROW_TOO_LARGE", reason, uid) for uid in written.skipped]
        _list_errors(folder, stream, f"{append.number}", lines)
    folder.storage.delete(shard for _, written in ordered for shard in written.shards)


def _load(stream: Stream, append: Append, written: WrittenRows, options: AppendToStreams) -> None:
    if not written.rows:
        return
    store = options.data.root.rpartition("/")[2]
    job = f"{store}-{_name(stream)}-{append.number}"
    shards = shards_of(options.folder, written)
    stream.destination.load(Load(shards, written.schema, _APPEND, job))


def _refused(folder: OperationFolder, stream: Stream, number: int, error: TableError) -> None:
    Metrics.counter("stream", "refused").inc()
    reason = f"{error} The next import into this store tries again."
    _list_errors(folder, stream, f"refused-{number}", [_error("REFUSED", reason)])


def _error(code: str, reason: str, uid: str = "") -> dict[str, str]:
    about = {"sopInstanceUid": uid} if uid else {}
    return {**about, "code": code, "reason": reason}


def _list_errors(
    folder: OperationFolder, stream: Stream, name: str, errors: Sequence[dict[str, str]]
) -> None:
    lines = [json.dumps({"table": stream.table_uri, **error}) for error in errors]
    for line in lines:
        _LOGGER.warning("not streamed: %s", line)
    if lines:
        path = f"stream-errors-{_name(stream)}-{name}.jsonl"
        folder.storage.write(path, "".join(f"{line}\n" for line in lines).encode())


def _name(stream: Stream) -> str:
    """What stands for a table in the names of files and loads."""
    return hashlib.sha256(stream.destination.uri.encode()).hexdigest()[:16]
