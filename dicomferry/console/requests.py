"""What a request for a page names, after its sender may see it."""

from google.rpc.code_pb2 import NOT_FOUND
from starlette.requests import Request

from dicomferry.api.access import Principal
from dicomferry.api.errors import ApiError
from dicomferry.dicom.uids import parse_uid
from dicomferry.resource_names import DatasetName, StoreName, parse_dataset, parse_store
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import DicomStore, get_store


def dataset_of(request: Request) -> DatasetName:
    """Return the dataset of a request's path."""
    values = (request.path_params[name] for name in ("project", "location", "dataset"))
    return parse_dataset(str(DatasetName(*values)))


def store_of(root: Storage, request: Request, principal: Principal, *needed: str) -> DicomStore:
    """Return the store of a request's path.

    Args:
        root: where stores are.
        request: for a page of the store.
        principal: its sender.
        needed: permissions on the store, all of which it must have.

    Raises:
        ApiError: PERMISSION_DENIED, whether or not there is such a store.
        StoreNotFoundError: there is none.
    """
    name = parse_store(str(StoreName(dataset_of(request), request.path_params["store"])))
    for permission in needed:
        principal.require(permission, str(name))
    return get_store(root, name)


def uids_of(request: Request, *names: str) -> list[str]:
    """Return UIDs of a request's path.

    Raises:
        ApiError: NOT_FOUND: one is not a UID, so that nothing has it.
    """
    uids = [request.path_params[name] for name in names]
    if any(parse_uid(uid.encode("utf-8", "replace")) != uid for uid in uids):
        raise not_found()
    return uids


def not_found() -> ApiError:
    """Return the error of a study, series or instance that the store does not have."""
    return ApiError(NOT_FOUND, "there is no such instance in the store")
