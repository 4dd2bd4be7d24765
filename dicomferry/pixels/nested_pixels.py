"""Pixel data within sequences, as in icons (PS3.3 F.7), which may be compressed as the instance is.

In another transfer syntax it would be unreadable, at whatever depth. So it becomes native, which
every transfer syntax allows within a sequence (PS3.5, Annex A.4).
"""

import struct

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.encoding import EXPLICIT_LITTLE, DataSetEncoding
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.dicom.raw_elements import Item, RawElement, list_elements, read_items
from dicomferry.dicom.reencode import Changes, join, mend_group_lengths, reencode
from dicomferry.dicom.tags import ITEM, PIXEL_DATA
from dicomferry.pixels.attributes import pixel_changes
from dicomferry.pixels.decode import Decoding
from dicomferry.pixels.image_pixel import read_image
from dicomferry.pixels.samples import pack

_ENCODED_TAG = struct.pack("<HH", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF)


def reencode_readable(
    data_set: DicomFile, target: DataSetEncoding, signed: bool = False
) -> list[tuple[int, bytes]]:
    """Return the elements of a data set in another encoding, as `reencode` does.

    Encapsulated pixel data within its sequences becomes native.

    Args:
        data_set: the data set, or the part of it that follows its pixel data.
        target: how to encode it.
        signed: the Pixel Representation, if it is in another part.

    Raises:
        InstanceError: also if such pixel data cannot be decoded.
    """
    encoded = reencode(data_set.buffer, data_set.elements, data_set.encoding, target, signed)
    changes = _native_sequences(data_set, 1)
    if not changes:
        return encoded
    native = b"".join(data for _, data in join([], changes, explicit=True))
    listed = list_elements(native, EXPLICIT_LITTLE)
    replaced = dict(reencode(native, listed, EXPLICIT_LITTLE, target))
    return [(tag, replaced.get(tag, data)) for tag, data in encoded]


def _native_sequences(data_set: DicomFile, depth: int) -> Changes:
    """Return the sequences with encapsulated pixel data, with native ones in its place.

    Args:
        data_set: the main data set or a nested one.
        depth: in how many sequences the items of its own are, from 1.
    """
    if not data_set.syntax.encapsulated:
        return {}
    changes: Changes = {}
    for each in data_set.elements:
        if _holds_encapsulated(data_set, each, depth):
            items = read_items(data_set.buffer, each, data_set.encoding, depth)
            native = (_native(_nested(data_set, item), depth + 1) for item in items)
            heads = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)
            value = b"".join(heads + struct.pack("<L", len(item)) + item for item in native)
            changes[each.tag] = b"SQ", value
    return changes


def _holds_encapsulated(data_set: DicomFile, element: RawElement, depth: int) -> bool:
    """Whether an element is a sequence with encapsulated pixel data, at any depth."""
    buffer, encoding = data_set.buffer, data_set.encoding
    vr = element.vr(buffer, encoding)
    is_sequence = vr == b"SQ" or (
        vr in (b"", b"UN") and (element.undefined or STANDARD_VR.get(element.tag) == "SQ")
    )
    if element.tag == PIXEL_DATA or not is_sequence:
        return False
    if buffer.find(_ENCODED_TAG, element.value, element.end) < 0:
        return False
    return any(
        _is_encapsulated(each) or _holds_encapsulated(_nested(data_set, item), each, depth + 1)
        for item in read_items(buffer, element, encoding, depth)
        for each in item.elements
    )


def _is_encapsulated(element: RawElement) -> bool:
    return element.tag == PIXEL_DATA and element.undefined


def _nested(data_set: DicomFile, item: Item) -> DicomFile:
    return data_set._replace(
        encoding=item.encoding,
        source=BytesReader(data_set.buffer),
        elements=item.elements,
        pixels=next((each for each in item.elements if _is_encapsulated(each)), None),
    )


def _native(data_set: DicomFile, depth: int) -> bytes:
    """Return a nested data set in Explicit VR Little Endian."""
    changes = _native_sequences(data_set, depth)
    if data_set.pixels is not None:
        image = read_image(data_set)
        frames = Decoding(data_set, image)
        data = b"".join(pack(frame, frames.image) for frame in frames)
        changes |= pixel_changes(data_set, image, frames.image)
        vr = b"OB" if frames.image.bits_allocated <= 8 else b"OW"
        changes[PIXEL_DATA] = vr, data + bytes(len(data) % 2)
    kept = reencode(data_set.buffer, data_set.elements, data_set.encoding, EXPLICIT_LITTLE)
    joined = join(kept, changes, explicit=True)
    return b"".join(data for _, data in mend_group_lengths(joined, explicit=True))
