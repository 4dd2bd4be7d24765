"""Fields of JSON whose types are checked, since a file can hold anything after a power cut."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

T = TypeVar("T")
# Sums of a few still are 64-bit integers.
_MAX_INTEGER = 1 << 60


class FieldError(ValueError):
    """A field is missing, or its value is not what it is read as; the message has its name."""


class Fields:
    """The fields of a JSON object, taken one by one; `rest` has those that nobody took."""

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, Mapping):
            raise FieldError(f"a JSON object is expected, not {type(fields).__name__}")
        self.rest: dict[str, Any] = dict(fields)

    def take(self, name: str, kind: Callable[..., T], *default: T) -> T:
        """Take a field.

        Args:
            name: of the field.
            kind: reads its value: one of the functions below, or of a message.
            default: returned where the field is missing or null.

        Raises:
            FieldError: the field is missing, or not of that kind.
        """
        value = self.rest.pop(name, None)
        if value is None and default:
            return default[0]
        try:
            return kind(value)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FieldError(f"{name} is not as expected") from error


def text(value: object) -> str:
    """Read text."""
    if not isinstance(value, str):
        raise FieldError("text is expected")
    value.encode()  # half of a surrogate pair is in no text
    return value


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise FieldError("true or false is expected")
    return value


def integer(value: object) -> int:
    """Read an integer; proto JSON has some as text."""
    number = int(value) if isinstance(value, str) else value
    if type(number) is not int or abs(number) > _MAX_INTEGER:
        raise FieldError("an integer is expected")
    return number


def code(value: object) -> int:
    """Read a 32-bit integer, such as a google.rpc.Code."""
    number = integer(value)
    if abs(number) >= 1 << 31:
        raise FieldError("a 32-bit integer is expected")
    return number


def time(value: object) -> datetime:
    """Read a time, which has an offset, as UTC."""
    moment = datetime.fromisoformat(text(value))
    if moment.tzinfo is None:
        raise FieldError("a time has an offset")
    return moment.astimezone(UTC)
