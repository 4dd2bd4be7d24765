"""The filter of ListOperations: comparisons joined by AND.

    done = true AND metadata.createTime >= "2026-01-31" AND metadata.apiMethodName : Import

`:` searches for a text within another.
"""

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.errors import ApiError
from dicomferry.operations.record import OperationRecord

_MAX_CHARACTERS = 4096
_TERM = re.compile(
    r'\s*([A-Za-z_.]+)\s*(!=|<=|>=|=|<|>|:)\s*("(?:[^"\\]|\\.)*"|[^\s()"=<>!:][^\s()"]*)\s*'
)
_AND = re.compile(r"AND(?=[\s(])")
_EQUAL = {"=": operator.eq, "!=": operator.ne}
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class _Field(NamedTuple):
    """A field that can be compared: how its values are written, with which comparisons."""

    of: Callable[[OperationRecord], Any]
    read: Callable[[str], Any]
    kind: str
    comparisons: dict[str, Callable[[Any, Any], bool]]


_FIELDS = {
    "done": _Field(lambda record: record.done, _flag, "true or false", _EQUAL),
    "metadata.cancelRequested": _Field(
        lambda record: bool(record.metadata.cancel_requested), _flag, "true or false", _EQUAL
    ),
    "metadata.apiMethodName": _Field(
        lambda record: record.metadata.method.full_name,
        str,
        "a text",
        {**_EQUAL, ":": operator.contains},
    ),
    **{
        f"metadata.{name}Time": _Field(
            operator.attrgetter(f"metadata.{name}_time"),
            _time,
            "a time as in RFC 3339",
            {**_EQUAL, **_ORDER},
        )
        for name in ("create", "end")
    },
}


class _Comparison(NamedTuple):
    of: Callable[[OperationRecord], Any]
    compare: Callable[[Any, Any], bool]
    value: Any

    def matches(self, record: OperationRecord) -> bool:
        """Whether a record has the value; one that has none matches nothing."""
        value = self.of(record)
        return value is not None and self.compare(value, self.value)


class OperationFilter(tuple[_Comparison, ...]):
    """A parsed filter; an empty one matches every operation."""

    def matches(self, record: OperationRecord) -> bool:
        """Whether an operation matches."""
        return all(each.matches(record) for each in self)


def parse_operation_filter(text: str) -> OperationFilter:
    """Parse a filter.

    Raises:
        ApiError: it is not one; the message says what can be filtered.
    """
    if not text.strip():
        return OperationFilter()
    if len(text) > _MAX_CHARACTERS:
        raise _refusal(f"it has more than {_MAX_CHARACTERS} characters")
    comparisons, position = [], 0
    while True:
        term = _TERM.match(text, position)
        if term is None:
            raise _refusal(f"no comparison begins at character {position + 1}")
        comparisons.append(_comparison(*term.groups()))
        position = term.end()
        if position == len(text):
            return OperationFilter(comparisons)
        joined = _AND.match(text, position)
        if joined is None:
            raise _refusal(f"AND is expected at character {position + 1}")
        position = joined.end()


def _comparison(name: str, comparison: str, value: str) -> _Comparison:
    *parents, last = name.split(".")
    camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), last)
    name = ".".join([*parents, camel])
    field = _FIELDS.get(name)
    if field is None:
        raise _refusal(f"{name!r} cannot be filtered")
    if comparison not in field.comparisons:
        raise _refusal(f"{name} takes {' '.join(field.comparisons)}")
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    try:
        return _Comparison(field.of, field.comparisons[comparison], field.read(value))
    except (KeyError, ValueError):
        raise _refusal(f"{name} must be {field.kind}") from None


def _refusal(problem: str) -> ApiError:
    return ApiError(
        INVALID_ARGUMENT,
        f"filter: {problem}. Join comparisons of {', '.join(_FIELDS)} by AND, as in "
        'done = true AND metadata.createTime > "2026-01-31T00:00:00Z"',
    )
