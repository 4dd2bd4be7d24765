"""Operations: what a job is doing, did, and what became of every file.

    operations/{id}/operation.json       google.longrunning.Operation, and its owner
    operations/{id}/progress/{w}.json    what each worker has done of a part so far: an estimate
    operations/{id}/outcomes-*.jsonl     what became of every file
    operations/{id}/counts-*.json        counted from these outcomes, a part each
    operations/{id}/cancel               exists when somebody asked for it

One owner alone writes operation.json; "queued" in it says that it waits for its turn. It
carries a heartbeat: a reader that finds none for a minute, or no such process on its own
host, shows the operation as ABORTED.
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dicomferry.operations.owner import DataflowJob, Owner, owner_of
from dicomferry.resource_names import DatasetName, StoreName
from dicomferry.storage.base import Storage

# google.rpc.Code
CANCELLED, INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION = 1, 3, 5, 9
ABORTED, INTERNAL, UNAVAILABLE = 10, 13, 14
# What becomes of a file or instance; each is in exactly one.
OUTCOMES = ("imported", "duplicate", "conflict", "skipped", "failed", "exported")

_METADATA_TYPE = "type.googleapis.com/google.cloud.healthcare.v1.OperationMetadata"
_RESPONSE_TYPE = "type.googleapis.com/google.cloud.healthcare.v1.dicom."
_SERVICE = "google.cloud.healthcare.v1.dicom.DicomService."
_HEARTBEAT_SECONDS = 60

Operation = dict[str, Any]


class OperationNotFoundError(LookupError):
    """There is no such operation."""


class NotOwnedError(ValueError):
    """The operation is not this process's to run."""


class OperationFolder:
    """One operation's files."""

    def __init__(self, root: Storage, parent: DatasetName, operation_id: str) -> None:
        """Name it; nothing is read yet."""
        self.id = operation_id
        self.parent = parent
        self.storage = root.subfolder(f"{_folder(parent)}/{operation_id}")

    @property
    def name(self) -> str:
        """Resource name."""
        return f"{self.parent}/operations/{self.id}"

    def exists(self) -> bool:
        """Whether there is such an operation."""
        return self.storage.head("operation.json") is not None

    def read(self) -> Operation:
        """Return the operation as it stands: progress added, ABORTED if its owner is gone.

        Raises:
            OperationNotFoundError: there is none.
        """
        # Asked for first: a local read would make the folder of an operation that is not there.
        if not self.exists():
            raise OperationNotFoundError(
                f"{self.name} does not exist; `dicomferry operations list` shows those that do"
            )
        operation = self._record()
        while not operation["done"]:
            ended = operation.get("ended", {"part": "", "counts": {}})
            counts = Counter(ended["counts"]) + self.progress(ended["part"])
            record, operation = operation, self._record()
            if operation.get("ended") == record.get("ended"):
                break
            # A part that ended meanwhile took what its workers had reported along.
        if not operation["done"]:
            operation["metadata"]["cancelRequested"] = self.is_cancel_requested()
            _count(operation, counts, operation["total"])
            if _is_abandoned(operation):
                finish(
                    operation,
                    ABORTED,
                    "the process that ran it is gone; run it again: "
                    "what was committed stays, nothing is taken in twice",
                )
        return operation

    def _record(self) -> Operation:
        operation: Operation = json.loads(self.storage.read("operation.json"))
        return operation

    def write(self, operation: Operation) -> None:
        """Replace operation.json; only its owner may."""
        operation["heartbeat"] = _now()
        self.storage.write("operation.json", _dump(operation))

    def report_progress(self, worker: str, counts: Counter[str]) -> None:
        """Say what a worker, "{part}-{any}", has done so far."""
        self.storage.write(f"progress/{worker}.json", _dump(counts))

    def progress(self, ended: str = "") -> Counter[str]:
        """Sum of what workers have reported of the parts after one that has ended."""
        total: Counter[str] = Counter()
        for path in self._progress_files():
            if _part_of(path) > ended:
                total.update(json.loads(self.storage.read(path)))
        return total

    def forget_progress(self, ended: str) -> None:
        """Delete what workers have reported of a part that has ended, and of those before."""
        self.storage.delete([path for path in self._progress_files() if _part_of(path) <= ended])

    def _progress_files(self) -> list[str]:
        return [entry.path for entry in self.storage.list("progress")]

    def write_outcomes(self, shard: str, lines: bytes) -> None:
        """Write one shard of outcomes, JSON Lines; the same shard again replaces it."""
        self.storage.write(f"outcomes-{shard}.jsonl", lines)

    def outcomes(self) -> Iterator[dict[str, Any]]:
        """What became of every file, in the order of the shards."""
        shards = (entry.path for entry in self.storage.list())
        for path in sorted(path for path in shards if path.startswith("outcomes-")):
            for line in self.storage.read(path).splitlines():
                yield json.loads(line)

    def write_counts(self, part: str, counts: Counter[str]) -> None:
        """Write what was counted from the outcomes of a part."""
        self.storage.write(f"counts-{part}.json", _dump(counts))

    def part_counts(self, part: str) -> Counter[str]:
        """What was counted from the outcomes of one part."""
        return Counter(json.loads(self.storage.read(f"counts-{part}.json")))

    def counts(self) -> Counter[str]:
        """What was counted from the outcomes of all parts."""
        total: Counter[str] = Counter()
        for entry in self.storage.list():
            if entry.path.startswith("counts-"):
                total.update(json.loads(self.storage.read(entry.path)))
        return total

    def request_cancel(self) -> None:
        """Ask the owner to end the job; one that has ended stays as it is.

        Raises:
            OperationNotFoundError: there is no such operation.
        """
        if not self.read()["done"]:
            self.storage.write("cancel", b"")

    def is_cancel_requested(self) -> bool:
        """Whether somebody asked."""
        return self.storage.head("cancel") is not None


