"""Lookup tables: Modality LUT, VOI LUT, a color of a palette (PS3.3 C.11.1.1, C.7.6.3.1.5)."""

from typing import NamedTuple

import numpy as np

from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.render.attribute_reader import AttributeReader
from dicomferry.pixels.samples import Pixels


class LookupTable(NamedTuple):
    """A table of output values.

    Attributes:
        first: the input that its first entry is for; smaller ones have the same output.
        bits: of an entry.
        data: its entries, as little-endian words.
    """

    first: int
    bits: int
    data: bytes

    @property
    def highest(self) -> int:
        """The largest number that an entry may be."""
        return (1 << self.bits) - 1

    def apply(self, values: Pixels) -> Pixels:
        """Return the entries of `values`; one that is no number counts as the smallest."""
        entries = np.frombuffer(self.data, "<u2")
        with np.errstate(invalid="ignore"):
            places = np.clip(values.astype(np.float64) - self.first, 0, len(entries) - 1)
        return entries[np.nan_to_num(places, nan=0).astype(np.int64)]


class Descriptor(NamedTuple):
    """The three values of a LUT Descriptor.

    Attributes:
        entries: how many.
        first: the first input value mapped.
        bits: of an entry, as it says.
    """

    entries: int
    first: int
    bits: int


def read_descriptor(reader: AttributeReader, tag: int, signed: bool) -> Descriptor:
    """Read a LUT Descriptor.

    Args:
        reader: of the data set that has it.
        tag: of the descriptor.
        signed: the inputs of the table may be negative; the VR SS says so too.

    Raises:
        InstanceError: LOOKUP_TABLE_INVALID.
    """
    words = reader.words(tag)
    if len(words) != 3:
        raise InstanceError(Reason.LOOKUP_TABLE_INVALID)
    entries, first, bits = words
    if first >= 0x8000 and (signed or reader.has_vr(tag, b"SS")):
        first -= 0x10000
    return Descriptor(entries or 0x10000, first, bits)


def read_table(descriptor: Descriptor, words: bytes) -> LookupTable:
    """Return the table of a descriptor and its LUT Data.

    Entries of 8 bits lie in bytes or, against the Standard, in words; the length tells which. Bits
    beyond those that the descriptor names are not part of an entry. Where it names less than 8 or
    more than 16, the largest entry tells.

    Args:
        descriptor: of the table.
        words: the LUT Data in little endian; what is more than the descriptor says is left out.

    Raises:
        InstanceError: LOOKUP_TABLE_INVALID: it has fewer entries than it says.
    """
    count, first, bits = descriptor
    entries = np.frombuffer(words, "<u2")
    if _are_bytes(entries, count, bits):
        entries = np.frombuffer(words, np.uint8).astype("<u2")
        bits = 8
    if len(entries) < count:
        raise InstanceError(Reason.LOOKUP_TABLE_INVALID)
    entries = entries[:count]
    if not 8 <= bits <= 16:
        bits = min(max(8, int(entries.max()).bit_length()), 16)
    return LookupTable(first, bits, (entries & np.uint16((1 << bits) - 1)).tobytes())


def _are_bytes(words: Pixels, count: int, bits: int) -> bool:
    """Whether `words` hold two entries each."""
    if len(words) == (count + 1) // 2:
        return count > 1 or bits <= 8
    if bits > 8 or len(words) == count:
        return False
    return len(words) < count or int(words[:count].max()) > 0xFF
