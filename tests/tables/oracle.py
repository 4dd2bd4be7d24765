"""A second opinion on flattened rows: from the data sets that pydicom reads, by the same rules.

It shares nothing with the product but the rules: pydicom decides values and character sets, its
DA, TM and DT what fits, its dictionary names, VRs and multiplicities. Slow and plain on purpose.
"""

import datetime
import io
import math
import warnings

import pydicom
from pydicom import config
from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_keyword,
    dictionary_VM,
    dictionary_VR,
    repeater_has_tag,
)
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import DA, DT, TM, PersonName

TEXT = ("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT", "DS", "IS")
TYPES = {
    **dict.fromkeys(TEXT, "STRING"),
    **{"DA": "DATE", "TM": "TIME", "DT": "TIMESTAMP", "FL": "FLOAT", "FD": "FLOAT"},
    **dict.fromkeys(("AT", "SL", "SS", "UL", "US", "US or SS"), "INTEGER"),
    "PN": "RECORD",
}
BULK = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
NAME_FIELDS = [
    (group, "RECORD", "NULLABLE", [(part, "STRING", "NULLABLE", []) for part in COMPONENTS])
    for group in GROUPS
]
OTHER_FIELDS = [("Tag", "STRING", "NULLABLE", []), ("Data", "STRING", "REPEATED", [])]


class UnfitError(Exception):
    """The value has no place in its column."""


def expected(data):
    """(row, columns) of a file: a column is (name, type, mode, fields)."""
    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            zone = str(dataset.get("TimezoneOffsetFromUTC") or "")
            holders = dict.fromkeys(dataset.keys(), dataset)
            holders.update(dict.fromkeys(dataset.file_meta.keys(), dataset.file_meta))
            return level(holders, zone, top=True)
    finally:
        config.settings.reading_validation_mode = before


def level(holders, zone, top):
    """(row, columns) of a data set or item; `holders` are the data sets of its tags."""
    row, columns, other = {}, {}, []
    for tag in sorted(holders):
        if tag.element == 0:
            continue
        vr, value = value_of(holders[tag], tag)
        known, keyword, several, group = described(tag)
        name = keyword or f"Tag_{tag:08X}"
        if vr == "SQ":
            if known != "SQ":
                name = f"Tag_{tag:08X}"
            items = [level(dict.fromkeys(item.keys(), item), zone, False) for item in value]
            fields = union([fields for _, fields in items])
            if fields:
                row[name] = [item for item, _ in items]
                at_end = top and known != "SQ"
                place = (int(at_end), tag.group, tag.element)
                columns[name] = (place, name, "RECORD", "REPEATED", fields)
            continue
        if known not in TYPES:
            if not (known and "O" in known) and vr not in BULK:
                other.append(kept(tag, vr, value))
            continue
        type_, mode = TYPES[known], "REPEATED" if several else "NULLABLE"
        fields = NAME_FIELDS if type_ == "RECORD" else []
        try:
            converted = convert(known, vr, several, value, zone)
        except UnfitError:
            converted = [] if several else None
            other.append(kept(tag, vr, value))
        if group:
            row.setdefault(name, []).append({"Id": group, "Value": converted})
            fields = [("Id", "STRING", "NULLABLE", []), ("Value", type_, mode, fields)]
            place = tag.group & 0xFF00, tag.element
            columns[name] = ((0, *place), name, "RECORD", "REPEATED", fields)
        else:
            row[name] = converted
            columns[name] = ((0, tag.group, tag.element), name, type_, mode, fields)
    if other:
        row["OtherElements"] = other
        columns["OtherElements"] = ((2, 0, 0), "OtherElements", "RECORD", "REPEATED", OTHER_FIELDS)
    return row, [column[1:] for column in sorted(columns.values(), key=lambda column: column[0])]


def union(levels):
    """The columns of all items: in tag order again."""
    found = {}
    for fields in levels:
        for name, type_, mode, inner in fields:
            before = found.get(name)
            both = union([before[3], inner]) if before and inner else inner
            found[name] = (name, type_, mode, both)
    return sorted(found.values(), key=lambda field: inner_place(field[0]))


def inner_place(name):
    fixed = ["Id", "Value", "Tag", "Data", *GROUPS, *COMPONENTS]
    if name in fixed:
        return 0, fixed.index(name)
    if name == "OtherElements":
        return 2, 0
    if name.startswith("Tag_"):
        return 1, int(name[4:], 16)
    return 1, place_of(name)


def place_of(keyword):
    tag = pydicom.datadict.tag_for_keyword(keyword)
    if tag is not None:
        return tag
    for mask, entry in pydicom.datadict.RepeatersDictionary.items():
        if entry[4] == keyword:
            return int(mask.replace("x", "0"), 16)
    raise KeyError(keyword)


