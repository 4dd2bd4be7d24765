"""Updates by field mask: only the fields that the mask names change.

The rules of google.protobuf.FieldMask for updates, as Google's services apply them: a
named field takes its whole new value, or is cleared if the new resource has no value. A path
can lead into a message or to one entry of a map, but not into a list.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.errors import ApiError

_SET_BY_SERVER = {
    field_behavior_pb2.OUTPUT_ONLY,
    field_behavior_pb2.IDENTIFIER,
    field_behavior_pb2.IMMUTABLE,
}


class _Path(NamedTuple):
    """Target of a path: fields from the outside in, and the key if the last is a map."""

    fields: tuple[Any, ...]
    key: str | None


def split_mask(text: str) -> list[str]:
    """Split a mask of a query parameter: paths are separated by commas."""
    return [path.strip() for path in text.split(",") if path.strip()]


def apply_mask(paths: Sequence[str], source: Any, target: Any) -> None:
    """Copy the fields that the paths name from `source` to `target`.

    Args:
        paths: snake_case or camelCase; labels.key or labels.`key` is one entry of a map.
        source: message with new values.
        target: message of the same type, changed in place; unchanged if a path is wrong.

    Raises:
        ApiError: there is no path, or one names an unknown field or one that the server sets.
    """
    if not paths:
        raise ApiError(
            INVALID_ARGUMENT,
            f"update_mask is required: it names the fields to change, among "
            f"{_choices(source.DESCRIPTOR)}",
        )
    for path in [_resolve(path, source.DESCRIPTOR) for path in paths]:
        _apply(path, source, target)


def is_named(paths: Sequence[str], field: str, descriptor: Descriptor) -> bool:
    """Whether a path of a correct mask names a field or something in it."""
    return any(_resolve(path, descriptor).fields[0].name == field for path in paths)


def _resolve(path: str, descriptor: Descriptor) -> _Path:
    fields: list[Any] = []
    rest, message = path, descriptor
    while True:
        name, dot, rest = rest.partition(".")
        field = message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)
        if field is None:
            raise _refusal(path, f"there is no field {name!r}; choose one of {_choices(message)}")
        if _is_set_by_server(field):
            raise _refusal(path, f"{field.name} is set by the server")
        fields.append(field)
        if not dot:
            return _Path(tuple(fields), None)
        if _is_map(field):
            key = rest[1:-1] if len(rest) > 1 and rest[0] == rest[-1] == "`" else rest
            if not key:
                raise _refusal(path, f"name the key after {field.name}, or {field.name} alone")
            return _Path(tuple(fields), key)
        if field.is_repeated:
            raise _refusal(path, f"{field.name} is a list and can only be replaced whole")
        if field.message_type is None:
            raise _refusal(path, f"{field.name} has no fields")
        message = field.message_type


def _apply(path: _Path, source: Any, target: Any) -> None:
    *parents, field = path.fields
    for parent in parents:
        if not source.HasField(parent.name) and not target.HasField(parent.name):
            return  # nothing to copy or to clear
        source, target = getattr(source, parent.name), getattr(target, parent.name)
    if path.key is not None:
        given, kept = getattr(source, field.name), getattr(target, field.name)
        if path.key in given:
            kept[path.key] = given[path.key]
        else:
            kept.pop(path.key, None)
        return
    target.ClearField(field.name)
    if field.is_repeated:
        getattr(target, field.name).MergeFrom(getattr(source, field.name))
    elif field.message_type is None:
        setattr(target, field.name, getattr(source, field.name))
    elif source.HasField(field.name):
        getattr(target, field.name).CopyFrom(getattr(source, field.name))


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _is_set_by_server(field: FieldDescriptor) -> bool:
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return not _SET_BY_SERVER.isdisjoint(behaviors)


def _choices(message: Descriptor) -> str:
    return ", ".join(field.name for field in message.fields if not _is_set_by_server(field))


def _refusal(path: str, problem: str) -> ApiError:
    return ApiError(INVALID_ARGUMENT, f"update_mask path {path!r}: {problem}")
