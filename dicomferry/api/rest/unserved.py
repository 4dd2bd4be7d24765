"""Methods of the published API that this service lacks, so that errors can say so."""

import re

from google.rpc.code_pb2 import NOT_FOUND, UNIMPLEMENTED

from dicomferry.api.errors import ApiError
from dicomferry.api.rest.http_rule import Route
from dicomferry.api.rest.versions import IN_PATHS

_LOCATION = "projects/[^/]+/locations/[^/]+"
_DATASET = f"{_LOCATION}/datasets/[^/]+"
_STORE = f"{_DATASET}/dicomStores/[^/]+"
_UNSERVED = (
    (f"(?:{_DATASET}|{_STORE}):deidentify", "this service does not de-identify"),
    (f"{_STORE}:setBlobStorageSettings", "this service keeps all instances in one storage class"),
    (f"{_STORE}/dicomWeb/.*", "this service has no DICOMweb: import files, and export instances"),
    (
        f"{_DATASET}/(?:consentStores|dataMapperWorkspaces|fhirStores|hl7V2Stores)(?:/.*)?",
        "this service has only DICOM stores",
    ),
    ("projects/[^/]+/locations(?:/[^/]+)?", "locations are only names, and are not listed"),
    (f"{_LOCATION}/services/.*", "this service has only DICOM stores"),
)
_MAX_PATH = 500


def no_such_method(method: str, path: str) -> ApiError:
    """Return the error for a request that no route fits, its path as it was sent."""
    for pattern, reason in _UNSERVED:
        if re.fullmatch(f"{IN_PATHS}{pattern}", path, re.ASCII):
            return ApiError(UNIMPLEMENTED, f"there is no {method} {path[:_MAX_PATH]}: {reason}")
    return ApiError(NOT_FOUND, f"there is no {method} {path[:_MAX_PATH]}")


def with_verb(error: ApiError, route: Route, path: str) -> ApiError:
    """Return an error that names what may have been meant as a verb and was read as part of an id.

    Args:
        error: of the call.
        route: that the path was read by.
        path: as it was sent: an id whose ':' is percent-encoded has no verb.
    """
    _, colon, verb = path.rpartition("/")[2].rpartition(":")
    if error.code != NOT_FOUND or route.has_verb or not colon:
        return error
    return ApiError(
        NOT_FOUND,
        f"there is no {route.method} with the verb ':{verb[:_MAX_PATH]}'; read as an id that has a "
        f"':', {error.message}",
        reason=error.reason,
    )
