"""The record of an operation, operation.json.

It is a google.longrunning.Operation in proto JSON, with fields of our own beside those of the API.
"""

import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from google.rpc.code_pb2 import ABORTED, INVALID_ARGUMENT

from dicomferry.operations import typed_fields
from dicomferry.operations.asked import Asked
from dicomferry.operations.outcomes import (
    EndedPart,
    OutcomeCounts,
    ProgressCounter,
    ProgressCounts,
    counts_from_json,
)
from dicomferry.operations.owner import (
    DataflowJob,
    EngineJob,
    Owner,
    engine_from_json,
    owner_from_json,
)
from dicomferry.operations.typed_fields import FieldError, Fields, flag, integer, text
from dicomferry.resource_names import (
    ResourceNameError,
    StoreName,
    parse_dataset,
    parse_store,
)

_METADATA_TYPE = "type.googleapis.com/google.cloud.healthcare.v1.OperationMetadata"
_RESPONSE_TYPE = "type.googleapis.com/google.cloud.healthcare.v1.dicom."
_EMPTY_TYPE = "type.googleapis.com/google.protobuf.Empty"
_DATASET_TYPE = "type.googleapis.com/google.cloud.healthcare.v1.dataset.Dataset"
_DICOM_SERVICE = "google.cloud.healthcare.v1.dicom.DicomService."
_DATASET_SERVICE = "google.cloud.healthcare.v1.dataset.DatasetService."


class Method(StrEnum):
    """Methods that start an operation: of DatasetService, and of DicomService."""

    CREATE_DATASET = "CreateDataset"

    IMPORT = "ImportDicomData"
    EXPORT = "ExportDicomData"
    DELETE_STORE = "DeleteDicomStore"
    DELETE_INSTANCES = "DeleteInstances"  # our own
    UNKNOWN = ""  # of an operation whose record cannot be read

    @property
    def verb(self) -> str:
        """Import, Export, Delete or Create dataset."""
        return _VERBS[self]

    @property
    def full_name(self) -> str:
        """The name with its service; '' if it is unknown."""
        service = _DATASET_SERVICE if self is Method.CREATE_DATASET else _DICOM_SERVICE
        return service + self if self else ""

    @property
    def response_type(self) -> str:
        """Type URL of the response."""
        if self is Method.CREATE_DATASET:
            return _DATASET_TYPE
        return _EMPTY_TYPE if self in _EMPTY else f"{_RESPONSE_TYPE}{self}Response"

    @property
    def noun(self) -> str:
        """Unit of work: file or instance."""
        return "file" if self is Method.IMPORT else "instance"


_WHAT_STAYS = {
    Method.IMPORT: ("files are in the store", "run it again to continue from there"),
    Method.EXPORT: ("instances are exported", "run it again to export all"),
    Method.DELETE_STORE: ("blobs are deleted", "run it again to continue from there"),
    Method.DELETE_INSTANCES: ("instances are deleted", "run it again to continue from there"),
}
_VERBS = {
    Method.CREATE_DATASET: "Create dataset",
    Method.IMPORT: "Import",
    Method.EXPORT: "Export",
    Method.DELETE_STORE: "Delete",
    Method.DELETE_INSTANCES: "Delete",
    Method.UNKNOWN: "Operation",
}
_EMPTY = (Method.DELETE_STORE, Method.DELETE_INSTANCES)


class SampleError(NamedTuple):
    """ErrorDetail of the published API: one file, instance, table or topic that failed.

    Attributes:
        resource: URI of the file or table, path of the instance, name of the topic.
        message: code and fixed reason.
        code: a google.rpc.Code.
    """

    resource: str
    message: str
    code: int = INVALID_ARGUMENT

    def to_json(self) -> dict[str, Any]:
        """Return the message as proto JSON."""
        error = {"code": self.code, "message": self.message}
        return {"resource": self.resource, "error": error}

    @classmethod
    def from_json(cls, value: object) -> "SampleError":
        """Read proto JSON."""
        fields = Fields(value)
        error = Fields(fields.rest["error"])
        return cls(
            fields.take("resource", text),
            error.take("message", text),
            error.take("code", typed_fields.code),
        )


class Status(NamedTuple):
    """google.rpc.Status: the error of an operation.

    Attributes:
        code: a google.rpc.Code.
        message: the reason, for people; no patient data.
        samples: the first files or instances that failed.
    """

    code: int
    message: str
    samples: tuple[SampleError, ...] = ()

    def to_json(self, method: Method) -> dict[str, Any]:
        """Return the message as proto JSON."""
        fields: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.samples:
            samples = [each.to_json() for each in self.samples]
            name = f"{_RESPONSE_TYPE}{method}ErrorDetails"
            fields["details"] = [{"@type": name, "sampleErrors": samples}]
        return fields