def new_operation_id() -> str:
    """An id that no operation has; later ones sort last."""
    return f"{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(4)}"


def start_operation(
    root: Storage,
    store: StoreName,
    method: str,
    operation_id: str = "",
    owner: Owner | DataflowJob | None = None,
    logs: str = "",
) -> OperationFolder:
    """Record a new operation.

    Args:
        root: where stores live.
        store: the store that it works on.
        method: ImportDicomData or ExportDicomData.
        operation_id: default: a new one.
        owner: what runs it and from now on alone writes its record; default: this process.
        logs: where its process writes what it has to say, if not where this process does.
    """
    folder = OperationFolder(root, store.parent, operation_id or new_operation_id())
    operation: Operation = {
        "name": folder.name,
        "metadata": {
            "@type": _METADATA_TYPE,
            "apiMethodName": _SERVICE + method,
            "createTime": _now(),
            "logsUrl": folder.storage.uri(),
            "counter": {},
        },
        "done": False,
        "store": str(store),
        "owner": (owner or Owner.this_process())._asdict(),
        "total": 0,
        "counts": {},
    }
    if logs:
        operation["logs"] = logs
    folder.write(operation)
    return folder


def adopt_operation(
    root: Storage, parent: DatasetName, operation_id: str, owner: DataflowJob | None = None
) -> OperationFolder:
    """Return an operation that was recorded with this process, or a Dataflow job, as its owner.

    Raises:
        OperationNotFoundError: there is none.
        NotOwnedError: it has ended, or another process runs it: a job that is started anew
            needs a new operation.
    """
    folder = OperationFolder(root, parent, operation_id)
    operation = folder.read()
    if operation["done"] or owner_of(operation["owner"]) != (owner or Owner.this_process()):
        state = "has ended" if operation["done"] else "belongs to another job"
        raise NotOwnedError(f"{folder.name} {state}: start the job without --operation")
    return folder


def finish(operation: Operation, code: int = 0, message: str = "") -> None:
    """Turn an operation into a finished one, with an error if there is a code."""
    operation["done"] = True
    operation["metadata"].setdefault("endTime", _now())
    if code:
        operation["error"] = {"code": code, "message": message}
    else:
        method = operation["metadata"]["apiMethodName"].rpartition(".")[2]
        operation["response"] = {"@type": f"{_RESPONSE_TYPE}{method}Response"}


def set_counts(operation: Operation, counts: Counter[str], total: int) -> None:
    """Put counts into an operation: our outcomes, and the API's ProgressCounter."""
    operation["total"] = total
    _count(operation, counts, total)


def summary(operation: Operation) -> str:
    """One line of JSON for logs."""
    keys = ("name", "store", "total", "counts", "error")
    return json.dumps({key: operation[key] for key in keys if key in operation})


def as_progress(counts: Counter[str]) -> Counter[str]:
    """Counts of outcomes in the terms in which workers report."""
    done = sum(counts[outcome] for outcome in OUTCOMES)
    return Counter(read=done, failed=failures(counts), bytes=counts["bytes"])


def failures(counts: Counter[str]) -> int:
    """How many failed, the conflicts that count as failures included."""
    return counts["failed"] + counts["conflict_failed"]


def list_operations(root: Storage, parent: DatasetName) -> Iterator[OperationFolder]:
    """Every operation of a dataset, the newest first."""
    for operation_id in sorted(root.folders(_folder(parent)), reverse=True):
        folder = OperationFolder(root, parent, operation_id)
        # A process that is killed at its very start leaves an empty folder.
        if not root.is_local or folder.exists():
            yield folder


def _folder(parent: DatasetName) -> str:
    return f"{parent.folder}/operations"


def _part_of(path: str) -> str:
    return path.rpartition("/")[2].partition("-")[0]


def _count(operation: Operation, counts: Counter[str], total: int) -> None:
    failed = failures(counts)
    # While the job runs its workers count "read", and of these "failed"; outcomes come later.
    done = counts["read"] or sum(counts[outcome] for outcome in OUTCOMES)
    operation["counts"] = dict(counts)
    # google.cloud.healthcare.v1.ProgressCounter; proto JSON writes int64 as text.
    operation["metadata"]["counter"] = {
        "pending": str(max(total - done, 0)),
        "success": str(done - failed),
        "failure": str(failed),
    }


def _is_abandoned(operation: Operation) -> bool:
    owner = owner_of(operation["owner"])
    if isinstance(owner, DataflowJob):
        return False  # no process of it beats; `dicomferry.jobs.dataflow` asks for its state
    silent = datetime.now(UTC) - datetime.fromisoformat(operation["heartbeat"])
    return owner.is_gone() or silent.total_seconds() > _HEARTBEAT_SECONDS


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dump(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()
