"""File of bearer tokens: one JSON object per line, with the hash of the token.

    {"name": "airflow", "sha256": "9f86…", "permissions": ["healthcare.dicomStores.*"],
     "resources": ["projects/P/locations/L/datasets/D/dicomStores/trial"],
     "read": ["/data/trial"], "write": []}

(each on a single line). `read` and `write` are places that its requests may name; without one of
them, they may name all that the server allows. SHA-256 is enough, since a token has 256 random
bits and cannot be guessed. Removing a line revokes its token at once.

A line with `group` in place of `sha256` is for callers whom an OpenID Connect issuer knows as
members of that group: see `oidc`.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from google.rpc.code_pb2 import UNAUTHENTICATED, UNAVAILABLE

from dicomferry.api.access.principal import ALL_PERMISSIONS, Grant, Principal, matches_permission
from dicomferry.api.errors import ApiError
from dicomferry.places import Bounds, Places, parse_places

_LOGGER = logging.getLogger(__name__)
_FIELDS = ("name", "permissions", "resources")
_KEYS = ("sha256", "group")
_PLACES = ("read", "write")
_ANYWHERE = Places(("/",), None)
_REMEDY = (
    "is not in a place that the token {name!r} may {{access}}: `dicomferry tokens create "
    "--{{access}} PLACE` makes one that may"
)
_MAX_TOKEN_CHARACTERS = 4096
_HASH_CHARACTERS = 64
_OPEN_TO_OTHERS = stat.S_IWGRP | stat.S_IRWXO


class AuthFileError(ValueError):
    """An invalid file of tokens; the message has the line and the remedy."""


class TokenFile:
    """An `Authenticator` with a file of tokens, which is read again when it has changed."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            AuthFileError: it is missing, open to others, or has an invalid line.
        """
        self._path = path
        self._content = _read(path)
        self._entries = _parse(self._content, path)

    def authenticate(self, authorization: str | None) -> Principal:
        """Return the principal of the token in an Authorization header.

        Raises:
            ApiError: UNAUTHENTICATED without a known token; UNAVAILABLE while the file cannot be
                used.
        """
        tokens = self._current().tokens
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise ApiError(
                UNAUTHENTICATED,
                "no token: send the header 'Authorization: Bearer TOKEN'",
                reason="CREDENTIALS_MISSING",
            )
        digest = hash_token(token[:_MAX_TOKEN_CHARACTERS])
        match = None
        # All are compared, so that the time reveals nothing about them.
        for known, principal in tokens.items():
            if hmac.compare_digest(known, digest):
                match = principal
        if match is None:
            raise ApiError(
                UNAUTHENTICATED,
                "unknown or revoked token: `dicomferry tokens create` creates a new one",
                reason="ACCESS_TOKEN_INVALID",
            )
        return match

    def of_groups(self, groups: Collection[str]) -> Principal | None:
        """Return the principal of the first line that names one of some groups.

        Raises:
            ApiError: UNAVAILABLE while the file cannot be used.
        """
        known = self._current().groups
        return next((known[group] for group in known if group in groups), None)

    def _current(self) -> "_Entries":
        # The content is compared, not its time: two changes can fall on one tick of the clock.
        try:
            content = _read(self._path)
            if content != self._content:
                self._entries = _parse(content, self._path)
                self._content = content
        except AuthFileError as error:
            _LOGGER.error("all logins are refused: %s", error)
            raise ApiError(
                UNAVAILABLE,
                "logins cannot be checked at the moment; the server's log has the reason",
            ) from None
        return self._entries


class _Entries(NamedTuple):
    """Principals of a file: by the hash of their token, and by group in the order of lines."""

    tokens: dict[str, Principal]
    groups: dict[str, Principal]


def make_token(
    name: str, permissions: Sequence[str], resources: Sequence[str], **places: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """Create a token and its entry in the auth file.

    Args:
        name: of its owner.
        permissions: names or patterns.
        resources: names of resources, or *.
        places: `read` and `write`, to limit it to some.

    Returns:
        The token, which is not stored anywhere, and its entry.

    Raises:
        AuthFileError: a permission is unknown, a resource is not a resource name, or a place is
            not a place.
    """
    token = f"dicomferry_{secrets.token_urlsafe(32)}"
    entry = {
        "name": name,
        "sha256": hash_token(token),
        "permissions": list(permissions),
        "resources": list(resources),
        **{field: list(texts) for field, texts in places.items()},
    }
    _check(entry)
    return token, entry


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token, in hex."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OPEN_TO_OTHERS:
                raise AuthFileError(
                    f"others can read or change the auth file {path} "
                    f"(mode {stat.S_IMODE(mode):o}): run chmod 600 {path}"
                )
            return file.read()
    except OSError as error:
        raise AuthFileError(
            f"cannot read the auth file {path} ({error.strerror}): "
            "`dicomferry tokens create … >> FILE` creates one"
        ) from None


def _parse(content: bytes, path: str) -> _Entries:
    entries = _Entries({}, {})
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            _check(entry)
        except (AuthFileError, ValueError, RecursionError) as error:
            problem = str(error) if isinstance(error, AuthFileError) else "it is not JSON"
            raise AuthFileError(
                f"line {number} of the auth file {path}: {problem}; "
                "`dicomferry tokens create` shows the format of a line"
            ) from None
        key, principals = (
            (entry["group"], entries.groups)
            if "group" in entry
            else (entry["sha256"], entries.tokens)
        )
        if key in principals:
            raise AuthFileError(
                f"line {number} of the auth file {path} repeats a token or group: list all of its "
                "permissions in one line"
            )
        grant = Grant(tuple(entry["permissions"]), tuple(entry["resources"]))
        principals[key] = Principal(entry["name"], (grant,), _bounds(entry))
    if not any(entries):
        raise AuthFileError(
            f"the auth file {path} has no token, so nobody can log in: "
            f"`dicomferry tokens create … >> {path}` adds one"
        )
    return entries


def _bounds(entry: dict[str, Any]) -> Bounds | None:
    """Return the places that an entry names; None if it has no limit."""
    if not set(_PLACES) & set(entry):
        return None
    read, write = (
        parse_places(entry[field], repr(field)) if field in entry else _ANYWHERE
        for field in _PLACES
    )
    # Braces in the name must survive `str.format`.
    name = entry["name"].replace("{", "{{").replace("}", "}}")
    return Bounds(read, write, _REMEDY.format(name=name))


def _check(entry: Any) -> None:
    """Refuse an entry that does not have the format above."""
    keys = set(entry) & set(_KEYS) if isinstance(entry, dict) else set()
    if len(keys) != 1 or set(entry) - set(_PLACES) - keys != set(_FIELDS):
        raise AuthFileError(
            f"it must be a JSON object with exactly {', '.join(_FIELDS)}, either "
            f"{' or '.join(_KEYS)}, and, to limit it to places, {' and '.join(_PLACES)}"
        )
    if not isinstance(entry["name"], str) or not entry["name"].strip():
        raise AuthFileError("'name' must be a string")
    digest = entry.get("sha256", "0" * _HASH_CHARACTERS)
    if not isinstance(entry.get("group", "-"), str) or not entry.get("group", "-").strip():
        raise AuthFileError("'group' must be the name of a group, as the issuer has it")
    if (
        not isinstance(digest, str)
        or len(digest) != _HASH_CHARACTERS
        or not set(digest) <= set("0123456789abcdef")
    ):
        raise AuthFileError("'sha256' must be the token's SHA-256, 64 characters of 0-9a-f")
    for field in ("permissions", "resources"):
        values = entry[field]
        if not isinstance(values, list) or not values or not all(map(_is_text, values)):
            raise AuthFileError(f"{field!r} must be a list of strings, at least one")
    for field in set(_PLACES) & set(entry):
        _check_places(field, entry[field])
    for permission in entry["permissions"]:
        if not any(matches_permission(permission, known) for known in ALL_PERMISSIONS):
            raise AuthFileError(
                f"{permission!r} is not a permission: use one of {', '.join(ALL_PERMISSIONS)}, or "
                "a pattern such as healthcare.dicomStores.*"
            )
    for resource in entry["resources"]:
        plain = resource.startswith("projects/") and not {"", "*"} & set(resource.split("/"))
        if resource != "*" and not plain:
            raise AuthFileError(
                f"{resource!r} is not a resource: use * for all, or a name such as projects/P or "
                "projects/P/locations/L/datasets/D/dicomStores/S, which covers all below it"
            )


def _check_places(field: str, texts: Any) -> None:
    if not isinstance(texts, list) or not all(map(_is_text, texts)):
        raise AuthFileError(f"{field!r} must be a list of strings")
    try:
        folders = parse_places(texts, repr(field)).folders
    except ValueError as error:
        raise AuthFileError(str(error)) from None
    if len(folders) > sum(text.startswith(("/", "file:///")) for text in texts):
        raise AuthFileError(f"{field!r} must name folders by absolute paths")


def _is_text(value: object) -> bool:
    return isinstance(value, str)