@dataclasses.dataclass
class OperationMetadata:
    """google.cloud.healthcare.v1.OperationMetadata.

    Attributes:
        method: method that started the operation.
        create_time: when it started.
        logs_url: the operation's folder.
        counter: None if nothing was counted yet.
        cancel_requested: None if it was not looked up yet.
        end_time: None while the operation runs.
        lagging: our own: tables and topics that follow the store and did not get all of it.
        unknown: fields of a later version, kept as they are.
    """

    method: Method
    create_time: datetime
    logs_url: str
    counter: ProgressCounter | None = None
    cancel_requested: bool | None = None
    end_time: datetime | None = None
    lagging: tuple[SampleError, ...] = ()
    unknown: dict[str, Any] = dataclasses.field(default_factory=dict)

    def api_fields(self) -> dict[str, Any]:
        """Return the message as proto JSON, which writes int64 as text."""
        counter = self.counter._asdict() if self.counter else {}
        fields: dict[str, Any] = {
            "@type": _METADATA_TYPE,
            "apiMethodName": self.method.full_name,
            "createTime": _format_time(self.create_time),
            "logsUrl": self.logs_url,
            "counter": {name: str(number) for name, number in counter.items()},
        }
        if self.cancel_requested is not None:
            fields["cancelRequested"] = self.cancel_requested
        if self.end_time is not None:
            fields["endTime"] = _format_time(self.end_time)
        if self.lagging:
            fields["lagging"] = [each.to_json() for each in self.lagging]
        return fields

    def to_json(self) -> dict[str, Any]:
        """Return all fields, as in operation.json."""
        return self.api_fields() | self.unknown

    @classmethod
    def from_json(cls, json_fields: object) -> "OperationMetadata":
        """Read proto JSON.

        Raises:
            FieldError: it is not the message.
        """
        fields = Fields(json_fields)
        fields.rest.pop("@type", None)
        return cls(
            fields.take("apiMethodName", _method),
            fields.take("createTime", typed_fields.time),
            fields.take("logsUrl", text),
            fields.take("counter", _counter, None),
            fields.take("cancelRequested", flag, None),
            fields.take("endTime", typed_fields.time, None),
            fields.take("lagging", _errors_of, ()),
            fields.rest,
        )


