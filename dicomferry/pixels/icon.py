"""The icon of an instance (PS3.3, Section F.7), which may be compressed as the instance is.

In another transfer syntax it would be unreadable. So it becomes native, which every transfer syntax
allows within a sequence (PS3.5, Annex A.4).
"""

import struct

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.encoding import EXPLICIT_LITTLE
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.dicom.raw_elements import Item, RawElement, read_items
from dicomferry.dicom.reencode import encode_element, join, reencode
from dicomferry.dicom.tags import PIXEL_DATA
from dicomferry.pixels.attributes import pixel_changes
from dicomferry.pixels.decode import Decoding
from dicomferry.pixels.image_pixel import read_image
from dicomferry.pixels.samples import pack

ICON_IMAGE_SEQUENCE = 0x00880200


def native_icon(file: DicomFile) -> bytes | None:
    """Return the value of the icon sequence with native pixels.

    None if it is native already, or missing.

    Raises:
        InstanceError: the icon cannot be decoded.
    """
    if not file.syntax.encapsulated:
        return None
    for element in file.elements:
        if element.tag == ICON_IMAGE_SEQUENCE:
            items = list(read_items(file.buffer, element, file.encoding))
            if any(_is_encapsulated(each) for item in items for each in item.elements):
                contents = [_native(file, item) for item in items]
                return b"".join(
                    struct.pack("<HHL", 0xFFFE, 0xE000, len(each)) + each for each in contents
                )
    return None


def _is_encapsulated(element: RawElement) -> bool:
    return element.tag == PIXEL_DATA and element.undefined


def _native(file: DicomFile, item: Item) -> bytes:
    encoded = reencode(file.buffer, item.elements, item.encoding, EXPLICIT_LITTLE)
    pixels = next((each for each in item.elements if _is_encapsulated(each)), None)
    if pixels is not None:
        icon = file._replace(
            encoding=item.encoding,
            source=BytesReader(file.buffer),
            elements=item.elements,
            pixels=pixels,
        )
        image = read_image(icon)
        frames = Decoding(icon, image)
        data = b"".join(pack(frame, frames.image) for frame in frames)
        changes = pixel_changes(icon, image, frames.image)
        vr = b"OB" if frames.image.bits_allocated <= 8 else b"OW"
        changes[PIXEL_DATA] = vr, data + bytes(len(data) % 2)
        encoded = join(encoded, changes, explicit=True)
    return b"".join(data for _, data in encoded)


def icon_element(value: bytes) -> bytes:
    """Return the icon sequence of this value in Explicit VR Little Endian."""
    return encode_element(ICON_IMAGE_SEQUENCE, b"SQ", value, explicit=True)
