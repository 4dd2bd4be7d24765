"""Errors of stores and jobs, as errors of the API."""

from collections.abc import Iterator
from contextlib import contextmanager

from google.rpc.code_pb2 import (
    ABORTED,
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
)

from dicomferry.api.errors import ApiError
from dicomferry.jobs.dataflow_client import DataflowError
from dicomferry.jobs.turns import QueueFullError
from dicomferry.pipelines.job_service import EngineError
from dicomferry.places import PlaceDeniedError
from dicomferry.resource_names import DatasetName, StoreName
from dicomferry.storage.errors import StorageError
from dicomferry.store.dataset import DatasetBusyError, DatasetExistsError, DatasetNotFoundError
from dicomferry.store.dicom_store import StoreBusyError, StoreExistsError, StoreNotFoundError
from dicomferry.store.formats import StoreFormatError
from dicomferry.store.validation import ResourceError
from dicomferry.tables.errors import TableError


@contextmanager
def translate_store_errors(name: StoreName | DatasetName) -> Iterator[None]:
    """Translate errors of stores and datasets to `ApiError`s without local paths or CLI hints."""
    try:
        yield
    except (StoreNotFoundError, DatasetNotFoundError):
        raise ApiError(NOT_FOUND, f"{name} does not exist") from None
    except (StoreExistsError, DatasetExistsError):
        raise ApiError(ALREADY_EXISTS, f"{name} exists already") from None
    except (StoreBusyError, DatasetBusyError) as error:
        raise ApiError(ABORTED, str(error)) from None
    except StoreFormatError as error:
        raise ApiError(FAILED_PRECONDITION, str(error)) from None
    except ResourceError as error:
        raise ApiError(INVALID_ARGUMENT, str(error)) from None
    except QueueFullError as error:
        raise _queue_full(error) from None


@contextmanager
def translate_place_errors() -> Iterator[None]:
    """Translate what the rules for places refuse to `ApiError`s."""
    try:
        yield
    except PlaceDeniedError as error:
        raise ApiError(PERMISSION_DENIED, str(error)) from None
    except ValueError as error:
        raise ApiError(INVALID_ARGUMENT, str(error)) from None


@contextmanager
def translate_job_errors() -> Iterator[None]:
    """Translate errors of a job that is to be started to `ApiError`s."""
    try:
        yield
    except PlaceDeniedError as error:
        raise ApiError(PERMISSION_DENIED, str(error)) from None
    except (TableError, StorageError, StoreFormatError) as error:
        raise ApiError(FAILED_PRECONDITION, str(error)) from None
    except QueueFullError as error:
        raise _queue_full(error) from None
    except (DataflowError, EngineError) as error:
        raise ApiError(UNAVAILABLE, str(error)) from None
    except ValueError as error:
        raise ApiError(INVALID_ARGUMENT, str(error)) from None
    except LookupError as error:
        raise ApiError(NOT_FOUND, str(error)) from None


def _queue_full(error: QueueFullError) -> ApiError:
    scope = "caller" if error.is_of_caller else "server"
    facts = {"limit": str(error.limit), "scope": scope}
    return ApiError(RESOURCE_EXHAUSTED, str(error), reason="TOO_MANY_WAITING_JOBS", facts=facts)
