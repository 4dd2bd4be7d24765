"""The attributes of a data set, main or nested, that say how its pixels are shown."""

import re
import struct

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.encoding import DataSetEncoding
from dicomferry.dicom.raw_elements import RawElement, read_items
from dicomferry.dicom.reencode import swap

# A Decimal String (PS3.5 6.2); Python's own numbers may have underscores, and "nan" is one.
_DECIMAL = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class AttributeReader:
    """Reads the attributes of a data set; what is absent or makes no sense is empty or None."""

    def __init__(
        self, buffer: bytes, elements: list[RawElement], encoding: DataSetEncoding
    ) -> None:
        self._buffer = buffer
        self._found = {each.tag: each for each in elements}
        self._encoding = encoding

    @classmethod
    def of_file(cls, file: DicomFile) -> "AttributeReader":
        """Return the reader of the main data set."""
        return cls(file.buffer, file.elements, file.encoding)

    def items(self, tag: int) -> list["AttributeReader"]:
        """Return the items of a sequence."""
        element = self._found.get(tag)
        if element is None or element.vr(self._buffer, self._encoding) not in (b"", b"SQ", b"UN"):
            return []
        return [
            AttributeReader(self._buffer, item.elements, item.encoding)
            for item in read_items(self._buffer, element, self._encoding)
        ]

    def text(self, tag: int) -> str:
        """Return the first value of text."""
        return self._first(tag).decode("ascii", "replace")

    def number(self, tag: int) -> float | None:
        """Return the first value of a Decimal String; None also where it is not finite."""
        text = self._first(tag)
        value = float(text) if _DECIMAL.fullmatch(text) else None
        return value if value is not None and abs(value) != float("inf") else None

    def words(self, tag: int) -> tuple[int, ...]:
        """Return the values of a US, unsigned."""
        value = self.word_bytes(tag)
        return struct.unpack(f"<{len(value) // 2}H", value)

    def word_bytes(self, tag: int) -> bytes:
        """Return the whole words of a US or OW, in little endian."""
        value = self._raw(tag)
        whole = value[: len(value) - len(value) % 2]
        return whole if self._encoding.little_endian else swap(whole, b"OW")

    def has_vr(self, tag: int, vr: bytes) -> bool:
        """Whether the element is written with this VR; never in Implicit VR."""
        element = self._found.get(tag)
        return element is not None and element.vr(self._buffer, self._encoding) == vr

    def _raw(self, tag: int) -> bytes:
        element = self._found.get(tag)
        return self._buffer[element.value : element.end] if element else b""

    def _first(self, tag: int) -> bytes:
        return self._raw(tag).split(b"\\")[0].strip(b" \0")
