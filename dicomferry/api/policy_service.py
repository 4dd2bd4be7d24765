"""google.iam.v1.IAMPolicy, for datasets and stores: callers ask what they may.

Who may what is said by the server's file of tokens, for all resources, so no resource has a policy
of its own.
"""

from typing import Any

from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.rpc.code_pb2 import INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED

from dicomferry.api.access import ALL_PERMISSIONS, Principal
from dicomferry.api.access.permissions import POLICY_PERMISSIONS
from dicomferry.api.errors import ApiError
from dicomferry.api.request_fields import dataset_name, store_name
from dicomferry.resource_names import DatasetName, StoreName
from dicomferry.storage.base import Storage
from dicomferry.store.dataset import find_dataset
from dicomferry.store.dicom_store import store_in

# As Google's services answer for a resource without a policy.
_NO_POLICY = policy_pb2.Policy(etag=b"\0 \1")
_VERSIONS = (0, 1, 3)


class PolicyService:
    """One method per rpc: takes its request, returns its response or raises an ApiError."""

    def __init__(self, root: Storage) -> None:
        """Serve the datasets and stores below a root."""
        self._root = root

    def get_iam_policy(self, request: Any, principal: Principal) -> Any:
        """Return an empty policy, as for every resource without one of its own."""
        name = _resource_name(request.resource)
        principal.require(POLICY_PERMISSIONS["GetIamPolicy"][type(name)], str(name))
        version = request.options.requested_policy_version
        if version not in _VERSIONS:
            raise ApiError(
                INVALID_ARGUMENT, f"requested_policy_version must be 0, 1 or 3, got {version}"
            )
        if not self._exists(name):
            raise ApiError(NOT_FOUND, f"{name} does not exist")
        return _NO_POLICY

    def set_iam_policy(self, request: Any, principal: Principal) -> Any:
        """Refuse, with the reason."""
        _resource_name(request.resource)
        raise ApiError(
            UNIMPLEMENTED,
            "policies cannot be set: the tokens of this server say who may do what; "
            "`dicomferry tokens create` makes them",
        )

    def test_iam_permissions(self, request: Any, principal: Principal) -> Any:
        """Return those of some permissions that the caller has; none if there is no resource."""
        name = _resource_name(request.resource)
        for permission in request.permissions:
            if "*" in permission:
                raise ApiError(INVALID_ARGUMENT, f"{permission!r} is a pattern: list permissions")
        granted = [
            permission
            for permission in request.permissions
            if permission in ALL_PERMISSIONS and principal.may(permission, str(name))
        ]
        # Asked for only by those who have a permission, so nobody else learns of it.
        if granted and not self._exists(name):
            granted = []
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    def _exists(self, name: DatasetName | StoreName) -> bool:
        if isinstance(name, StoreName):
            return store_in(self._root, name.folder) is not None
        return find_dataset(self._root, name) is not None


def _resource_name(text: str) -> DatasetName | StoreName:
    return store_name(text) if "/dicomStores/" in text else dataset_name(text)
