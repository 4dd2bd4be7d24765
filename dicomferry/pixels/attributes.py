"""The attributes that the pixels dictate, after transcoding (PS3.3 C.7.6.1 and C.7.6.3)."""

import struct

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.reencode import Changes
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel

_LOSSY = 0x00282110
_LOSSY_RATIO = 0x00282112
_LOSSY_METHOD = 0x00282114
_SMALLEST_AND_LARGEST = (0x00280106, 0x00280107, 0x00280110, 0x00280111)
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)


def pixel_changes(file: DicomFile, old: ImagePixel, new: ImagePixel) -> Changes:
    """Return the changes that make the Image Pixel Module say `new` where it says `old`."""
    changes: Changes = dict.fromkeys(_OFFSET_TABLES)
    if new.photometric != old.photometric:
        changes[0x00280004] = b"CS", _padded(new.photometric)
    if new.samples > 1 and (new.planar != old.planar or not file.value(0x00280006)):
        changes[0x00280006] = _us(new.planar)
    if new.bits_allocated != old.bits_allocated:
        changes[0x00280100] = _us(new.bits_allocated)
    if new.bits_stored != old.bits_stored:
        changes[0x00280101] = _us(new.bits_stored)
    if new.high_bit != old.high_bit:
        changes[0x00280102] = _us(new.high_bit)
    return changes


def lossy_changes(file: DicomFile, method: str, ratio: float) -> Changes:
    """Return the changes that tell of one more lossy compression; earlier ones stay listed."""
    changes: Changes = dict.fromkeys(
        tag for tag in _SMALLEST_AND_LARGEST if file.value(tag) is not None
    )
    changes[_LOSSY] = b"CS", b"01"
    changes[_LOSSY_RATIO] = b"DS", _appended(file.value(_LOSSY_RATIO), f"{ratio:.6g}")
    changes[_LOSSY_METHOD] = b"CS", _appended(file.value(_LOSSY_METHOD), method)
    return changes


def was_lossy_changes(file: DicomFile) -> Changes:
    """Return the change that pixels of a DCT-coded JPEG need: lossy once is lossy for good."""
    if (file.value(_LOSSY) or b"").strip(b" \0") == b"01":
        return {}
    return {_LOSSY: (b"CS", b"01")}


def extended_offset_table(offsets: list[int], lengths: list[int]) -> Changes:
    """Return the Extended Offset Table (PS3.3, Section C.7.6.3.1.8), for more than 4 GiB."""
    return {
        tag: (b"OV", struct.pack(f"<{len(values)}Q", *values))
        for tag, values in zip(_OFFSET_TABLES, (offsets, lengths), strict=True)
    }


def _us(value: int) -> tuple[bytes, bytes]:
    return b"US", struct.pack("<H", value)


def _padded(text: str) -> bytes:
    return text.encode() + b" " * (len(text) % 2)


def _appended(old: bytes | None, value: str) -> bytes:
    earlier = (old or b"").strip(b" \0").decode("ascii", "replace")
    if not earlier.isprintable():
        raise InstanceError(Reason.DATA_SET_INVALID)
    return _padded(f"{earlier}\\{value}" if earlier else value)
