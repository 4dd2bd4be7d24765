"""Jobs on engines whose waiting process is gone: their operations follow the job service.

A job on an engine (Flink, Spark, Prism) does its work without the process that started it. Once
that is gone, nobody writes the record; then `reconcile` asks the engine's job service for the state
of the job, and ends the operation with it.
"""

from contextlib import suppress

from google.rpc.code_pb2 import CANCELLED, NOT_FOUND, UNAVAILABLE

from dicomferry.operations.completion import OutcomeCountMismatchError, complete_from_outcomes
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.owner import EngineJob
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines.job_service import EngineError, JobService

_ENDED = ("DONE", "FAILED", "CANCELLED", "DRAINED", "UPDATED")


def reconcile(folder: OperationFolder) -> OperationRecord:
    """Return the current record of an operation that was left to an engine.

    It is running as long as its job is, with the progress that the engine tells; if that has ended,
    the operation ends. Cancellation that was requested meanwhile is handed on. If the engine does
    not know the job, or another process has ended the operation, the record stays as it is.

    Raises:
        EngineError: the job service does not answer.
    """
    record = folder.read()
    if not record.is_left_to_engine or record.engine is None:
        return record
    with JobService(record.engine.endpoint) as service:
        job = service.find(record.engine)
        if job is None:
            return record
        running = folder.read_written()
        state = service.state_of(job)
        if state not in _ENDED:
            if folder.is_cancel_requested():
                service.cancel(job)
            with suppress(EngineError):  # not every engine has them
                running.set_counts(service.progress(job), running.total)
            return running
    if not running.done:
        _end(folder, running, state)
        folder.write(running)
    return running


def cancel(engine: EngineJob) -> None:
    """Cancel a job on its engine; one that has ended, or that is unknown there, stays as it is.

    Raises:
        EngineError: the job service does not answer.
    """
    with JobService(engine.endpoint) as service:
        if job := service.find(engine):
            service.cancel(job)


def _end(folder: OperationFolder, record: OperationRecord, state: str) -> None:
    counts = folder.counts()
    total = record.total or counts.done
    record.set_counts(counts, total)
    flags = record.asked.flags if record.asked else {}
    if state == "CANCELLED":
        record.cut_short(CANCELLED, "cancelled on its engine")
    elif state != "DONE":
        record.cut_short(UNAVAILABLE, "the engine gave up the job; its log says why")
    elif flags.get("table") and counts.failed and not counts.exported:
        record.cut_short(UNAVAILABLE, "the table has none of the rows")
    elif not total and flags.get("source"):
        record.finish(NOT_FOUND, f"source {flags['source']!r} matches no files")
    else:
        try:
            complete_from_outcomes(record, folder, total, f"{record.metadata.method.noun}s")
        except OutcomeCountMismatchError as error:
            record.cut_short(UNAVAILABLE, str(error))