@dataclasses.dataclass
class OperationRecord:
    """One operation. Only its owner writes it.

    Attributes, of google.longrunning.Operation:
        name: resource name.
        metadata: method, times, progress.
        done: whether it has ended, well or with an error.
        error: None while it runs and if it ended well.

    Attributes, our own:
        store: store that it works on; its id is '' if it works on the dataset.
        owner: process or Dataflow job that runs it.
        engine: job that does the work on an engine while the owner waits; None without.
        heartbeat: when the owner last wrote the record.
        total: files or instances to account for; 0 if not known yet.
        counts: of workers while it runs, of outcomes once it has ended.
        ended: parts that have ended; None if it has no parts, or the first has not ended.
        queued: whether it waits for other jobs to end.
        place: at which place it waits, 1 if it is next; 0 if it does not, or did not look yet.
        logs: file that its process logs to; '' if it logs where its parent does.
        data_folder: name of the store's data folder; '' as long as the job has not looked it up.
        asked: what it was to do; None in records of the first version.
        response: fields of its response in proto JSON, beside the type, once it has ended well.
        unknown: fields of a later version, kept as they are.
    """

    name: str
    metadata: OperationMetadata
    store: StoreName
    owner: Owner | DataflowJob
    heartbeat: datetime
    done: bool = False
    error: Status | None = None
    total: int = 0
    counts: ProgressCounts | OutcomeCounts = dataclasses.field(default_factory=OutcomeCounts)
    ended: EndedPart | None = None
    queued: bool = False
    place: int = 0
    logs: str = ""
    data_folder: str = ""
    asked: Asked | None = None
    engine: EngineJob | None = None
    response: dict[str, Any] = dataclasses.field(default_factory=dict)
    unknown: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def id(self) -> str:
        """Last part of the name, which commands take."""
        return self.name.rpartition("/")[2]

    @property
    def is_left_to_engine(self) -> bool:
        """Whether the process that waited for an engine's job is gone; the job may still run."""
        is_aborted = self.error is not None and self.error.code == ABORTED
        return is_aborted and self.engine is not None

    @property
    def outcome_counts(self) -> OutcomeCounts:
        """Counts of outcomes; all 0 while only progress is known."""
        return self.counts if isinstance(self.counts, OutcomeCounts) else OutcomeCounts()

    @property
    def is_dry_run(self) -> bool:
        """Whether it stores nothing."""
        return self.asked is not None and "dry_run" in self.asked.flags

    def finish(self, code: int = 0, message: str = "", samples: Iterable[SampleError] = ()) -> None:
        """Mark the operation as ended.

        Args:
            code: a google.rpc.Code; 0 if it ended well.
            message: the reason if it did not.
            samples: the first files or instances that failed.
        """
        self.done = True
        self.queued = False
        self.place = 0
        self.metadata.end_time = self.metadata.end_time or now()
        self.error = Status(code, message, tuple(samples)) if code else None

    def cut_short(self, code: int, message: str) -> None:
        """Mark the operation as ended in the middle; add to the message what stays of its work.

        Args:
            code: a google.rpc.Code.
            message: the reason.
        """
        done, advice = _WHAT_STAYS.get(self.metadata.method, ("", "run it again"))
        if self.is_dry_run:
            done, advice = "files were checked, nothing was stored", "run it again"
        if done and self.total:
            message = f"{message.removesuffix('.')}; {self.counts.committed} of {self.total} {done}"
        message = f"{message.removesuffix('.')}; {advice}"
        self.finish(code, message)

    def set_counts(self, counts: ProgressCounts | OutcomeCounts, total: int) -> None:
        """Set the counts and the API's counter that follows from them."""
        self.counts, self.total = counts, total
        self.metadata.counter = ProgressCounter(
            max(total - counts.committed - counts.failures, 0), counts.committed, counts.failures
        )

    def summary(self) -> str:
        """Return one line of JSON for logs."""
        fields = self.to_json()
        keys = ("name", "store", "total", "counts", "error")
        if self.error:  # its samples are in the lists of outcomes
            fields["error"] = self.error._replace(samples=()).to_json(self.metadata.method)
        return json.dumps({key: fields[key] for key in keys if key in fields})

    def api_fields(self) -> dict[str, Any]:
        """Return the google.longrunning.Operation as proto JSON, without our own fields."""
        fields: dict[str, Any] = {
            "name": self.name,
            "metadata": self.metadata.api_fields(),
            "done": self.done,
        }
        if self.asked:
            fields["metadata"]["request"] = self.asked.to_json()
        if self.place:
            fields["metadata"]["placeInQueue"] = self.place
        if self.error:
            fields["error"] = self.error.to_json(self.metadata.method)
        elif self.done:
            fields["response"] = {"@type": self.metadata.method.response_type, **self.response}
        return fields

    def to_json(self) -> dict[str, Any]:
        """Return all fields, as in operation.json."""
        fields = self.api_fields() | {
            "metadata": self.metadata.to_json(),
            "owner": self.owner._asdict(),
            "heartbeat": _format_time(self.heartbeat),
            "total": self.total,
            "counts": self.counts.to_json(),
        }
        if self.store.id:
            fields["store"] = str(self.store)
        if self.ended:
            fields["ended"] = self.ended.to_json()
        if self.queued:
            fields["queued"] = True
        if self.place:
            fields["placeInQueue"] = self.place
        if self.logs:
            fields["logs"] = self.logs
        if self.data_folder:
            fields["dataFolder"] = self.data_folder
        if self.asked:
            fields["request"] = self.asked.to_json()
        if self.engine:
            fields["engine"] = self.engine._asdict()
        return fields | self.unknown

    @classmethod
    def from_json(cls, json_fields: object) -> "OperationRecord":
        """Read the fields of operation.json.

        Raises:
            FieldError: it is not the record of an operation, or that of a later version.
        """
        fields = Fields(json_fields)
        name = fields.take("name", text)
        return cls(
            name=name,
            metadata=fields.take("metadata", OperationMetadata.from_json),
            store=fields.take("store", parse_store, None) or _dataset_of(name),
            owner=fields.take("owner", owner_from_json),
            heartbeat=fields.take("heartbeat", typed_fields.time),
            done=fields.take("done", flag),
            error=fields.take("error", _status, None),
            total=fields.take("total", integer),
            counts=fields.take("counts", counts_from_json),
            ended=fields.take("ended", EndedPart.from_json, None),
            queued=fields.take("queued", flag, False),
            place=fields.take("placeInQueue", integer, 0),
            logs=fields.take("logs", text, ""),
            data_folder=fields.take("dataFolder", text, ""),
            asked=fields.take("request", Asked.from_json, None),
            engine=fields.take("engine", engine_from_json, None),
            response=fields.take("response", _response, {}),
            unknown=fields.rest,
        )


def _method(value: object) -> Method:
    name = text(value).removeprefix(_DICOM_SERVICE).removeprefix(_DATASET_SERVICE)
    method = Method(name)
    if method is Method.UNKNOWN:
        raise FieldError("a method has a name")
    return method


def _dataset_of(name: str) -> StoreName:
    """Return what an operation works on that is of no store."""
    try:
        return StoreName(parse_dataset(name.partition("/operations/")[0]), "")
    except ResourceNameError:
        raise FieldError("name is not as expected") from None


def _response(value: object) -> dict[str, Any]:
    fields = Fields(value)
    fields.rest.pop("@type", None)  # follows from the method
    return fields.rest


def _counter(value: object) -> ProgressCounter | None:
    fields = Fields(value)
    if not fields.rest:
        return None
    return ProgressCounter(*(fields.take(name, integer, 0) for name in ProgressCounter._fields))


def _status(value: object) -> Status:
    fields = Fields(value)
    return Status(
        fields.take("code", typed_fields.code),
        fields.take("message", text),
        fields.take("details", _samples, ()),
    )


def _samples(value: object) -> tuple[SampleError, ...]:
    details = Fields(value[0]) if isinstance(value, list) and value else Fields({})
    return _errors_of(details.rest.get("sampleErrors", ()))


def _errors_of(values: Iterable[object]) -> tuple[SampleError, ...]:
    return tuple(map(SampleError.from_json, values))


def now() -> datetime:
    """Return the time in UTC, to the millisecond as records have it."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _format_time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
