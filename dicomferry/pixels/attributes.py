"""The attributes that the pixels dictate, after transcoding (PS3.3 C.7.6.1 and C.7.6.3)."""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.reencode import Changes
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel

_LOSSY = 0x00282110
_LOSSY_RATIO = 0x00282112
_LOSSY_METHOD = 0x00282114
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)


class Loss(NamedTuple):
    """A lossy compression that pixels went through.

    Attributes:
        method: Lossy Image Compression Method (0028,2114).
        ratio: bytes of the stored bits to bytes of the streams (0028,2112).
    """

    method: str
    ratio: float


def pixel_changes(file: DicomFile, old: ImagePixel, new: ImagePixel) -> Changes:
    """Return the changes that make the Image Pixel Module say `new` where it says `old`.

    Of Photometric Interpretation the data set may say something else than `old`.
    """
    changes: Changes = dict.fromkeys(_OFFSET_TABLES)
    if new.photometric.encode() != (file.value(0x00280004) or b"").strip(b"\0 "):
        changes[0x00280004] = b"CS", _padded(new.photometric)
    if new.samples > 1 and (new.planar != old.planar or not file.value(0x00280006)):
        changes[0x00280006] = us(new.planar)
    if new.bits_allocated != old.bits_allocated:
        changes[0x00280100] = us(new.bits_allocated)
    if new.bits_stored != old.bits_stored:
        changes[0x00280101] = us(new.bits_stored)
    if new.high_bit != old.high_bit:
        changes[0x00280102] = us(new.high_bit)
    return changes


def loss_changes(file: DicomFile, losses: Iterable[Loss]) -> Changes:
    """Return the changes that tell of further lossy compressions; earlier ones stay listed."""
    ratios, methods = file.value(_LOSSY_RATIO), file.value(_LOSSY_METHOD)
    changes: Changes = {}
    for loss in losses:
        ratios = _appended(ratios, f"{loss.ratio:.6g}")
        methods = _appended(methods, loss.method)
        changes = {
            _LOSSY: (b"CS", b"01"),
            _LOSSY_RATIO: (b"DS", ratios),
            _LOSSY_METHOD: (b"CS", methods),
        }
    return changes


def untold_loss(file: DicomFile, loss: Loss) -> list[Loss]:
    """Return the loss of the stored streams, unless the attributes tell of one already.

    What has lost once has lost for good, however it is stored next (PS3.3 C.7.6.1.1.5).
    """
    return [] if tells_of_loss(file) else [loss]


def tells_of_loss(file: DicomFile) -> bool:
    """Whether Lossy Image Compression is 01."""
    return (file.value(_LOSSY) or b"").strip(b" \0") == b"01"


def extended_offset_table(offsets: list[int], lengths: list[int]) -> Changes:
    """Return the Extended Offset Table (PS3.3, Section C.7.6.3.1.8), for more than 4 GiB."""
    return {
        tag: (b"OV", struct.pack(f"<{len(values)}Q", *values))
        for tag, values in zip(_OFFSET_TABLES, (offsets, lengths), strict=True)
    }


def us(value: int) -> tuple[bytes, bytes]:
    """Return a value of VR US."""
    return b"US", struct.pack("<H", value)


def _padded(text: str) -> bytes:
    return text.encode() + b" " * (len(text) % 2)


def _appended(old: bytes | None, value: str) -> bytes:
    earlier = (old or b"").strip(b" \0").decode("ascii", "replace")
    if not earlier.isprintable():
        raise InstanceError(Reason.DATA_SET_INVALID)
    return _padded(f"{earlier}\\{value}" if earlier else value)
