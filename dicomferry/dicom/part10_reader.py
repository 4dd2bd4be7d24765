"""Where the data set of a file starts, and how it is encoded (PS3.10 Section 7, PS3.5 Annex A).

Files of old archives lack the preamble, the File Meta Information or parts of it; the data set
tells its encoding by its first element then.
"""

from collections.abc import Callable
from struct import Struct
from typing import Generic, NamedTuple, TypeVar

from pydicom._uid_dict import UID_dictionary

from dicomferry.dicom.byte_window import ByteWindow
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.elements import Element
from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    DataSetEncoding,
)
from dicomferry.dicom.odd_headers import LOOK_AHEAD, header_without_vr, is_implicit
from dicomferry.dicom.tags import (
    FILE_META_GROUP_LENGTH,
    MEDIA_STORAGE_SOP_CLASS_UID,
    TRANSFER_SYNTAX_UID,
)
from dicomferry.dicom.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    SYNTAXES,
)
from dicomferry.dicom.uids import parse_class_uid
from dicomferry.dicom.vr import (
    BY_REFERENCE,
    KNOWN_VRS,
    LONG_FORM,
    SHORT_FORM,
    looks_like_vr,
)
from dicomferry.errors import InstanceError, Reason

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

_NATIVE = {
    IMPLICIT_LITTLE: IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_LITTLE: EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_BIG: EXPLICIT_VR_BIG_ENDIAN,
}
_UL_LENGTH = b"\4\0\0\0"  # of (0000,0000) in implicit VR
_TAG = {order: Struct(f"{order}HH").unpack_from for order in "<>"}
_HEADER = Struct("<HH2sH").unpack_from
_LONG_LENGTH = Struct("<L").unpack_from
_FILE_META_GROUP = 0x0002
# An instance starts in group 0008, or with (0000,eeee) or (0002,eeee); (0004,eeee) is a DICOMDIR.
_FIRST_GROUPS = (0x0000, 0x0002, 0x0004, 0x0008)
_MAX_FIRST_VALUE_BYTES = 4096

W = TypeVar("W", bound=ByteWindow)


class DataSetStart(NamedTuple, Generic[W]):
    """A file, open at its data set.

    Attributes:
        preamble: 128 bytes, empty where the file has none.
        window: the bytes that hold the data set.
        offset: of the first element in `window`.
        encoding: of the data set.
        transfer_syntax_uid: as the file says; else of the native encoding found.
        file_meta: the elements of group 0002.
    """

    preamble: bytes
    window: W
    offset: int
    encoding: DataSetEncoding
    transfer_syntax_uid: str
    file_meta: list[Element]


def open_data_set(window: W, inflate: Callable[[int], W]) -> DataSetStart[W]:
    """Find the data set of a file.

    Args:
        window: on the file.
        inflate: returns the window on the deflated data set that starts at an offset of the file.

    Raises:
        InstanceError: EMPTY_FILE, GZIPPED, ZIPPED, NOT_DICOM, DICOMDIR, or a reason for which the
            File Meta Information cannot be read.
    """
    if window.size == 0:
        raise InstanceError(Reason.EMPTY_FILE)
    window.load(0, 144)
    head = window.data[: min(window.limit, 144)]
    if head[128:132] == b"DICM":
        preamble, offset = head[:128], 132
    else:
        preamble, offset = b"", 0
        _refuse_other_files(head, window.size)
    file_meta, offset = _read_file_meta(window, offset)
    values = {tag: value for tag, _, _, _, value in file_meta}
    if file_meta and (len(values) < len(file_meta) or file_meta[0][0] != FILE_META_GROUP_LENGTH):
        file_meta = _first_group(file_meta)
        values = {tag: value for tag, _, _, _, value in file_meta}
    if parse_class_uid(values.get(MEDIA_STORAGE_SOP_CLASS_UID, b"")) == MEDIA_STORAGE_DIRECTORY:
        raise InstanceError(Reason.DICOMDIR)
    syntax = parse_class_uid(values.get(TRANSFER_SYNTAX_UID, b""))
    if syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        window, offset = inflate(offset), 0
    offset = _first_element(window, offset)
    at = offset - window.base
    first = window.data[at : at + 8]
    if not syntax or UID_dictionary.get(syntax, _PRIVATE)[1] != "Transfer Syntax":
        encoding = _guess(first)
        syntax = _NATIVE[encoding]
    else:
        known = SYNTAXES.get(syntax)
        encoding = known.encoding if known else EXPLICIT_LITTLE
        if encoding.implicit:
            encoding = EXPLICIT_LITTLE if first[4:6] in KNOWN_VRS else encoding
        elif not looks_like_vr(first[4:6]) and _is_implicit(window, offset, encoding.order):
            encoding = DataSetEncoding(True, encoding.order)
    return DataSetStart(preamble, window, offset, encoding, syntax, file_meta)


_PRIVATE = ("", "Transfer Syntax")


