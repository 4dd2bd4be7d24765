"""What is wrong with JSON that does not fit a message, in the terms of JSON.

protobuf's parser says it in those of Python, and quotes values.
"""

import re

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseError

_NO_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]{1,200})"')
_ONEOF = re.compile(r'"(\w+)" oneof fields')
_FIELD = re.compile(r"Failed to parse (\w+) field")
_KINDS = {
    FieldDescriptor.CPPTYPE_STRING: "a text",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_INT32: "an integer",
    FieldDescriptor.CPPTYPE_INT64: "an integer",
    FieldDescriptor.CPPTYPE_MESSAGE: "an object",
}


def complaint(error: ParseError, message: Descriptor) -> str:
    """Return what is wrong and what is right.

    Args:
        error: of the parser.
        message: what was to be read.
    """
    text = str(error)
    if found := _NO_FIELD.search(text):
        return f"there is no field {found[2]!r} in {found[1].rpartition('.')[2]}"
    if found := _ONEOF.search(text):
        return f"only one field of the oneof {found[1]} can be given"
    names = _FIELD.findall(text)
    field = _find(message, names[-1], set()) if names else None
    if field is None:
        return f"the JSON is not a {message.name}"
    return f"{field.json_name} must be {kind_of(field)}"


def kind_of(field: FieldDescriptor) -> str:
    """Return what a field's value in JSON is."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "an object whose values are strings"
    if field.enum_type is not None:
        kind = f"one of {', '.join(field.enum_type.values_by_name)}"
    elif field.message_type is not None and field.message_type.full_name in (
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "google.protobuf.FieldMask",
    ):
        kind = f"a {field.message_type.name} as a string"
    else:
        kind = _KINDS.get(field.cpp_type, "a number")
    return f"a list, each entry {kind}" if field.is_repeated else kind


def _find(message: Descriptor, name: str, seen: set[str]) -> FieldDescriptor | None:
    seen.add(message.full_name)
    for field in message.fields:
        if name in (field.json_name, field.name):
            return field
    for field in message.fields:
        inner = field.message_type
        if inner is not None and inner.full_name not in seen:
            found = _find(inner, name, seen)
            if found is not None:
                return found
    return None
