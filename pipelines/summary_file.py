"""The file of --summary-file: one JSON object about a job, for the programs that started it.

    name, id      of the operation; "" if the request was refused before there was one
    store         resource name
    method        ImportDicomData or ExportDicomData
    done          false while the job runs
    total, counts files or instances, and what became of them
    error         code (google.rpc.Code) and message; absent if there is none
    outcomes      where the outcome of every file is listed
    exitCode      of the process; null while the job runs

It is written when the operation is recorded, so that its name is known, and replaced when the job
has ended, however it ended; a process that is killed leaves the first. Each time it is written
whole or not at all.
"""

import json
import logging
from typing import Any

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import exit_codes
from dicomferry.pipelines.job import message_of
from dicomferry.pipelines.requests import Request
from dicomferry.storage.failures import storage_errors, storage_message
from dicomferry.storage.registry import open_file

_LOGGER = logging.getLogger(__name__)


def summary_of(
    record: OperationRecord, folder: OperationFolder, exit_code: int | None
) -> dict[str, Any]:
    """Return the JSON object about a job.

    Args:
        record: of its operation.
        folder: of its operation.
        exit_code: of its process; None while it runs.
    """
    fields = record.to_json()
    return {
        "name": record.name,
        "id": record.id,
        "store": str(record.store),
        "method": str(record.metadata.method),
        **{key: fields[key] for key in ("done", "total", "counts", "error") if key in fields},
        "outcomes": folder.storage.uri("outcomes-*.jsonl"),
        "exitCode": exit_code,
    }


class SummaryFile:
    """The summary of one job; does nothing if the request names no file."""

    def __init__(self, request: Request) -> None:
        """Name the file; nothing is written yet."""
        self._request = request
        self._folder: OperationFolder | None = None

    def begin(self, folder: OperationFolder) -> None:
        """Write that the job runs, with the name of its operation."""
        self._folder = folder
        if self._request.summary_file:
            self._write(folder.read(), None)

    def end(self, record: OperationRecord) -> None:
        """Write the end of a job that has done its work, or was handed over and runs on."""
        code = exit_codes.of_record(record, self._request.max_failures) if record.done else None
        self._write(record, code)

    def end_cancelled(self) -> None:
        """Write the end of a job that was cancelled, whose process is about to exit with 1."""
        self._end_anyhow(1, "")

    def end_with(self, error: BaseException) -> None:
        """Write the end of a job that an exception has ended or prevented."""
        code = exit_codes.rpc_code(error)
        self._end_anyhow(exit_codes.of_error(error), message_of(error), code)

    def _end_anyhow(self, exit_code: int, message: str, code: int = 0) -> None:
        """Write the end; a failure to write must not hide why the job ended."""
        if not self._request.summary_file:
            return
        try:
            if self._folder:
                self._write(self._folder.read(), exit_code)
            else:
                error = {"code": code, "message": message}
                self._put({**self._refused(), "error": error, "exitCode": exit_code})
        except storage_errors() as failure:
            _LOGGER.warning("--summary-file was not written: %s", storage_message(failure))

    def _write(self, record: OperationRecord, exit_code: int | None) -> None:
        if not self._request.summary_file or self._folder is None:
            return
        self._put(summary_of(record, self._folder, exit_code))

    def _refused(self) -> dict[str, Any]:
        return {
            "name": "",
            "id": "",
            "store": str(self._request.store),
            "method": str(self._request.method),
            "done": True,
            "total": 0,
            "counts": {},
            "outcomes": "",
        }

    def _put(self, summary: dict[str, Any]) -> None:
        storage, name = open_file(self._request.summary_file)
        storage.write(name, json.dumps(summary, indent=2, ensure_ascii=False).encode() + b"\n")
