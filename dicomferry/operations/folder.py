"""Files of an operation.

    operations/{id}/operation.json       `OperationRecord`: google.longrunning.Operation and more
    operations/{id}/progress/{w}.json    counts of each worker in the current part: an estimate
    operations/{id}/outcomes-*.jsonl     the outcome of every file
    operations/{id}/counts-*.json        counts of these outcomes, one file per part
    operations/{id}/cancel               exists once cancellation was requested

Only the owner of an operation writes operation.json, at least every few seconds. If it has ended on
the host of the reader, or is silent on another one for a minute, the operation reads as ABORTED.
"""

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from google.rpc.code_pb2 import ABORTED

from dicomferry.operations.asked import Asked
from dicomferry.operations.outcomes import (
    PROBLEMS,
    EndedPart,
    Outcome,
    OutcomeCounts,
    ProgressCounts,
    parse_outcome,
)
from dicomferry.operations.owner import DataflowJob, Owner
from dicomferry.operations.record import (
    Method,
    OperationMetadata,
    OperationRecord,
    now,
)
from dicomferry.operations.silence import is_abandoned, is_silent
from dicomferry.operations.unreadable import may_run, parse_record
from dicomferry.resource_names import DatasetName, StoreName
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import Entry

# Quotes in a name are escaped, so a name never matches.
_FINE = re.compile(
    b'"outcome": "(?:%s)"' % "|".join(o for o in Outcome if o not in PROBLEMS).encode()
)


class OperationNotFoundError(LookupError):
    """There is no such operation."""


class NotOwnedError(ValueError):
    """Another process owns the operation, or it has ended."""


class OperationFolder:
    """Folder of one operation."""

    def __init__(self, root: Storage, parent: DatasetName, operation_id: str) -> None:
        """Name it; nothing is read yet."""
        self.id = operation_id
        self.parent = parent
        # A connection is made for each storage, and records are read by the thousand.
        self.root = root
        self.path = f"{operations_folder(parent)}/{operation_id}"
        self.storage = root.subfolder(self.path)

    @property
    def name(self) -> str:
        """Resource name of the operation."""
        return f"{self.parent}/operations/{self.id}"

    def exists(self) -> bool:
        """Whether there is such an operation."""
        return self._file() is not None

    def _file(self) -> Entry | None:
        return self.root.head(f"{self.path}/operation.json")

    def start(
        self,
        store: StoreName,
        method: Method,
        owner: Owner | DataflowJob | None = None,
        logs: str = "",
        asked: Asked | None = None,
    ) -> None:
        """Record a new operation.

        Args:
            store: store that it works on.
            method: method that it is a call of.
            owner: runs it, and from now on alone writes its record; default: this process.
            logs: file that the owner logs to, if it is not where this process logs to.
            asked: what it is to do.
        """
        metadata = OperationMetadata(Method(method), now(), self.storage.uri())
        owner = owner or Owner.this_process()
        began = OperationRecord(self.name, metadata, store, owner, now(), logs=logs, asked=asked)
        self.write(began)

    def record_ended(
        self, store: StoreName, method: Method, asked: Asked, response: dict[str, Any]
    ) -> OperationRecord:
        """Record an operation that this process has done already.

        Args:
            store: what it worked on.
            method: method that it is a call of.
            asked: what it was to do.
            response: fields of its response in proto JSON.
        """
        began = now()
        metadata = OperationMetadata(method, began, self.storage.uri(), end_time=began)
        owner = Owner.this_process()
        record = OperationRecord(
            self.name, metadata, store, owner, began, asked=asked, response=response
        )
        record.finish()
        self.write(record)
        return record

    def read(self) -> OperationRecord:
        """Return the current record: with progress, and ABORTED if its owner is gone.

        One that cannot be read is returned as `parse_record` says.

        Raises:
            OperationNotFoundError: there is no such operation.
        """
        record = self.read_written()
        if not record.done and is_abandoned(record, self._file(), self.root):
            record.metadata.end_time = record.heartbeat
            record.cut_short(ABORTED, "the process that ran it is gone")
        return record

    def read_written(self) -> OperationRecord:
        """Return the current record, with progress, as its owner wrote it.

        Raises:
            OperationNotFoundError: there is no such operation.
        """
        record = self._record()
        while not record.done:
            ended = record.ended or EndedPart()
            counts = ended.counts + self.progress(ended.part)
            earlier, record = record, self._record()
            if record.ended == earlier.ended:
                break
            # A part that has just ended took the progress of its workers along.
        if not record.done:
            record.metadata.cancel_requested = self.is_cancel_requested()
            record.set_counts(counts, record.total)
        return record

    def is_running(self, record: OperationRecord) -> bool:
        """Whether a job may run that has this record; also one of a later version."""
        if may_run(record):
            return not is_silent(self._file(), self.root)
        return not record.done

    def _record(self) -> OperationRecord:
        try:
            data = self.root.read(f"{self.path}/operation.json")
        except FileNotFoundError:
            raise OperationNotFoundError(
                f"{self.name} does not exist; `dicomferry operations list` shows those that do"
            ) from None
        return parse_record(data, self.parent, self.id)

    def write(self, record: OperationRecord) -> None:
        """Replace operation.json with a new heartbeat; only for its owner."""
        record.heartbeat = now()
        self.storage.write("operation.json", _dump(record.to_json()))

    def report_progress(self, worker: str, counts: ProgressCounts) -> None:
        """Write the counts of a worker so far.

        Args:
            worker: "{part}-{any}".
            counts: of this part.
        """
        self.storage.write(f"progress/{worker}.json", _dump(counts.to_json()))

    def progress(self, ended: str = "") -> ProgressCounts:
        """Sum the progress that workers have reported of the parts after `ended`."""
        total = ProgressCounts()
        for path in self._progress_files():
            if _part_of(path) > ended:
                # Cut by a power cut, or gone with its part meanwhile: it is an estimate.
                with suppress(ValueError, FileNotFoundError):
                    total += ProgressCounts.from_json(json.loads(self.storage.read(path)))
        return total

    def forget_progress(self, ended: str) -> None:
        """Delete the progress of a part that has ended, and of those before."""
        self.storage.delete([path for path in self._progress_files() if _part_of(path) <= ended])

    def _progress_files(self) -> list[str]:
        return [entry.path for entry in self.storage.list("progress")]

    def write_outcomes(self, shard: str, lines: bytes) -> None:
        """Write one shard of outcomes, JSON Lines; the same shard again replaces it."""
        self.storage.write(f"outcomes-{shard}.jsonl", lines)

    def outcomes(self) -> Iterator[dict[str, Any]]:
        """Yield the outcome of every file, in the order of the shards."""
        for shard in self.outcome_shards():
            yield from map(parse_outcome, shard.splitlines())

    def problems(self) -> Iterator[dict[str, Any]]:
        """Yield the outcomes that a person has to look at; lines of all others are not parsed."""
        for shard in self.outcome_shards():
            for line in shard.splitlines():
                if not (line.endswith(b"}") and _FINE.search(line)):
                    outcome = parse_outcome(line)
                    if outcome["outcome"] in PROBLEMS:
                        yield outcome

    def outcome_shards(self) -> Iterator[bytes]:
        """Yield the JSON Lines of every outcomes-*.jsonl, in their order."""
        paths = (entry.path for entry in self.storage.list())
        for path in sorted(path for path in paths if path.startswith("outcomes-")):
            yield self.storage.read(path)

    def write_counts(self, part: str, counts: OutcomeCounts) -> None:
        """Write the counts of the outcomes of a part."""
        self.storage.write(f"counts-{part}.json", _dump(counts.to_json()))

    def part_counts(self, part: str) -> OutcomeCounts:
        """Return the counts of the outcomes of one part."""
        return self._counts(f"counts-{part}.json")

    def counts(self) -> OutcomeCounts:
        """Return the counts of the outcomes of all parts."""
        paths = (entry.path for entry in self.storage.list())
        parts = (self._counts(path) for path in paths if path.startswith("counts-"))
        return sum(parts, OutcomeCounts())

    def _counts(self, path: str) -> OutcomeCounts:
        return OutcomeCounts.from_json(json.loads(self.storage.read(path)))

    def request_cancel(self) -> None:
        """Ask for the end of the job; one that has ended stays as it is.

        Raises:
            OperationNotFoundError: there is no such operation.
        """
        record = self.read()
        if not record.done or record.is_left_to_engine:
            self.storage.write("cancel", b"")

    def delete(self) -> None:
        """Delete the record and everything beside it."""
        # The record goes last: a deletion that breaks off is then found, and finished, by the next.
        paths = [entry.path for entry in self.storage.list() if entry.path != "operation.json"]
        self.storage.delete(paths)
        self.storage.remove_all()

    def is_cancel_requested(self) -> bool:
        """Whether cancellation was requested."""
        return self.storage.head("cancel") is not None


