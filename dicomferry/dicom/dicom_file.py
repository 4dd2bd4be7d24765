"""A DICOM file as its raw data elements (PS3.10 Section 7; PS3.5 Section 7.1).

The elements stay encoded: a transcoded file repeats the bytes of every element that the pixels do
not dictate. The attributes before the pixel data are read into memory; the pixel data is only
located.
"""

import tempfile
from typing import IO, NamedTuple

from dicomferry.dicom.byte_window import MAX_CHUNK_BYTES, KeepingWindow, whole_window
from dicomferry.dicom.elements import ElementReader
from dicomferry.dicom.encoding import DataSetEncoding
from dicomferry.dicom.inflate import Inflater
from dicomferry.dicom.part10_reader import open_data_set
from dicomferry.dicom.range_reader import RangeReader
from dicomferry.dicom.raw_elements import (
    RawElement,
    as_export_error,
    elements_after,
    take_elements,
)
from dicomferry.dicom.transfer_syntaxes import SYNTAXES, TransferSyntax
from dicomferry.errors import InstanceError, Reason

# Attributes before or after the pixels. Whole slides of a million tiles have some 200 MiB.
MAX_ATTRIBUTE_BYTES = 512 << 20
# Native Pixel Data has a length of 32 bits, so no honest data set inflates to much more.
MAX_INFLATED_BYTES = (4 << 30) + MAX_ATTRIBUTE_BYTES
_IN_MEMORY = 64 << 20


class DicomFile(NamedTuple):
    """A file, opened: its attributes are in memory, its pixel data is not.

    Attributes:
        preamble: 128 bytes, empty where the file has none.
        meta: the elements of group 0002 as (tag, VR, value).
        syntax: the transfer syntax.
        encoding: of the data set; as the bytes show it, where they contradict the UID.
        source: the bytes that hold the data set: the file, or the data set that it inflates to.
        buffer: the data set from the start of `source` on, up to the pixel data at least.
        elements: top-level elements before the pixel data.
        pixels: the pixel data element; its `end` is its start of value if its length is undefined.
    """

    preamble: bytes
    meta: list[tuple[int, bytes, bytes]]
    syntax: TransferSyntax
    encoding: DataSetEncoding
    source: RangeReader
    buffer: bytes
    elements: list[RawElement]
    pixels: RawElement | None

    @property
    def pixels_vr(self) -> bytes:
        """The VR of the pixel data as written, empty in Implicit VR or if there is none."""
        return self.pixels.vr(self.buffer, self.encoding) if self.pixels else b""

    def value(self, tag: int) -> bytes | None:
        """Return the encoded value of a top-level attribute, None if it is absent."""
        for element in reversed(self.elements):  # the last one counts, as in Metadata
            if element.tag == tag:
                return self.buffer[element.value : element.end]
        return None

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length) of the data set, without I/O where they are here.

        Fewer at the end.
        """
        if offset + length <= len(self.buffer):
            return self.buffer[offset : offset + length]
        return self.source.read(offset, length)

    def tail(self, offset: int) -> tuple[bytes, list[RawElement]]:
        """Return the elements after the pixel data, which ends at `offset`, and their buffer.

        Raises:
            InstanceError: DATA_SET_INVALID, NESTED_TOO_DEEP, DATA_SET_TOO_LARGE.
        """
        size = self.source.size - offset
        if size > MAX_ATTRIBUTE_BYTES:
            raise InstanceError(Reason.DATA_SET_TOO_LARGE)
        rest = self.source.read(offset, size) if size > 0 else b""
        try:
            return rest, elements_after(whole_window(rest), 0, self.encoding)
        except InstanceError as error:
            raise as_export_error(error) from None


class _Spooled:
    """A `RangeReader` over a temporary file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end."""
        self._file.seek(offset)
        return self._file.read(length)


def open_file(file: RangeReader) -> DicomFile:
    """Read the attributes of a DICOM file and locate its pixel data.

    Raises:
        InstanceError: NOT_DICOM, DICOMDIR, DATA_SET_INVALID, NESTED_TOO_DEEP, DATA_SET_TOO_LARGE,
            SYNTAX_UNKNOWN.
    """
    try:
        return _open_file(file)
    except InstanceError as error:
        raise as_export_error(error) from None


def _open_file(file: RangeReader) -> DicomFile:
    head = KeepingWindow(file, MAX_ATTRIBUTE_BYTES)
    start = open_data_set(head, lambda offset: _inflate(file, offset))
    syntax = SYNTAXES.get(start.transfer_syntax_uid)
    if syntax is None:
        raise InstanceError(Reason.SYNTAX_UNKNOWN)
    meta = [
        (tag, vr.encode(), value or head.require(offset, length))
        for tag, vr, offset, length, value in start.file_meta
    ]
    window = start.window
    reader = ElementReader(window, descend=False)
    elements = take_elements(reader, reader.read(start.offset, start.encoding), start.offset)
    pixels = elements.pop() if reader.pixel_data is not None else None
    window.load(0, elements[-1].end if elements else start.offset)
    return DicomFile(
        start.preamble, meta, syntax, start.encoding, window.file, window.data, elements, pixels
    )


def _inflate(file: RangeReader, offset: int) -> KeepingWindow:
    """Inflate a data set (PS3.5 A.5) into memory or, beyond 64 MiB, a temporary file."""
    inflater = Inflater(file, offset, MAX_INFLATED_BYTES)
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (lives on)
    size = 0
    while part := inflater.read(MAX_CHUNK_BYTES):
        spool.write(part)
        size += len(part)
    if not inflater.has_ended:
        raise InstanceError(Reason.TRUNCATED)
    return KeepingWindow(_Spooled(spool, size), MAX_ATTRIBUTE_BYTES)
