"""What an operation was asked to do, by whom, and which version of the software did it."""

import getpass
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import dicomferry
from dicomferry.operations.typed_fields import Fields, text

# Credentials in URIs: user:password@ of an authority, and values of a query, as of signed URLs.
_SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=[?&])([\w.~%-]+=)[^&#\s]+")


class Asked(NamedTuple):
    """The request of an operation.

    Attributes:
        flags: what was given, by the names of flags; no credentials.
        principal: who asked: the caller of a server, or the user whose process it is.
        version: of the software that recorded it.
    """

    flags: Mapping[str, str]
    principal: str
    version: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return self._asdict()

    @classmethod
    def from_json(cls, value: object) -> "Asked":
        """Read the fields by name.

        Raises:
            FieldError: they are not what was asked.
        """
        fields = Fields(value)
        return cls(
            fields.take("flags", _texts),
            fields.take("principal", text),
            fields.take("version", text),
        )


def asked_by(principal: str = "", **flags: str) -> Asked:
    """Return what is asked of this version of the software.

    Args:
        principal: who asks; '' for the user whose process this is.
        **flags: what is given, without credentials.
    """
    return Asked(flags, principal or this_user(), dicomferry.__version__)


def without_secrets(flag: str) -> str:
    """Return the text of a flag without the credentials that a URI in it has."""
    if "://" not in flag:
        return flag
    return _SECRETS.sub(lambda match: f"{match[1] or ''}…", flag)


def this_user() -> str:
    """Return the name of the user that runs this process; '' if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _texts(value: object) -> dict[str, str]:
    fields = Fields(value)
    return {text(name): fields.take(name, text) for name in sorted(fields.rest)}
