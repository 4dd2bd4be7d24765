"""Overlays in bits of the pixels that hold no value, as they were before 2004.

The edition of 2004 describes them in PS3.5 8.1.2; since then overlays are Overlay Data alone, and
`Overlay Bits Allocated` is 1, `Overlay Bit Position` 0.
"""

import struct
from collections.abc import Iterable

import numpy as np

from dicomferry.dicom.reencode import Changes
from dicomferry.pixels.attributes import us
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.samples import Pixels


def plane_of(pixels: Pixels, bit: int) -> bytes:
    """Return one bit of each sample, packed; the last byte may be filled up with zeros."""
    return np.packbits((pixels >> bit & 1).astype(bool), bitorder="little").tobytes()


def overlay_changes(image: ImagePixel, planes: Iterable[tuple[bytes, ...]]) -> Changes:
    """Return the changes that make Overlay Data of the embedded overlays (PS3.3 C.9.2, C.9.3).

    Args:
        image: the attributes of the pixels that have the overlays.
        planes: of each frame, those that `plane_of` returned for `image.overlays` in their order.
    """
    changes: Changes = {}
    for (group, _), frames in zip(image.overlays, zip(*planes, strict=True), strict=True):
        base = group << 16
        data = _joined(frames, image.rows * image.columns)
        changes |= {
            base | 0x0010: us(image.rows),
            base | 0x0011: us(image.columns),
            base | 0x0050: (b"SS", struct.pack("<hh", 1, 1)),
            base | 0x0100: us(1),
            base | 0x0102: us(0),
            base | 0x3000: (b"OW", data + bytes(len(data) % 2)),
        }
        if image.frames > 1:
            count = str(image.frames).encode()
            changes[base | 0x0015] = b"IS", count + b" " * (len(count) % 2)
            changes[base | 0x0051] = us(1)
    return changes


def _joined(frames: tuple[bytes, ...], bits: int) -> bytes:
    """Join packed frames; one follows the other within a byte (PS3.5 8.1.2)."""
    if bits % 8 == 0 or len(frames) == 1:
        return b"".join(frames)
    unpacked = [
        np.unpackbits(np.frombuffer(each, np.uint8), count=bits, bitorder="little")
        for each in frames
    ]
    return np.packbits(np.concatenate(unpacked), bitorder="little").tobytes()
