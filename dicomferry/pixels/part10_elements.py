"""A DICOM file around other pixels: everything else stays as it is, byte by byte (PS3.10 7.1)."""

import struct
import zlib
from collections.abc import Iterator

from dicomferry.dicom.dicom_file import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, DicomFile
from dicomferry.dicom.raw_elements import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED,
    Encoding,
    scan,
)
from dicomferry.dicom.reencode import Changes, encode_element, join, mend_group_lengths, reencode
from dicomferry.dicom.transfer_syntaxes import TransferSyntax
from dicomferry.pixels.codecs.deflate import LEVEL
from dicomferry.pixels.icon import icon_element, native_icon

# Of files that come without File Meta Information; others keep theirs.
IMPLEMENTATION_CLASS_UID = "2.25.226383419583126450914806394105462148571"
_IMPLEMENTATION_VERSION_NAME = "DICOMFERRY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018


def encoding_of(syntax: TransferSyntax) -> Encoding:
    """Return how the data set of a file in `syntax` is written."""
    return EXPLICIT_LITTLE if syntax.explicit else IMPLICIT_LITTLE


def file_head(file: DicomFile, syntax: TransferSyntax) -> bytes:
    """Return preamble, prefix and File Meta Information; only the Transfer Syntax UID is new."""
    preamble = file.preamble or bytes(128)
    if preamble.startswith(_TIFF):
        preamble = bytes(128)  # its offsets point at pixels that are elsewhere now
    meta = {tag: (vr, value) for tag, vr, value in file.meta if tag != 0x00020000}
    if not meta:
        meta[0x00020001] = b"OB", b"\0\1"
        meta[0x00020002] = b"UI", file.value(_SOP_CLASS_UID) or b""
        meta[0x00020003] = b"UI", file.value(_SOP_INSTANCE_UID) or b""
        meta[0x00020012] = b"UI", _uid(IMPLEMENTATION_CLASS_UID)
        meta[0x00020013] = b"SH", _IMPLEMENTATION_VERSION_NAME.encode()
    meta[0x00020010] = b"UI", _uid(syntax.uid)
    group = b"".join(encode_element(tag, *meta[tag], explicit=True) for tag in sorted(meta))
    length = encode_element(0x00020000, b"UL", struct.pack("<L", len(group)), explicit=True)
    return preamble + b"DICM" + length + group


def attributes(file: DicomFile, syntax: TransferSyntax, changes: Changes) -> bytes:
    """Return the data set up to its pixel data, in the encoding of `syntax`, with `changes`."""
    target = encoding_of(syntax)
    kept = reencode(file.buffer, file.elements, file.encoding, target)
    icon = native_icon(file)
    if icon is not None:
        element = icon_element(icon)
        (native,) = scan(element, 0, len(element), EXPLICIT_LITTLE, frozenset())
        encoded = reencode(element, [native], EXPLICIT_LITTLE, target)
        kept = [encoded[0] if tag == native.tag else (tag, data) for tag, data in kept]
    if changes:
        kept = join(kept, changes, target.explicit)
    groups = frozenset(tag >> 16 for tag in changes) | {0x7FE0}
    mended = mend_group_lengths(kept, target.explicit, groups if target == file.encoding else None)
    return b"".join(data for _, data in mended)


def tail(file: DicomFile, syntax: TransferSyntax, offset: int) -> bytes:
    """Return what follows the pixel data, which ends at `offset`, in the encoding of `syntax`."""
    buffer, elements = file.tail(offset)
    encoded = reencode(buffer, elements, file.encoding, encoding_of(syntax))
    return b"".join(data for _, data in encoded)


def native_element(file: DicomFile, syntax: TransferSyntax, length: int, word: bool) -> bytes:
    """Return tag, VR and length of native pixel data; `word` asks for OW, as 16 bits need."""
    assert file.pixels is not None
    group, element = file.pixels.tag >> 16, file.pixels.tag & 0xFFFF
    if not syntax.explicit:
        return struct.pack("<HHL", group, element, length)
    vr = {FLOAT_PIXEL_DATA: b"OF", DOUBLE_FLOAT_PIXEL_DATA: b"OD"}.get(
        file.pixels.tag, b"OW" if word else b"OB"
    )
    return struct.pack("<HH2sHL", group, element, vr, 0, length)


def encapsulated_element(offsets: list[int]) -> bytes:
    """Return the head of encapsulated pixel data with its Basic Offset Table (PS3.5, A.4)."""
    return struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED) + fragment(
        struct.pack(f"<{len(offsets)}L", *offsets)
    )


def fragment(data: bytes) -> bytes:
    """Return an item that holds `data`, padded to an even length."""
    padded = len(data) + len(data) % 2
    return struct.pack("<HHL", 0xFFFE, 0xE000, padded) + data + bytes(padded - len(data))


SEQUENCE_DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def deflated(data_set: Iterator[bytes]) -> Iterator[bytes]:
    """Deflate a data set (PS3.5, Annex A.5), padded to an even length."""
    deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
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
