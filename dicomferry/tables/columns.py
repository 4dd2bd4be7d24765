"""Columns of elements: name, type and mode by the DICOM data dictionary (PS3.6).

The rules are those of the Cloud Healthcare API's flattened BigQuery schema. Where the service's
documentation is silent, this module decides:

- The type follows the dictionary, not the file, so that it is equal in every export.
- Repeating groups (50xx, 60xx) name their group in Id, such as "6000"; the retired repeating
  elements name their whole tag.
- SV and UV have no column; OtherElements holds their text, like that of private elements and of
  standard tags that the dictionary does not know.
- Bulk data has no column: OB, OD, OF, OL, OV, OW, UN, and VRs that can be OW.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import mask_match

from dicomferry.tables import values
from dicomferry.tables.schema import NULLABLE, REPEATED, Field

OTHER_ELEMENTS = Field(
    "OtherElements", "RECORD", REPEATED, (Field("Tag", "STRING"), Field("Data", "STRING", REPEATED))
)
_COMPONENTS = tuple(
    Field(name, "STRING")
    for name in ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
)
_PERSON_NAME = tuple(
    Field(group, "RECORD", NULLABLE, _COMPONENTS)
    for group in ("Alphabetic", "Ideographic", "Phonetic")
)

_TYPES: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    **dict.fromkeys(
        ("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT", "DS", "IS"),
        ("STRING", values.string_of),
    ),
    "DA": ("DATE", values.date_of),
    "TM": ("TIME", values.time_of),
    "DT": ("TIMESTAMP", values.timestamp_of),
    **dict.fromkeys(("FL", "FD"), ("FLOAT", values.float_of)),
    **dict.fromkeys(("SL", "SS", "UL", "US", "US or SS"), ("INTEGER", values.integer_of)),
    "AT": ("INTEGER", values.tag_of),
    "PN": ("RECORD", values.person_name_of),
}
_BULK_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_TAG_BY_KEYWORD = {
    **{entry[4]: f"{tag:08X}" for tag, entry in DicomDictionary.items()},
    **{entry[4]: mask.replace("x", "0") for mask, entry in RepeatersDictionary.items()},
}
# Columns about the instance rather than its data set; they follow those of elements.
SYSTEM_COLUMNS = (
    "SourceDicomStore",
    "DroppedTags",
    "StorageClass",
    "LastUpdated",
    "BlobStorageSize",
    "Type",
)


class Kind(enum.Enum):
    """The form that an element takes in a row."""

    VALUE = 1
    """A column of its own."""
    SEQUENCE = 2
    """A repeated record of its own."""
    REPEATING = 3
    """An entry {Id, Value} in the column that all its groups share."""
    OTHER = 4
    """Text in OtherElements."""
    NONE = 5
    """No form: bulk data, group lengths, delimiters."""


class Column(NamedTuple):
    """The place of an element in a row.

    Attributes:
        kind: the form that the element takes.
        name: of the column, or of the tag in OtherElements.
        field: the column; of a sequence without its fields; None for OTHER and NONE.
        repeated: whether the column, or Value of a repeating group, takes several values.
        convert: returns the column's value for (value, zone), or `values.UNFIT`.
        group: Id of a repeating group.
        takes_empty: whether an array of the column can hold an empty value.
        expected: False if the dictionary does not allow the element's VR in this column.
    """

    kind: Kind
    name: str
    field: Field | None = None
    repeated: bool = False
    convert: Callable[[Any, str], Any] = values.string_of
    group: str = ""
    takes_empty: bool = False
    expected: bool = True


def column_of(tag: str, vr: str) -> Column:
    """Return the place of an element in a row.

    Args:
        tag: eight hexadecimal digits.
        vr: of the element.
    """
    if tag.endswith("0000"):  # group lengths (DICOM PS3.5, Section 7.2) are not data
        return Column(Kind.NONE, tag)
    entry, group = _entry(tag)
    dictionary_vr, _, keyword = entry
    if vr == "SQ":
        expected = dictionary_vr in ("", "SQ")
        name = keyword if dictionary_vr == "SQ" and not group else f"Tag_{tag}"
        return Column(Kind.SEQUENCE, name, Field(name, "RECORD", REPEATED), True, expected=expected)
    if dictionary_vr in _TYPES:
        return _value_column(tag, vr, entry, group)
    expected = dictionary_vr != "SQ"
    bulk = vr in _BULK_VRS or "O" in dictionary_vr
    if bulk and expected:
        return Column(Kind.NONE, f"Tag_{tag}")
    return Column(Kind.OTHER, f"Tag_{tag}", expected=expected)


def order_of(name: str, top_level: bool) -> tuple[int, Any]:
    """Return the sort key of a column: its tag; OtherElements is last.

    At the top level, sequences that are named by their tag follow all others, and the columns
    about the instance itself are at the end.
    """
    if name == OTHER_ELEMENTS.name:
        return 2, ""
    if name.startswith("Tag_"):
        return (1 if top_level else 0), name[4:]
    if top_level and name in SYSTEM_COLUMNS:
        return 3, SYSTEM_COLUMNS.index(name)
    return 0, _TAG_BY_KEYWORD[name]


def _entry(tag: str) -> tuple[tuple[str, str, str], str]:
    """Return ((VR, VM, keyword) by the dictionary, Id of the repeating group)."""
    number = int(tag, 16)
    if number >> 16 & 1:  # private
        return ("", "", ""), ""
    known = DicomDictionary.get(number)
    if known is not None:
        return (known[0] if known[4] else "", known[1], known[4]), ""
    mask = mask_match(number)
    if mask is None:
        return ("", "", ""), ""
    repeater = RepeatersDictionary[mask]
    return (repeater[0], repeater[1], repeater[4]), tag if mask[:4].isdigit() else tag[:4]


def _value_column(tag: str, vr: str, entry: tuple[str, str, str], group: str) -> Column:
    dictionary_vr, multiplicity, keyword = entry
    type_, convert = _TYPES[dictionary_vr]
    if convert is values.tag_of and vr != "AT":
        convert = values.integer_of
    repeated = multiplicity != "1"
    mode = REPEATED if repeated else NULLABLE
    fields = _PERSON_NAME if type_ == "RECORD" else ()
    takes_empty = type_ in ("STRING", "RECORD")
    if not group:
        field = Field(keyword, type_, mode, fields)
        return Column(Kind.VALUE, keyword, field, repeated, convert, "", takes_empty)
    value = Field("Value", type_, mode, fields)
    field = Field(keyword, "RECORD", REPEATED, (Field("Id", "STRING"), value))
    return Column(Kind.REPEATING, keyword, field, repeated, convert, group, takes_empty)
