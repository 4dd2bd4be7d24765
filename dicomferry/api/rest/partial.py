"""Partial answers: the fields that a caller asks for, by `fields` or X-Goog-FieldMask.

The syntax is that of Google's APIs: `a,b` are two fields, `a/b` and `a.b` a field of a field,
`a(b,c)` two of them, and `*` all fields. In lists, the selection applies to each entry.
"""

import re
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.errors import ApiError

HEADER = "x-goog-fieldmask"
_PARAMETERS = ("fields", "$fields")
_TOKEN = re.compile(r"\s*([^\s/.(),]+|[/.(),])\s*")
_MAX_CHARACTERS = 4096
_MAX_DEPTH = 20
# Their fields are not those of their descriptors.
_FREE = ("google.protobuf.Any", "google.protobuf.Struct")

# The fields that are asked for, each with those of its own; None: all.
Selection = dict[str, Any] | None


def selection_of(query: Iterable[tuple[str, str]], header: str, message: Descriptor) -> Selection:
    """Return what a caller asks for.

    Args:
        query: parameters; they go before the header.
        header: X-Goog-FieldMask, or ''.
        message: the answer.

    Raises:
        ApiError: it cannot be read, or names a field that the answer has not.
    """
    given = [text for key, text in query if key in _PARAMETERS and text.strip()]
    text = ",".join(given) or header
    if not text.strip():
        return None
    return _named(_Parser(text).parse(), message)


def select(value: Any, selection: Selection) -> Any:
    """Return the part of an answer, in proto JSON, that was asked for."""
    if selection is None:
        return value
    if isinstance(value, list):
        return [select(each, selection) for each in value]
    if not isinstance(value, dict):
        return value
    rest = selection.get("*", {})
    return {
        name: select(each, selection.get(name, rest))
        for name, each in value.items()
        if name in selection or "*" in selection
    }


class _Parser:
    """Reads `list = path {"," path}`, `path = name {("/" | ".") name} ["(" list ")"]`."""

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_CHARACTERS:
            raise _refusal(f"it has more than {_MAX_CHARACTERS} characters")
        self._tokens = [*_TOKEN.findall(text), ""]
        self._next = 0

    def parse(self) -> dict[str, Any]:
        selection = self._list(0)
        if self._tokens[self._next]:
            raise _refusal(f"{self._tokens[self._next]!r} closes or follows nothing")
        return selection

    def _list(self, depth: int) -> dict[str, Any]:
        selection: dict[str, Any] = {}
        while True:
            name, inner = self._path(depth)
            earlier = selection.get(name, {})
            selection[name] = None if earlier is None or inner is None else _merged(earlier, inner)
            if self._tokens[self._next] != ",":
                return selection
            self._next += 1

    def _path(self, depth: int) -> tuple[str, Selection]:
        if depth > _MAX_DEPTH:
            raise _refusal(f"it is deeper than {_MAX_DEPTH} fields")
        name = self._tokens[self._next]
        if name in ("", "/", ".", "(", ")", ","):
            raise _refusal("a name is missing")
        self._next += 1
        follows = self._tokens[self._next]
        if follows in ("/", "."):
            self._next += 1
            inner, selection = self._path(depth + 1)
            return name, {inner: selection}
        if follows == "(":
            self._next += 1
            selection = self._list(depth + 1)
            if self._tokens[self._next] != ")":
                raise _refusal("a parenthesis is not closed")
            self._next += 1
            return name, selection
        return name, None


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for name, inner in other.items():
        earlier = merged.get(name, {})
        merged[name] = None if earlier is None or inner is None else _merged(earlier, inner)
    return merged


def _named(selection: dict[str, Any], message: Descriptor) -> dict[str, Any]:
    """Return a selection by the names that JSON has.

    Raises:
        ApiError: there is no such field.
    """
    named: dict[str, Any] = {}
    for name, inner in selection.items():
        if name == "*":
            named[name] = inner
            continue
        field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
        if field is None:
            known = ", ".join(each.json_name for each in message.fields)
            raise _refusal(f"there is no field {name!r}; there are: {known or 'none'}")
        if inner is not None and field.message_type is None:
            raise _refusal(f"{field.json_name} has no fields")
        named[field.json_name] = inner if inner is None or _is_free(field) else _inner(inner, field)
    return named


def _inner(selection: dict[str, Any], field: FieldDescriptor) -> dict[str, Any]:
    return _named(selection, field.message_type)


def _is_free(field: FieldDescriptor) -> bool:
    return bool(field.message_type.full_name in _FREE or field.message_type.GetOptions().map_entry)


def _refusal(problem: str) -> ApiError:
    return ApiError(INVALID_ARGUMENT, f"fields: {problem}. Write fields as in name,a/b,c(d,e)")