def described(tag):
    """VR by the dictionary ('' if unknown), keyword, whether several values, Id of the group."""
    if tag.is_private or not (dictionary_has_tag(tag) or repeater_has_tag(tag)):
        return "", "", False, ""
    keyword = dictionary_keyword(tag)
    if not keyword:
        return "", "", False, ""
    group = ""
    if not dictionary_has_tag(tag):
        whole = tag.group & 0xFF00 not in (0x5000, 0x6000)
        group = f"{tag:08X}" if whole else f"{tag.group:04X}"
    return dictionary_VR(tag), keyword, dictionary_VM(tag) != "1", group


def value_of(holder, tag):
    """(VR, value); the raw text where pydicom finds that the value does not fit its VR."""
    raw = holder.get_item(tag)
    try:
        element = holder[tag]
    except (ValueError, TypeError, OverflowError, NotImplementedError, ArithmeticError):
        vr = raw.VR if raw.VR not in (None, "UN") else dictionary_VR(tag)
        text = (raw.value or b"").decode("latin-1")
        if vr not in TEXT:
            return vr, text  # not a number of bytes that its VR has
        return vr, [part.strip(" \0") for part in text.strip(" \0").split("\\")]
    value = element.value
    if element.VR in ("AE", "CS"):  # spaces around each value mean nothing (PS3.5 6.2)
        value = [str(each).strip(" ") for each in several_of(value)] if element.VM else value
    return element.VR, [] if element.VM == 0 and element.VR != "SQ" else value


def several_of(value):
    return list(value) if isinstance(value, list | MultiValue | tuple) else [value]


def convert(known, vr, several, value, zone):
    values = several_of(value)
    if isinstance(value, bytes):
        raise UnfitError
    if not several:
        if len(values) > 1:
            raise UnfitError
        if not values or values[0] in ("", None):
            return None
        return one(known, vr, values[0], zone)
    if TYPES[known] not in ("STRING", "RECORD") and any(each in ("", None) for each in values):
        raise UnfitError
    return [one(known, vr, each, zone) for each in values]


def one(known, vr, value, zone):
    type_ = TYPES[known]
    if type_ == "STRING":
        return text(value)
    if type_ == "RECORD":
        if not isinstance(value, PersonName | str) or (vr != "PN"):
            raise UnfitError
        return name(PersonName(value))
    if type_ == "INTEGER":
        if known == "AT" and vr == "AT":
            return int(value)
        if not isinstance(value, int) or vr in ("IS", "AT"):
            raise UnfitError
        return value
    if type_ == "FLOAT":
        if vr not in ("FL", "FD", "SL", "SS", "UL", "US", "SV", "UV"):
            raise UnfitError
        number = float(value)
        special = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        return number if math.isfinite(number) else special[repr(number)]
    return moment(type_, str(value).strip(), zone)


def moment(type_, value, zone):
    try:
        if type_ == "DATE":
            parsed = DA(value)
            return parsed.isoformat()
        if type_ == "TIME":
            if value.replace(":", "")[4:6] == "60":
                raise UnfitError
            return TM(value.replace(":", "") if value[2:3] == ":" else value).isoformat()
        if value[12:14] == "60":
            raise UnfitError
        parsed = DT(value)
    except (ValueError, TypeError, AttributeError):
        raise UnfitError from None
    instant = parsed.replace()
    if parsed.tzinfo is None:
        sign = -1 if zone.startswith("-") else 1
        offset = datetime.timedelta(hours=int(zone[1:3] or 0), minutes=int(zone[3:5] or 0)) * sign
        instant = parsed.replace(tzinfo=datetime.timezone(offset))
    return instant.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() + "Z"


def text(value):
    original = getattr(value, "original_string", None)
    if original is not None:
        return original.strip()
    if isinstance(value, PersonName):
        return "=".join(value.components).rstrip("=")
    return str(value)


def name(person):
    row = {}
    for group, written in zip(GROUPS, person.components, strict=False):
        parts = written.split("^")
        if len(parts) > len(COMPONENTS):
            raise UnfitError
        row[group] = {key: part for key, part in zip(COMPONENTS, parts, strict=False) if part}
    return row


def kept(tag, vr, value):
    if isinstance(value, bytes):
        return {"Tag": f"Tag_{tag:08X}", "Data": []}
    values = several_of(value)
    if vr == "AT":
        values = [each if isinstance(each, str) else f"{Tag(each):08X}" for each in values]
    return {"Tag": f"Tag_{tag:08X}", "Data": list(map(text, values))}
