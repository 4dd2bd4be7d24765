"""Palette Color Lookup Tables, plain and segmented (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.2)."""

import numpy as np

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.render.attribute_reader import AttributeReader
from dicomferry.pixels.render.lookup_table import (
    Descriptor,
    LookupTable,
    read_descriptor,
    read_table,
)
from dicomferry.pixels.samples import Pixels, stored_values

# Descriptor, data and segmented data of red; green and blue are the next.
_DESCRIPTOR, _DATA, _SEGMENTED = 0x00281101, 0x00281201, 0x00281221
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def palette(file: DicomFile, image: ImagePixel) -> Pixels:
    """Return the 8-bit RGB of every word that a sample may be.

    Raises:
        InstanceError: NOT_RENDERABLE, LOOKUP_TABLE_INVALID.
    """
    if image.bits_allocated > 16:
        raise InstanceError(Reason.NOT_RENDERABLE)
    reader = AttributeReader.of_file(file)
    words = np.arange(1 << (8 * image.dtype.itemsize), dtype=f"u{image.dtype.itemsize}")
    values = stored_values(words.view(image.dtype), image)
    colors = []
    for color in range(3):
        table = _read(reader, color, image.signed)
        colors.append((table.apply(values) >> (table.bits - 8)).astype(np.uint8))
    return np.stack(colors, -1)


def _read(reader: AttributeReader, color: int, signed: bool) -> LookupTable:
    descriptor = read_descriptor(reader, _DESCRIPTOR + color, signed)
    words = reader.word_bytes(_DATA + color)
    if not words:
        words = _expand(reader.word_bytes(_SEGMENTED + color), descriptor)
    return read_table(descriptor, words)


def _expand(segments: bytes, descriptor: Descriptor) -> bytes:
    """Return the words that segmented data stands for.

    Raises:
        InstanceError: LOOKUP_TABLE_INVALID.
    """
    size = 1 if descriptor.bits <= 8 else 2
    numbers = np.frombuffer(segments, f"<u{size}").tolist()
    entries: list[int] = []
    at = 0
    while len(entries) < descriptor.entries:
        if numbers[at : at + 1] == [_INDIRECT]:
            after = at + 2 + 4 // size
            length, *offset = numbers[at + 1 : after]
            start = sum(each << (8 * size * place) for place, each in enumerate(offset)) // size
            for _ in range(length):
                if len(entries) < descriptor.entries:
                    start = _append(numbers, start, entries)
            at = after
        else:
            at = _append(numbers, at, entries)
    return np.array(entries, "<u2").tobytes()


def _append(numbers: list[int], at: int, entries: list[int]) -> int:
    """Add the entries of a discrete or linear segment; return where the next one begins.

    Raises:
        InstanceError: LOOKUP_TABLE_INVALID: the segment is cut off, empty or of no known kind.
    """
    kind, length = (*numbers[at : at + 2], 0, 0)[:2]
    values = numbers[at + 2 : at + 2 + (length if kind == _DISCRETE else 1)]
    if kind == _DISCRETE and length and len(values) == length:
        entries.extend(values)
    elif kind == _LINEAR and length and values and entries:
        line = np.linspace(entries[-1], values[0], length + 1)[1:]
        entries.extend(np.rint(line).astype(int).tolist())
    else:
        raise InstanceError(Reason.LOOKUP_TABLE_INVALID)
    return at + 2 + len(values)