def _refuse_other_files(head: bytes, size: int) -> None:
    """Raise if a file without 'DICM' at byte 128 does not start with a data set either."""
    if head.startswith(b"\x1f\x8b"):
        raise InstanceError(Reason.GZIPPED)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise InstanceError(Reason.ZIPPED)
    if len(head) < 8:
        raise InstanceError(Reason.NOT_DICOM)
    code = head[4:6]
    vr = SHORT_FORM.get(code) or LONG_FORM.get(code)
    for order in "<>" if vr else "<":
        group, number = _TAG[order](head)
        known = STANDARD_VR.get(group << 16 | number, "UL" if number == 0 else "")
        if group not in _FIRST_GROUPS or not known:
            continue
        if vr and vr in (known, "UN"):
            return
        (length,) = _LONG_LENGTH(head, 4)
        fits = length == 4 if known == "UL" else 8 + length <= size
        if not vr and fits and length <= _MAX_FIRST_VALUE_BYTES:
            return
    raise InstanceError(Reason.NOT_DICOM)


def _read_file_meta(window: ByteWindow, offset: int) -> tuple[list[Element], int]:
    """Return the elements of group 0002 (PS3.10 7.1) and the offset after them.

    Their end is where the group ends: (0002,0000) File Meta Information Group Length is too often
    wrong. They are in explicit VR; implicit ones, a mistake, are read as well.
    """
    elements: list[Element] = []
    base = limit = 0
    while True:
        at = offset - base
        if at + 12 > limit:
            window.load(offset, 12)
            data, base, limit = window.data, window.base, window.limit
            at = offset - base
            if at + 8 > limit:
                return elements, offset
        group, number, code, length = _HEADER(data, at)
        if group != _FILE_META_GROUP:
            return elements, offset
        tag = group << 16 | number
        vr = SHORT_FORM.get(code)
        start = at + 8
        position = start + base
        if vr is None:
            vr, position, length = _other_meta_header(window, offset)
            data, base, limit = window.data, window.base, window.limit
            start = position - base
        offset = position + length
        if length == UNDEFINED_LENGTH:
            raise InstanceError(Reason.MALFORMED)
        if offset > window.size:
            raise InstanceError(Reason.TRUNCATED)
        if vr in BY_REFERENCE or vr == "SQ":
            elements.append((tag, "UN" if vr == "SQ" else vr, position, length, b""))
        elif start + length <= limit:
            elements.append((tag, vr, position, length, data[start : start + length]))
        else:
            elements.append((tag, vr, position, length, window.require(position, length)))
            base = limit = 0


def _other_meta_header(window: ByteWindow, offset: int) -> tuple[str, int, int]:
    """Return VR, offset and length of a value whose VR has not the short form, or is none."""
    window.load(offset, 12)
    at = offset - window.base
    group, number, code, _ = _HEADER(window.data, at)
    if code in LONG_FORM:
        if at + 12 > window.limit:
            raise InstanceError(Reason.TRUNCATED)
        return LONG_FORM[code], offset + 12, _LONG_LENGTH(window.data, at + 8)[0]
    window.load(offset, LOOK_AHEAD)  # only now: it is a request more for most files
    data, base, limit = window.data, window.base, window.limit
    at, end = offset - base, window.size - base
    vr = STANDARD_VR.get(group << 16 | number, "UN")
    if is_implicit(data, at, limit, end, "<"):
        return vr, offset + 8, _LONG_LENGTH(data, at + 4)[0]
    start, length = header_without_vr(data, at, limit, end, "<")
    return vr, base + start, length


def _first_group(elements: list[Element]) -> list[Element]:
    """Return the first of several groups 0002 that a gateway wrote one after the other.

    If it has no Transfer Syntax UID, that of the next one is the best that is known.
    """
    seen: dict[int, Element] = {}
    for at, each in enumerate(elements):
        if each[0] in seen or (at and each[0] == FILE_META_GROUP_LENGTH):
            syntax = [one for one in elements[at:] if one[0] == TRANSFER_SYNTAX_UID]
            return elements[:at] + ([] if TRANSFER_SYNTAX_UID in seen else syntax[:1])
        seen[each[0]] = each
    return elements


def _first_element(window: ByteWindow, offset: int) -> int:
    """Return the offset of the first element, after zeros that may be before it.

    Raises:
        InstanceError: TRUNCATED, or as the window raises.
    """
    window.load(offset, 8)
    at = offset - window.base
    first = window.data[at : min(at + 8, window.limit)]
    if len(first) < 8:
        raise InstanceError(Reason.TRUNCATED)
    if any(first[:4]) or first[4:6] in KNOWN_VRS or first[4:] == _UL_LENGTH:
        return offset
    window.load(offset, LOOK_AHEAD)
    at = offset - window.base
    rest = window.data[at : window.limit]
    zeros = (len(rest) - len(rest.lstrip(b"\0"))) // 2 * 2
    return offset + zeros if zeros + 8 <= len(rest) else offset


def _is_implicit(window: ByteWindow, offset: int, order: str) -> bool:
    """Tell whether a data set that should be explicit is in implicit VR; only if it looks odd."""
    window.load(offset, LOOK_AHEAD)
    at, end = offset - window.base, window.size - window.base
    return is_implicit(window.data, at, min(window.limit, end), end, order)


def _guess(first: bytes) -> DataSetEncoding:
    """Return the encoding that the first element tells."""
    if first[4:6] not in KNOWN_VRS:
        return IMPLICIT_LITTLE
    # Read in the wrong order the groups at the start of a data set are at least 0100.
    return EXPLICIT_LITTLE if _TAG["<"](first)[0] < 0x0100 else EXPLICIT_BIG
