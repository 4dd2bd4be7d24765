"""pydicom as the judge of Metadata: what its own encoder makes of a file, made comparable.

The differences that `dicomferry.dicom.json_model` names are taken away, and nothing else: binary
values are compared byte by byte, so the references are resolved.
"""

import base64
import json
import warnings
from collections.abc import Iterable, Iterator
from io import BytesIO
from math import isfinite
from typing import Any
from urllib.parse import parse_qs

from pydicom import DataElement, Dataset, dcmread
from pydicom.dataelem import RawDataElement

Json = dict[str, Any]
PADDING = " \0"
WHITE = PADDING + "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0"
UNSPACED = {"AE", "UI", "UR"}
PADDED_BEFORE = {"AE", "AS", "CS", "DA", "DT", "TM", "UI"}
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
UNFIT = "pydicom refuses the value"
PIXEL_DATA = ("7FE00008", "7FE00009", "7FE00010")


def expected_metadata(file: bytes) -> Json:
    """Return the Metadata of a file, pixel data aside, by pydicom."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        instance = dcmread(BytesIO(file), stop_before_pixels=True, force=True)
        return {**_data_set(instance.file_meta), **_data_set(instance)}


def _data_set(data_set: Dataset) -> Json:
    return {f"{tag:08X}": _element(data_set, tag) for tag in list(data_set.keys())}


def _element(data_set: Dataset, tag: int) -> Any:
    raw = data_set.get_item(tag)
    try:
        element = data_set[tag]
        if element.VR == "SQ":
            items = [_data_set(item) for item in element.value]
            return {"vr": "SQ", "Value": items}
        written = element.to_json_dict(None, 0)
    except Exception:  # pydicom raises what comes up
        return UNFIT
    if element.VR == "AT" and isinstance(raw, RawDataElement) and raw.length % 4:
        return UNFIT  # pydicom drops the odd bytes
    if element.VR in ("DS", "IS"):
        return _numbers_as_text(element)
    if "Value" in written:
        values = [_value(element.VR, value) for value in written["Value"]]
        written["Value"] = values
        if values == [None]:
            del written["Value"]
    return _choice_made(written)


def _numbers_as_text(element: DataElement) -> Json:
    values = element.value if element.VM > 1 else [element.value]
    texts = [str(getattr(value, "original_string", value) or "") for value in values or [""]]
    texts = [text.strip(WHITE) for text in texts]
    if not any(texts) and len(texts) == 1:
        return {"vr": element.VR}
    return {"vr": element.VR, "Value": [text or None for text in texts]}


def _value(vr: str, value: Any) -> Any:
    """Return a value without what has no meaning (PS3.5 Table 6.2-1): pydicom keeps some of it."""
    if isinstance(value, str):
        padding = WHITE if vr in UNSPACED else PADDING
        value = value.strip(padding) if vr in PADDED_BEFORE else value.rstrip(padding)
        return value or None
    if isinstance(value, float) and not isfinite(value):
        return {"nan": "NaN"}.get(str(value), str(value))
    if vr == "PN":  # PS3.18 F.2.2: no empty groups
        groups = [value.get(key, "") for key in GROUPS]
        groups = "=".join(groups).rstrip(PADDING + "=").split("=")
        named = zip(GROUPS, groups, strict=False)
        return {key: text for key, text in named if text.strip(PADDING)} or None
    return value


def _choice_made(written: Json) -> Json:
    if " or " in written["vr"]:
        written["vr"] = "OW"
    return written


def resolved_metadata(metadata: bytes, file: bytes, data_set: bytes | None = None) -> Json:
    """Return our Metadata, pixel data aside, with each binary value in line.

    Args:
        metadata: as `Header` has it.
        file: the file.
        data_set: what references are counted in outside group 0002, if that is not the file.
    """
    members = json.loads(metadata)
    return {
        tag: _resolve(member, file if tag < "0003" or data_set is None else data_set)
        for tag, member in members.items()
        if tag not in PIXEL_DATA
    }


def _resolve(member: Json, data: bytes) -> Json:
    if member["vr"] == "SQ":
        items = [
            {tag: _resolve(inner, data) for tag, inner in item.items()} for item in member["Value"]
        ]
        return {"vr": "SQ", "Value": items}
    if "BulkDataURI" in member:
        value = referenced(member["BulkDataURI"], data)
        return {"vr": member["vr"], "InlineBinary": base64.b64encode(value).decode()}
    return member


def referenced(uri: str, data: bytes) -> bytes:
    """Return the bytes that a BulkDataURI of ours points at, up to the end if it has no length."""
    query = {key: int(values[0]) for key, values in parse_qs(uri.lstrip("?")).items()}
    offset = query["offset"]
    if "length" not in query:
        return data[offset : _end_of_fragments(data, offset)]
    assert offset + query["length"] <= len(data)
    return data[offset : offset + query["length"]]


def _end_of_fragments(data: bytes, offset: int) -> int:
    """Return where the Sequence Delimitation Item of little endian fragments starts."""
    while data[offset : offset + 4] == b"\xfe\xff\x00\xe0":
        offset += 8 + int.from_bytes(data[offset + 4 : offset + 8], "little")
    assert data[offset : offset + 8] == b"\xfe\xff\xdd\xe0" + bytes(4)
    return offset


def differences(ours: Json, theirs: Json, path: str = "") -> Iterator[str]:
    """Yield what differs, place by place."""
    for tag in sorted(ours.keys() | theirs.keys()):
        place = f"{path}/{tag}"
        if tag not in ours or tag not in theirs:
            yield f"{place} is only {'ours' if tag in ours else 'theirs'}"
        elif theirs[tag] == UNFIT:
            yield from _unfit_differences(ours[tag], place)
        elif ours[tag]["vr"] == theirs[tag]["vr"] == "SQ":
            pairs = list(zip(ours[tag]["Value"], theirs[tag]["Value"], strict=False))
            if not len(pairs) == len(ours[tag]["Value"]) == len(theirs[tag]["Value"]):
                yield f"{place} has another number of items"
            for number, (mine, other) in enumerate(pairs):
                yield from differences(mine, other, f"{place}[{number}]")
        elif json.dumps(ours[tag]) != json.dumps(theirs[tag]):
            yield f"{place} {ours[tag]} != {theirs[tag]}"


def _unfit_differences(ours: Json, place: str) -> Iterable[str]:
    """Yield the place unless a value that pydicom refuses is kept as text."""
    if not all(value is None or isinstance(value, str | dict) for value in ours.get("Value", [])):
        yield f"{place} {ours} is no text"
