"""Fields of requests: the required ones, as annotated in the contract, and resource names."""

import re
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.rpc.code_pb2 import INVALID_ARGUMENT, NOT_FOUND

from dicomferry.api.errors import ApiError
from dicomferry.operations.folder import OperationFolder
from dicomferry.resource_names import (
    DatasetName,
    LocationName,
    ResourceNameError,
    StoreName,
    parse_dataset,
    parse_location,
    parse_store,
)
from dicomferry.storage.base import Storage

_OPERATION_NAME = re.compile(r"(projects/[^/]+/locations/[^/]+/datasets/[^/]+)/operations/([^/]+)")
_MAX_ENTRIES = 100
_MAX_CHARACTERS = 1 << 16
# Ids become folders.
_OPERATION_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


def check_required(request: Any) -> None:
    """Refuse a request that lacks a required field.

    Raises:
        ApiError: a required field is missing.
    """
    for field in request.DESCRIPTOR.fields:
        behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.REQUIRED in behaviors and not _is_set(request, field):
            raise ApiError(INVALID_ARGUMENT, f"{field.name} is required")


def check_values(message: Any) -> None:
    """Refuse a message with more entries in a list or map, or longer texts, than any call needs.

    And one with a number that its enum has not, which proto3 lets through.

    Handlers copy, name and quote what a request holds, so its size is bounded before they see it.

    Raises:
        ApiError: a list, map or text is too large, or a number is out of its enum.
    """
    for field, value in message.ListFields():
        if field.is_repeated:
            if len(value) > _MAX_ENTRIES:
                raise ApiError(
                    INVALID_ARGUMENT,
                    f"{field.name} has {len(value)} entries; at most {_MAX_ENTRIES} fit",
                )
            entries = [*value, *value.values()] if hasattr(value, "values") else value
        else:
            entries = [value]
        for entry in entries:
            if field.enum_type is not None and entry not in field.enum_type.values_by_number:
                raise ApiError(
                    INVALID_ARGUMENT,
                    f"{field.name} is {entry}, which is not one of "
                    f"{', '.join(field.enum_type.values_by_name)}",
                )
            if hasattr(entry, "ListFields"):
                check_values(entry)
            elif isinstance(entry, (str, bytes)) and len(entry) > _MAX_CHARACTERS:
                raise ApiError(
                    INVALID_ARGUMENT,
                    f"{field.name} has {len(entry)} characters; at most {_MAX_CHARACTERS} fit",
                )


def store_name(text: str) -> StoreName:
    """Parse the full name of a store.

    Raises:
        ApiError: it is not the name of a store.
    """
    if "/" not in text:  # the command line's short form
        raise ApiError(
            INVALID_ARGUMENT,
            f"{text!r} is not the name of a DICOM store: use "
            "projects/P/locations/L/datasets/D/dicomStores/ID",
        )
    try:
        return parse_store(text)
    except ResourceNameError as error:
        raise ApiError(INVALID_ARGUMENT, str(error)) from None


def dataset_name(text: str) -> DatasetName:
    """Parse the full name of a dataset.

    Raises:
        ApiError: it is not the name of a dataset.
    """
    try:
        if not text:
            raise ResourceNameError("a dataset is projects/P/locations/L/datasets/D")
        return parse_dataset(text)
    except ResourceNameError as error:
        raise ApiError(INVALID_ARGUMENT, str(error)) from None


def location_name(text: str) -> LocationName:
    """Parse the full name of a location.

    Raises:
        ApiError: it is not the name of a location.
    """
    try:
        return parse_location(text)
    except ResourceNameError as error:
        raise ApiError(INVALID_ARGUMENT, str(error)) from None


def operation_folder(root: Storage, text: str) -> OperationFolder:
    """Return the folder of an operation, by its full name.

    Raises:
        ApiError: it is not the name of an operation, or no operation can have this id.
    """
    match = _OPERATION_NAME.fullmatch(text)
    if not match:
        raise ApiError(
            INVALID_ARGUMENT,
            f"{text!r} is not the name of an operation: use "
            "projects/P/locations/L/datasets/D/operations/ID",
        )
    parent = dataset_name(match[1])
    if not _OPERATION_ID.fullmatch(match[2]):
        raise ApiError(NOT_FOUND, f"{text} does not exist")
    return OperationFolder(root, parent, match[2])


def _is_set(request: Any, field: FieldDescriptor) -> bool:
    if field.message_type is not None and not field.is_repeated:
        return bool(request.HasField(field.name))
    return bool(getattr(request, field.name))
