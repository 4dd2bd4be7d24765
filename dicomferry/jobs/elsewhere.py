"""Operations whose jobs run elsewhere: on Dataflow, or on an engine that outlived its starter.

Whoever reads or cancels an operation does so here: such a job is asked for its state first.
"""

import logging
import math
import time

from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from dicomferry.jobs import dataflow, engine
from dicomferry.jobs.dataflow_client import DataflowClient, DataflowError
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.owner import DataflowJob
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines.job_service import EngineError

_LOGGER = logging.getLogger(__name__)
# After a failed call, do not ask the same service again for this long.
_SILENCE_SECONDS = 60.0
_DATAFLOW = "Dataflow"


def read(folder: OperationFolder) -> OperationRecord:
    """Return the current record of an operation, reconciled if its job runs elsewhere."""
    record = folder.read()
    if _is_on_dataflow(record):
        return dataflow.reconcile(DataflowClient(), folder)
    if record.is_left_to_engine:
        return OperationReader().reconcile(folder, record)
    return record


def request_cancel(folder: OperationFolder) -> None:
    """Request the end of a job, wherever it runs; one that has ended stays as it is.

    Raises:
        OperationNotFoundError: there is no such operation.
        EngineError: its engine does not answer.
    """
    folder.request_cancel()
    record = folder.read()
    if _is_on_dataflow(record):
        dataflow.cancel(DataflowClient(), folder)
    elif record.is_left_to_engine and record.engine:
        engine.cancel(record.engine)


class OperationReader:
    """Reads many operations, reconciled where their jobs run elsewhere.

    Dataflow and engines are asked only about operations that have not ended, and about each at most
    every few seconds, since pages are read again and again. Where one cannot be asked, for
    example without credentials, an operation is read as recorded: a list needs no Dataflow.
    """

    def __init__(self, every_seconds: float = 0.0) -> None:
        """Set how long an answer is used; the reader connects when it needs to.

        Args:
            every_seconds: maximum age of an answer.
        """
        self._every = every_seconds
        self._client: DataflowClient | None = None
        self._answers: dict[str, tuple[float, OperationRecord]] = {}
        self._silent_until: dict[str, float] = {}

    def read(self, folder: OperationFolder) -> OperationRecord:
        """Return the current record of an operation.

        Raises:
            OperationNotFoundError: there is no such operation.
        """
        return self.reconcile(folder, folder.read())

    def reconcile(self, folder: OperationFolder, record: OperationRecord) -> OperationRecord:
        """Return the current record of an operation that was read just now."""
        if not (service := _service_of(record)):
            self._answers.pop(folder.name, None)
            return record
        time_now = time.monotonic()
        asked, answer = self._answers.get(folder.name, (-math.inf, record))
        if time_now < max(asked + self._every, self._silent_until.get(service, -math.inf)):
            return answer
        try:
            answer = self._ask(service, folder)
        except (DataflowError, EngineError, GoogleAuthError, RequestException) as error:
            # The next call would fail as well, and each may take a minute.
            self._silent_until[service] = time_now + _SILENCE_SECONDS
            is_told = isinstance(error, DataflowError | EngineError)
            reason = str(error) if is_told else type(error).__name__
            _LOGGER.warning("the state of jobs on %s is not available: %s", service, reason)
            return answer
        self._answers[folder.name] = time_now, answer
        return answer

    def _ask(self, service: str, folder: OperationFolder) -> OperationRecord:
        if service != _DATAFLOW:
            return engine.reconcile(folder)
        self._client = self._client or DataflowClient()
        return dataflow.reconcile(self._client, folder)


def _service_of(record: OperationRecord) -> str:
    """Return who knows more of a job than its record; '' if nobody does."""
    if _is_on_dataflow(record):
        return _DATAFLOW
    return record.engine.endpoint if record.is_left_to_engine and record.engine else ""


def _is_on_dataflow(record: OperationRecord) -> bool:
    return not record.done and isinstance(record.owner, DataflowJob)
