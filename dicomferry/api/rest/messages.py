"""REST requests as messages, and messages as JSON (the proto3 JSON mapping).

Fields can be written in camelCase or snake_case and come out in camelCase, int64 as text,
enums by name. Unknown fields are refused.
"""

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import field_mask_pb2, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.errors import ApiError
from dicomferry.api.field_mask import split_mask
from dicomferry.api.rest.complaints import complaint, kind_of
from dicomferry.api.rest.http_rule import Route
from dicomferry.api.rest.partial import Selection, select
from dicomferry.api.rest.versions import in_version

# Google's system parameters that have no meaning here.
_IGNORED = {"$.xgafv", "key", "quotaUser", "uploadType", "upload_protocol"}
# Those that are read elsewhere: `partial.selection_of`, `token_of`.
_READ_ELSEWHERE = {"fields", "access_token", "oauth_token"}
_MAX_DEPTH = 20

Query = Iterable[tuple[str, str]]


def read_request(route: Route, name: str, query: Query, body: bytes) -> Any:
    """Build the message of a request.

    Args:
        route: of the request.
        name: value of the path's variable; it replaces that of the body.
        query: parameters, decoded.
        body: JSON, or empty.

    Raises:
        ApiError: a field is unknown or of the wrong type.
    """
    request = route.rpc.request_class()
    if route.body:
        target = request if route.body == "*" else getattr(request, route.body)
        target.SetInParent()
        if body.strip():
            _parse(body, target)
    elif body.strip():
        raise ApiError(INVALID_ARGUMENT, f"{route.rpc.name} takes no body")
    seen: set[str] = set()
    for key, value in query:
        if _is_ours(key, value):
            _set_from_query(request, key, value, seen)
    *parents, field = route.variable.split(".")
    holder = request
    for parent in parents:
        holder = getattr(holder, parent)
    setattr(holder, field, name)
    return request


def write_response(message: Any, query: Query, path: str, selection: Selection = None) -> bytes:
    """Return the selected fields of a message as JSON, indented unless prettyPrint=false.

    Args:
        message: the answer.
        query: parameters of the request.
        path: of the request: it begins with the version of the API.
        selection: the fields that were asked for.
    """
    content = in_version(json_format.MessageToDict(message), path)
    return dump(select(content, selection), query)


def token_of(header: str | None, query: Query) -> str | None:
    """Return the Authorization header, or what stands for it in the query, as OAuth 2 allows.

    Raises:
        ApiError: the query has two tokens.
    """
    names = ("access_token", "oauth_token")
    tokens = {text for key, text in query if key.removeprefix("$") in names}
    if header is not None or not tokens:
        return header
    if len(tokens) > 1:
        raise ApiError(INVALID_ARGUMENT, "the query has two tokens: give one")
    return f"Bearer {tokens.pop()}"


def dump(value: Any, query: Query) -> bytes:
    """Return JSON, indented unless prettyPrint=false."""
    compact = any(key in ("prettyPrint", "$prettyPrint") and text == "false" for key, text in query)
    text = json.dumps(value, ensure_ascii=False, indent=None if compact else 2)
    return text.encode() + b"\n"


def _parse(body: bytes, target: Any) -> None:
    try:
        # The mapping allows only an object at the top, which the parser does not check.
        content = json.loads(body.decode(), object_pairs_hook=_object)
        # JSON can escape half of a surrogate pair, which is not valid text in a message.
        json.dumps(content, ensure_ascii=False).encode()
        if not isinstance(content, dict):
            raise ApiError(INVALID_ARGUMENT, "the body must be a JSON object")
        _make_lists(content, target.DESCRIPTOR)
        json_format.ParseDict(content, target, max_recursion_depth=_MAX_DEPTH)
    except json_format.ParseError as error:
        raise ApiError(INVALID_ARGUMENT, complaint(error, target.DESCRIPTOR)) from None
    except (ValueError, RecursionError):
        raise ApiError(INVALID_ARGUMENT, "the body is not JSON in UTF-8") from None


def _make_lists(content: dict[str, Any], message: Descriptor) -> None:
    """Make a list of one of each value that stands where a list belongs, as Google's servers do."""
    for key, value in content.items():
        field = message.fields_by_name.get(key) or message.fields_by_camelcase_name.get(key)
        if field is None or value is None:
            continue
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            continue
        values = value if isinstance(value, list) else [value]
        if field.is_repeated:
            content[key] = values
        if inner is not None:
            for part in values:
                if isinstance(part, dict):
                    _make_lists(part, inner)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ApiError(INVALID_ARGUMENT, "the body has an object with a key twice")
    return fields


def _is_ours(key: str, value: str) -> bool:
    plain = key.removeprefix("$")
    if plain == "alt" and value != "json":
        raise ApiError(INVALID_ARGUMENT, f"alt={value[:50]!r} is not supported: use json")
    ours = {"alt", "prettyPrint", *_IGNORED, *_READ_ELSEWHERE}
    return key not in ours and plain not in ours


def _set_from_query(request: Any, key: str, value: str, seen: set[str]) -> None:
    holder, message = request, request.DESCRIPTOR
    *parents, name = key.split(".")
    for parent in parents:
        field = _field(message, parent, key)
        if field.message_type is None or field.is_repeated:
            raise _unknown(key)
        holder, message = getattr(holder, field.name), field.message_type
    field = _field(message, name, key)
    place = f"{'.'.join(parents)}.{field.name}"
    if place in seen and not field.is_repeated:
        raise ApiError(INVALID_ARGUMENT, f"query parameter {key!r} is given twice")
    seen.add(place)
    if field.message_type is field_mask_pb2.FieldMask.DESCRIPTOR:
        getattr(holder, field.name).paths.extend(split_mask(value))
        return
    if field.message_type is not None:
        raise _unknown(key)
    content: Any = value
    if field.type == FieldDescriptor.TYPE_BOOL:
        content = {"true": True, "false": False}.get(value, value)
    try:
        json_format.ParseDict(
            {field.json_name: [content] if field.is_repeated else content}, holder
        )
    except json_format.ParseError:
        raise ApiError(
            INVALID_ARGUMENT,
            f"query parameter {key!r} cannot be {value[:100]!r}: it must be {kind_of(field)}",
        ) from None


def _field(message: Descriptor, name: str, key: str) -> FieldDescriptor:
    field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
    if field is None:
        raise _unknown(key)
    return field


def _unknown(key: str) -> ApiError:
    return ApiError(INVALID_ARGUMENT, f"there is no query parameter {key!r}")