def new_operation_id() -> str:
    """Return an id that no operation has; later ones sort last, those of a millisecond anyhow."""
    time = now()
    milliseconds = time.microsecond // 1000
    return f"{time:%Y%m%d%H%M%S}-{milliseconds:03x}{secrets.token_hex(3)[:5]}"


def start_operation(
    root: Storage,
    store: StoreName,
    method: Method,
    operation_id: str = "",
    owner: Owner | DataflowJob | None = None,
) -> OperationFolder:
    """Record a new operation; see `OperationFolder.start`. By default it gets a new id."""
    folder = OperationFolder(root, store.parent, operation_id or new_operation_id())
    folder.start(store, method, owner)
    return folder


def adopt_operation(
    root: Storage, parent: DatasetName, operation_id: str, owner: DataflowJob | None = None
) -> OperationFolder:
    """Return an operation that was recorded with this process, or a Dataflow job, as its owner.

    Raises:
        OperationNotFoundError: there is no such operation.
        NotOwnedError: it has ended, or another process runs it: a job that is restarted
            needs a new operation.
    """
    folder = OperationFolder(root, parent, operation_id)
    record = folder.read()
    if record.done or record.owner != (owner or Owner.this_process()):
        state = "has ended" if record.done else "belongs to another job"
        raise NotOwnedError(f"{folder.name} {state}: start the job without --operation")
    return folder


def operations_folder(parent: DatasetName) -> str:
    """Return the folder of a dataset's operations, below the root."""
    return f"{parent.folder}/operations"


def _part_of(path: str) -> str:
    return path.rpartition("/")[2].partition("-")[0]


def _dump(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()
