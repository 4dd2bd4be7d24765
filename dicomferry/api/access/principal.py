"""Principals, who send requests, and their permissions."""

from typing import NamedTuple, Protocol

from google.rpc.code_pb2 import PERMISSION_DENIED

from dicomferry.api.errors import ApiError
from dicomferry.places import Bounds

# Of IAM: pictures of the console, without patient data.
SEE_IMAGES = "healthcare.dicomStores.dicomWebRead"
# Of the console alone. No pattern covers it: a token that has it names it.
VIEW_PATIENT_DATA = "healthcare.dicomStores.viewPatientData"
# As in the API reference, but for those of the console.
ALL_PERMISSIONS = (
    "healthcare.datasets.create",
    "healthcare.datasets.delete",
    "healthcare.datasets.get",
    "healthcare.datasets.getIamPolicy",
    "healthcare.datasets.list",
    "healthcare.datasets.update",
    "healthcare.dicomStores.create",
    "healthcare.dicomStores.delete",
    SEE_IMAGES,
    "healthcare.dicomStores.export",
    "healthcare.dicomStores.get",
    "healthcare.dicomStores.getIamPolicy",
    "healthcare.dicomStores.import",
    "healthcare.dicomStores.list",
    "healthcare.dicomStores.update",
    VIEW_PATIENT_DATA,
    "healthcare.operations.cancel",
    "healthcare.operations.get",
    "healthcare.operations.list",
)


class Grant(NamedTuple):
    """Permissions on resources.

    Attributes:
        permissions: of `ALL_PERMISSIONS`, or patterns of them that end in `*`, which cover all
            but `VIEW_PATIENT_DATA`.
        resources: names of projects, locations, datasets or stores, with all below them.
            `*` is everything.
    """

    permissions: tuple[str, ...]
    resources: tuple[str, ...]

    def allows(self, permission: str, resource: str) -> bool:
        """Whether this grant covers a permission on a resource."""
        return any(matches_permission(pattern, permission) for pattern in self.permissions) and any(
            _covers(granted, resource) for granted in self.resources
        )


class Principal:
    """Sender of a request.

    Attributes:
        name: for logs and the console.
        bounds: places that its requests may name; None: all that the server allows.
    """

    def __init__(self, name: str, grants: tuple[Grant, ...], bounds: Bounds | None = None) -> None:
        self.name = name
        self.bounds = bounds
        self._grants = grants

    def named(self, name: str) -> "Principal":
        """Return who has the same rights under another name."""
        return Principal(name, self._grants, self.bounds)

    def may(self, permission: str, *resources: str) -> bool:
        """Whether it has a permission on one of the resources, whether or not they exist."""
        return any(
            grant.allows(permission, resource) for grant in self._grants for resource in resources
        )

    def require(self, permission: str, *resources: str) -> None:
        """Refuse the request unless a permission covers one of the resources.

        Call it before anything is looked up: a caller without permission gets the same answer
        whether the resource exists or not.

        Args:
            permission: of `ALL_PERMISSIONS`.
            resources: the resource, then others whose grants cover it: an operation is covered by
                its own name and by its store's.

        Raises:
            ApiError: PERMISSION_DENIED.
        """
        if not self.may(permission, *resources):
            raise ApiError(
                PERMISSION_DENIED,
                f"permission {permission!r} denied on resource {resources[0]!r} "
                "(or it may not exist): ask for a token that has it",
                reason="IAM_PERMISSION_DENIED",
                facts={"permission": permission, "resource": resources[0]},
            )

    def may_see_below(self, resource: str) -> bool:
        """Whether anything at or below a resource is granted."""
        return any(
            _covers(granted, resource) or _covers(resource, granted)
            for grant in self._grants
            for granted in grant.resources
        )


class Authenticator(Protocol):
    """Resolves Authorization headers; the seam for other ways to log in, such as OIDC."""

    def authenticate(self, authorization: str | None) -> Principal:
        """Return the principal of an Authorization header; None if the request has no such header.

        Raises:
            ApiError: UNAUTHENTICATED if the header is missing or unknown, UNAVAILABLE if it
                cannot be checked.
        """


ANYONE = Principal("anyone", (Grant(("*",), ("*",)),))


class NoLogin:
    """Grants everything to everyone: for a server that only this machine can reach."""

    def authenticate(self, authorization: str | None) -> Principal:
        """Return `ANYONE`, whatever the header."""
        return ANYONE


def matches_permission(pattern: str, permission: str) -> bool:
    """Whether a permission equals a pattern, or starts like a pattern that ends in `*`.

    No pattern covers `VIEW_PATIENT_DATA`: who sees patients' names is written where it is granted.
    """
    if pattern.endswith("*") and permission != VIEW_PATIENT_DATA:
        return permission.startswith(pattern[:-1])
    return permission == pattern


def _covers(granted: str, resource: str) -> bool:
    return granted in ("*", resource) or resource.startswith(f"{granted}/")
