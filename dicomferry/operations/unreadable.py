"""Records that cannot be read: a power cut left them empty or cut, or a later version wrote them.

Such an operation has ended for whoever reads it, with DATA_LOSS, or with UNIMPLEMENTED if it may be
one of a later version, and a command removes it.
"""

import json
from datetime import UTC, datetime

from google.rpc.code_pb2 import DATA_LOSS, UNIMPLEMENTED

from dicomferry.operations.owner import Owner
from dicomferry.operations.record import Method, OperationMetadata, OperationRecord
from dicomferry.operations.typed_fields import FieldError
from dicomferry.resource_names import DatasetName, StoreName

_CUT = "operation.json is empty, truncated or damaged, for example by a power cut: {remedy}"
_STRANGE = "operation.json is damaged, or a later version of dicomferry wrote it: {remedy}"
_REMEDY = "`dicomferry operations delete {id}` removes it; what the job committed stays"


def parse_record(data: bytes, parent: DatasetName, operation_id: str) -> OperationRecord:
    """Read operation.json; what cannot be read becomes the record of an ended operation.

    Args:
        data: its bytes.
        parent: dataset of the operation.
        operation_id: of the operation.
    """
    try:
        fields = json.loads(data)
        if not isinstance(fields, dict):
            raise FieldError("no JSON object")
    except (ValueError, RecursionError):
        return _unreadable(parent, operation_id, DATA_LOSS, _CUT)
    try:
        return OperationRecord.from_json(fields)
    except (FieldError, RecursionError):
        return _unreadable(parent, operation_id, UNIMPLEMENTED, _STRANGE)


def is_unreadable(record: OperationRecord) -> bool:
    """Whether a record stands for one that cannot be read."""
    return record.metadata.method is Method.UNKNOWN


def may_run(record: OperationRecord) -> bool:
    """Whether a record that cannot be read may be that of a later version, whose job runs."""
    return is_unreadable(record) and record.error is not None and record.error.code == UNIMPLEMENTED


def _unreadable(parent: DatasetName, operation_id: str, code: int, why: str) -> OperationRecord:
    began = _time_of(operation_id)
    record = OperationRecord(
        name=f"{parent}/operations/{operation_id}",
        metadata=OperationMetadata(Method.UNKNOWN, began, "", end_time=began),
        store=StoreName(parent, ""),
        owner=Owner("", 0, ""),
        heartbeat=began,
    )
    record.finish(code, why.format(remedy=_REMEDY.format(id=operation_id)))
    return record


def _time_of(operation_id: str) -> datetime:
    """Return when an operation began, which its id tells."""
    try:
        return datetime.strptime(operation_id.partition("-")[0], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
