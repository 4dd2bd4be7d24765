"""A whole file: an image, what displays it, how it is stored and how its header is encoded."""

import struct
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomferry.dicom.encoding import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.dicom.factories import delimiter, part10
from tests.generated import encoders, judges
from tests.generated.display import Display
from tests.generated.elements import Element, Style, sequence, text, write
from tests.generated.image import Image

PREFIX = "1.2.840.10008.1.2"
NATIVE = ("", ".1", ".1.99", ".2")
ENCAPSULATED = (
    ".5",
    ".8.1",
    *(f".4.{each}" for each in (50, 51, 57, 70, 80, 81, 90, 91, 110, 111, 112, 201, 202, 203)),
)
_ENCODINGS = {"": IMPLICIT_LITTLE, ".2": EXPLICIT_BIG}
SOP, STUDY, SERIES = "1.2.3.4.5", "1.2.3", "1.2.3.4"
_PIXEL_DATA, _ICON, _REFERENCED = 0x7FE00010, 0x00880200, 0x00081140


@dataclass(frozen=True)
class Capsule:
    """How code streams lie in Pixel Data (PS3.5 A.4).

    Attributes:
        cuts: fragments a frame.
        table: 'none', 'basic', 'extended', or 'shifted': a basic table that is wrong after its
            first entry.
        delimiter: the sequence of fragments ends by its delimiter.
    """

    cuts: int = 1
    table: str = "none"
    delimiter: bool = True


@dataclass(frozen=True)
class Icon:
    """An Icon Image Sequence (PS3.3 F.7).

    Attributes:
        depth: sequences around it.
        compressed: as the instance is, where that is.
    """

    image: Image
    depth: int = 0
    compressed: bool = False

    def element(self, end: str) -> Element:
        """The sequence."""
        compressed = self.compressed and end not in NATIVE and encoders.fits(self.image, end)
        pixels = (
            encapsulated([encoders.encode(self.image, 0, end)], Capsule())
            if compressed
            else Element(_PIXEL_DATA, "OW" if self.image.wide else "OB", self.image.native())
        )
        photometric = encoders.photometric_of(self.image, end) if compressed else None
        found = sequence(_ICON, [*self.image.elements(photometric), pixels])
        for _ in range(self.depth):
            found = sequence(_REFERENCED, [text(0x00081155, "UI", SOP), found])
        return found


