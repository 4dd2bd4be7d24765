"""The parts of a DICOM file that need no pixels, ready to be written (PS3.10 7.1, PS3.5 Annex A).

Elements keep their bytes wherever the encoding allows it.
"""

import struct
import zlib
from collections.abc import Iterator

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.encoding import UNDEFINED_LENGTH
from dicomferry.dicom.reencode import encode_element
from dicomferry.dicom.tags import (
    DOUBLE_FLOAT_PIXEL_DATA,
    FILE_META_GROUP_LENGTH,
    FILE_META_VERSION,
    FLOAT_PIXEL_DATA,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    ITEM,
    MEDIA_STORAGE_SOP_CLASS_UID,
    MEDIA_STORAGE_SOP_INSTANCE_UID,
    PIXEL_DATA,
    SEQUENCE_END,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    TRANSFER_SYNTAX_UID,
)
from dicomferry.dicom.transfer_syntaxes import TransferSyntax

# Of files that come without File Meta Information; others keep theirs.
OUR_IMPLEMENTATION_CLASS_UID = "2.25.226383419583126450914806394105462148571"
_OUR_IMPLEMENTATION_VERSION_NAME = "DICOMFERRY"
DEFLATE_LEVEL = 4
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SEQUENCE_DELIMITER = struct.pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)


def file_head(file: DicomFile, syntax: TransferSyntax, sop_instance_uid: str = "") -> bytes:
    """Return preamble, prefix and File Meta Information.

    Only the Transfer Syntax UID is new, and the SOP Instance UID if one is given.
    """
    preamble = file.preamble or bytes(128)
    if preamble.startswith(_TIFF):
        preamble = bytes(128)  # its offsets point at pixels that are elsewhere now
    meta = {tag: (vr, value) for tag, vr, value in file.meta if tag != FILE_META_GROUP_LENGTH}
    if not meta:
        meta[FILE_META_VERSION] = b"OB", b"\0\1"
        meta[MEDIA_STORAGE_SOP_CLASS_UID] = b"UI", file.value(SOP_CLASS_UID) or b""
        meta[MEDIA_STORAGE_SOP_INSTANCE_UID] = b"UI", file.value(SOP_INSTANCE_UID) or b""
        meta[IMPLEMENTATION_CLASS_UID] = b"UI", _uid(OUR_IMPLEMENTATION_CLASS_UID)
        meta[IMPLEMENTATION_VERSION_NAME] = b"SH", _OUR_IMPLEMENTATION_VERSION_NAME.encode()
    if sop_instance_uid:
        meta[MEDIA_STORAGE_SOP_INSTANCE_UID] = b"UI", _uid(sop_instance_uid)
    meta[TRANSFER_SYNTAX_UID] = b"UI", _uid(syntax.uid)
    group = b"".join(encode_element(tag, *meta[tag], explicit=True) for tag in sorted(meta))
    length = struct.pack("<L", len(group))
    return (
        preamble
        + b"DICM"
        + encode_element(FILE_META_GROUP_LENGTH, b"UL", length, explicit=True)
        + group
    )


def native_element(file: DicomFile, syntax: TransferSyntax, length: int, word: bool) -> bytes:
    """Return tag, VR and length of native pixel data.

    Args:
        file: has pixel data, whose tag is kept.
        syntax: a native one.
        length: of the value, in bytes.
        word: use OW, as samples of more than 8 bits need, else OB.
    """
    assert file.pixels is not None
    group, element = file.pixels.tag >> 16, file.pixels.tag & 0xFFFF
    if not syntax.explicit:
        return struct.pack("<HHL", group, element, length)
    vr = {FLOAT_PIXEL_DATA: b"OF", DOUBLE_FLOAT_PIXEL_DATA: b"OD"}.get(
        file.pixels.tag, b"OW" if word else b"OB"
    )
    return struct.pack("<HH2sHL", group, element, vr, 0, length)


def encapsulated_element(offsets: list[int]) -> bytes:
    """Return the head of encapsulated pixel data with its Basic Offset Table (PS3.5 A.4)."""
    head = struct.pack("<HH2sHL", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, b"OB", 0, UNDEFINED_LENGTH)
    return head + fragment(struct.pack(f"<{len(offsets)}L", *offsets))


def fragment(data: bytes) -> bytes:
    """Return an item that holds `data`, padded to an even length."""
    padded = len(data) + len(data) % 2
    head = struct.pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, padded)
    return head + data + bytes(padded - len(data))


def deflated(data_set: Iterator[bytes]) -> Iterator[bytes]:
    """Deflate a data set (PS3.5 A.5), padded to an even length."""
    deflater = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    length = 0
    for chunk in data_set:
        part = deflater.compress(chunk)
        if part:
            length += len(part)
            yield part
    part = deflater.flush()
    yield part + bytes((length + len(part)) % 2)


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
