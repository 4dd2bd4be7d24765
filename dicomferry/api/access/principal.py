"""Whoever sends a request, and what it may do."""

from typing import NamedTuple, Protocol

from google.rpc.code_pb2 import PERMISSION_DENIED

from dicomferry.api.errors import ApiError

# The reference's words; dicomWebRead, which is IAM's, covers the console's pictures.
ALL_PERMISSIONS = (
    "healthcare.dicomStores.create",
    "healthcare.dicomStores.delete",
    "healthcare.dicomStores.dicomWebRead",
    "healthcare.dicomStores.export",
    "healthcare.dicomStores.get",
    "healthcare.dicomStores.import",
    "healthcare.dicomStores.list",
    "healthcare.dicomStores.update",
    "healthcare.operations.cancel",
    "healthcare.operations.get",
    "healthcare.operations.list",
)


class Grant(NamedTuple):
    """Permissions on resources.

    Attributes:
        permissions: of `PERMISSIONS`, or patterns of them that end in `*`.
        resources: names of projects, datasets, stores; each covers all below it. `*` is everything.
    """

    permissions: tuple[str, ...]
    resources: tuple[str, ...]

    def allows(self, permission: str, resource: str) -> bool:
        """Whether this covers a permission on a resource."""
        return any(matches_permission(pattern, permission) for pattern in self.permissions) and any(
            _covers(granted, resource) for granted in self.resources
        )


class Principal:
    """Whoever sends a request.

    Attributes:
        name: for logs and the console.
    """

    def __init__(self, name: str, grants: tuple[Grant, ...]) -> None:
        self.name = name
        self._grants = grants

    def may(self, permission: str, *resources: str) -> bool:
        """Whether it has a permission on one of the resources, be they there or not."""
        return any(
            grant.allows(permission, resource) for grant in self._grants for resource in resources
        )

    def require(self, permission: str, *resources: str) -> None:
        """Refuse the request unless a permission covers one of the resources.

        To be called before anything is looked up: a caller who may not see a store gets the same
        answer whether it exists or not.

        Args:
            permission: of `PERMISSIONS`.
            resources: the resource, and what else it may be granted by: an operation is covered
                by its own name and by its store's.

        Raises:
            ApiError: PERMISSION_DENIED.
        """
        if not self.may(permission, *resources):
            raise ApiError(
                PERMISSION_DENIED,
                f"permission {permission!r} denied on resource {resources[0]!r} "
                "(or it may not exist): ask for a token that has it",
            )

    def may_see_below(self, resource: str) -> bool:
        """Whether anything at or below a resource is granted."""
        return any(
            _covers(granted, resource) or _covers(resource, granted)
            for grant in self._grants
            for granted in grant.resources
        )


class Authenticator(Protocol):
    """Tells who sends a request; the seam for other ways to log in, such as OIDC."""

    def authenticate(self, authorization: str | None) -> Principal:
        """Return the principal of an Authorization header, None where there is none.

        Raises:
            ApiError: UNAUTHENTICATED if it names nobody, UNAVAILABLE if that cannot be told.
        """


ANYONE = Principal("anyone", (Grant(("*",), ("*",)),))


class NoLogin:
    """Everybody may do everything: for a server that only this machine can reach."""

    def authenticate(self, authorization: str | None) -> Principal:
        """Return `ANYONE`, whatever the header."""
        return ANYONE


def matches_permission(pattern: str, permission: str) -> bool:
    """Whether a permission is the one of a pattern, or begins as a pattern that ends in `*`."""
    if pattern.endswith("*"):
        return permission.startswith(pattern[:-1])
    return permission == pattern


def _covers(granted: str, resource: str) -> bool:
    return granted in ("*", resource) or resource.startswith(f"{granted}/")