@dataclass(frozen=True)
class Fault:
    """Something illegal: after it, a file may be refused, or become what a reader can read.

    Attributes:
        tag: the element that is no longer what it should be; 0 for the bytes of the file.
        how: 'missing', 'empty', 'zero', 'ones', 'text', 'short', 'long', or, of bytes, 'cut'.
        amount: which of the bytes, in thousandths.
    """

    tag: int
    how: str
    amount: int = 0

    def apply(self, elements: list[Element]) -> list[Element]:
        """Return elements with the fault wherever the tag is."""
        found = []
        for each in elements:
            value = each.value
            if isinstance(value, tuple):
                value = tuple(tuple(self.apply(list(content))) for content in value)
            if each.tag != self.tag:
                found.append(each._replace(value=value))
            elif self.how != "missing":
                found.append(each._replace(value=self._changed(value)))
        return found

    def _changed(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return () if self.how != "long" else value * 2
        return {
            "empty": b"",
            "zero": bytes(len(value)),
            "ones": b"\xff" * len(value),
            "text": b"x" * len(value),
            "short": value[: len(value) * self.amount // 1000 // 2 * 2],
            "long": value + value,
        }[self.how]


@dataclass(frozen=True)
class Case:
    """One file of the generator. `end` is its transfer syntax after 1.2.840.10008.1.2."""

    image: Image = field(default_factory=Image)
    end: str = ".1"
    display: Display = field(default_factory=Display)
    style: Style = field(default_factory=Style)
    capsule: Capsule = field(default_factory=Capsule)
    icon: Icon | None = None
    fault: Fault | None = None

    @cached_property
    def streams(self) -> list[bytes]:
        """The code streams of the frames; none of native ones."""
        if self.end in NATIVE:
            return []
        frames = range(self.image.frames)
        return [encoders.encode(self.image, index, self.end) for index in frames]

    @property
    def photometric(self) -> str:
        """Photometric Interpretation as it is written."""
        return encoders.photometric_of(self.image, self.end)

    @cached_property
    def values(self) -> npt.NDArray[Any]:
        """The stored values; of a lossy source what is left of them, in the color of its words."""
        if self.end not in encoders.LOSSY:
            return self.image.values
        shape = self.image.rows, self.image.columns, self.image.samples
        frames = [
            judges.decode(each, shape, self.image.allocated, self.end) for each in self.streams
        ]
        return value_bits(
            np.stack(frames), self.image.stored, self.image.stored - 1, self.image.signed
        )

    @property
    def color(self) -> str:
        """The color space of `values`."""
        if self.end in (".4.50", ".4.51", ".4.111") and self.image.samples == 3:
            return "YBR_FULL"
        return self.image.photometric

    def elements(self) -> list[Element]:
        """The data set."""
        image = self.image
        found = [
            text(0x00080008, "CS", "ORIGINAL\\PRIMARY"),
            text(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7"),
            text(0x00080018, "UI", SOP),
            text(0x00080060, "CS", "OT"),
            text(0x0020000D, "UI", STUDY),
            text(0x0020000E, "UI", SERIES),
            *image.elements(self.photometric),
            *self.display.elements(image),
        ]
        if self.icon is not None:
            found.append(self.icon.element(self.end))
        if self.end in encoders.LOSSY:
            found += [text(0x00282110, "CS", "01"), text(0x00282112, "DS", "2.5")]
            found.append(text(0x00282114, "CS", "ISO_10918_1"))
        if self.end in NATIVE:
            found.append(self._native())
        else:
            capsule = replace(self.capsule, cuts=1) if self.end == ".5" else self.capsule
            found += offset_tables(self.streams, capsule)
            found.append(encapsulated(self.streams, capsule))
        if self.style.padding:
            found.append(Element(0xFFFCFFFC, "OB", bytes(self.style.padding)))
        return found

    def _native(self) -> Element:
        image = self.image
        if image.is_float:
            tag = 0x7FE00008 if image.allocated == 32 else 0x7FE00009
            return Element(tag, "OF" if image.allocated == 32 else "OD", image.native())
        wide = image.wide or image.allocated > 8 or self.end == ""
        word = max(2, image.allocated // 8) if wide else 1
        return Element(_PIXEL_DATA, "OW" if wide else "OB", image.native(), word_bytes=word)

    def file(self, plain: bool = False) -> bytes:
        """The file; plain: in the plainest style, to compare with."""
        elements = self.elements()
        if self.fault is not None:
            elements = self.fault.apply(elements)
        encoding = _ENCODINGS.get(self.end, EXPLICIT_LITTLE)
        style = Style(padding=self.style.padding) if plain else self.style
        data = part10(write(elements, encoding, style), PREFIX + self.end)
        if self.fault is not None and self.fault.tag == 0:
            data = self._damaged(data)
        return data

    def _damaged(self, data: bytes) -> bytes:
        assert self.fault is not None
        at = 132 + (len(data) - 132) * self.fault.amount // 1000
        if self.fault.how == "cut":
            return data[:at]
        return data[:at] + b"\xff" + data[at + 1 :]


def value_bits(
    words: npt.NDArray[Any], stored_bits: int, high_bit: int, signed: bool
) -> npt.NDArray[np.int64]:
    """Return the values in words: Bits Stored bits below High Bit (PS3.5 8.1.1)."""
    numbers = words.astype(np.int64) >> (high_bit + 1 - stored_bits)
    numbers &= (1 << stored_bits) - 1
    if not signed:
        return numbers
    return np.where(numbers >> (stored_bits - 1), numbers - (1 << stored_bits), numbers)


def encapsulated(streams: list[bytes], capsule: Capsule) -> Element:
    """Return Pixel Data of code streams."""
    # What the extended table points at is one fragment a frame (PS3.3 C.7.6.3.1.8).
    offsets, fragments, _ = _layout(streams, 1 if capsule.table == "extended" else capsule.cuts)
    if capsule.table == "shifted":
        offsets = offsets[:1] + [each + 2 for each in offsets[1:-1]] + offsets[1:][-1:]
    table = b""
    if capsule.table in ("basic", "shifted"):
        table = struct.pack(f"<{len(offsets)}L", *offsets)
    body = delimiter(0xFFFEE000, len(table)) + table + b"".join(fragments)
    if capsule.delimiter:
        body += delimiter(0xFFFEE0DD)
    return Element(_PIXEL_DATA, "OB", body, undefined=True)


def offset_tables(streams: list[bytes], capsule: Capsule) -> list[Element]:
    """Return the Extended Offset Table, where there is one (PS3.3 C.7.6.3.1.8)."""
    if capsule.table != "extended":
        return []
    offsets, _, lengths = _layout(streams, 1)
    return [
        Element(0x7FE00001, "OV", struct.pack(f"<{len(offsets)}Q", *offsets)),
        Element(0x7FE00002, "OV", struct.pack(f"<{len(lengths)}Q", *lengths)),
    ]


def _layout(streams: list[bytes], cuts: int) -> tuple[list[int], list[bytes], list[int]]:
    """Return the offset of each frame, the encoded fragments, the length of each frame."""
    offsets, fragments, lengths, at = [], [], [], 0
    for stream in streams:
        offsets.append(at)
        padded = stream + bytes(len(stream) % 2)
        lengths.append(len(stream))
        size = max(2, -(-len(padded) // cuts // 2) * 2)
        for start in range(0, len(padded), size):
            part = padded[start : start + size]
            fragments.append(delimiter(0xFFFEE000, len(part)) + part)
            at += 8 + len(part)
    return offsets, fragments, lengths
