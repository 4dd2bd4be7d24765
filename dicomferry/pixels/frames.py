"""The frames of an instance as they are stored, one at a time, by range (PS3.5, Annex A.4, 8.1).

Nothing here decodes. No more than one frame is in memory, whatever the size of the instance.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.elements import parse_item
from dicomferry.dicom.encoding import UNDEFINED_LENGTH
from dicomferry.dicom.range_reader import RangeReader
from dicomferry.dicom.tags import ITEM, PIXEL_DATA, SEQUENCE_END
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.image_pixel import ImagePixel

# A code stream is hardly ever larger than what it decodes to; a forged length must not be read.
MAX_CODE_STREAM_BYTES = 640 << 20
_EXTENDED_OFFSET_TABLE = 0x7FE00001
_EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
_CHUNK = 1 << 20
_VIEW = 1 << 16
_LONGEST_START = 8  # of a code stream, as its codec knows it


class Fragment(NamedTuple):
    """A fragment of a code stream: offset of its value in the source and length, in bytes."""

    offset: int
    length: int


def native_frame(file: DicomFile, image: ImagePixel, index: int) -> bytes:
    """Return a native frame in little endian, of single bits the bytes that it touches.

    `check_native_length` has to go before it.
    """
    assert file.pixels is not None
    bits, word = image.frame_bits, word_size(file, image)
    first = index * bits // 8
    end = (index * bits + bits + 7) // 8
    # Of 8 bits within OW the words are swapped, and a frame may begin in the midst of one.
    start = first - first % word
    stop = min(end + -end % word, file.pixels.end - file.pixels.value)
    raw = swap_words(file.read(file.pixels.value + start, stop - start), word)
    return raw if (start, stop) == (first, end) else raw[first - start : end - start]


def word_size(file: DicomFile, image: ImagePixel) -> int:
    """Return how many bytes a big-endian reader has to swap: 1 for none.

    8 bits and single bits within OW are swapped in their words (PS3.5, Annex A.3); 32 bits are
    one word each, as every other reader has it.
    """
    if file.encoding.little_endian or file.pixels is None:
        return 1
    if image.bits_allocated > 16 or file.pixels.tag != PIXEL_DATA:
        return image.bits_allocated // 8
    return 2 if file.pixels_vr == b"OW" or image.bits_allocated == 16 else 1


def swap_words(data: bytes, size: int) -> bytes:
    """Return big-endian words of `size` bytes in little endian; the rest of a word stays."""
    if size == 1:
        return data
    whole = len(data) - len(data) % size
    return np.frombuffer(data[:whole], f">u{size}").astype(f"<u{size}").tobytes() + data[whole:]


def check_native_length(file: DicomFile, image: ImagePixel) -> None:
    """Refuse pixel data that is shorter than its frames, before any is read.

    Raises:
        InstanceError: PIXEL_DATA_TRUNCATED.
    """
    assert file.pixels is not None
    length = (image.frame_bits * image.frames + 7) // 8
    end = min(file.pixels.end, file.source.size)
    if file.pixels.undefined or file.pixels.value + length > end:
        raise InstanceError(Reason.PIXEL_DATA_TRUNCATED)


def chunks(source: RangeReader, offset: int, length: int) -> Iterator[bytes]:
    """Yield bytes [offset, offset + length) piece by piece.

    Raises:
        InstanceError: PIXEL_DATA_TRUNCATED.
    """
    end = offset + length
    while offset < end:
        chunk = source.read(offset, min(_CHUNK, end - offset))
        if not chunk:
            raise InstanceError(Reason.PIXEL_DATA_TRUNCATED)
        offset += len(chunk)
        yield chunk


class EncapsulatedFrames:
    """The encapsulated frames of a file; locate or iterate once.

    Attributes:
        end: where the pixel data element ends; right after the last was located only.
    """

    def __init__(self, file: DicomFile, image: ImagePixel) -> None:
        assert file.pixels is not None
        if not file.pixels.undefined:
            raise InstanceError(Reason.FRAMES_NOT_FOUND)
        self._file = file
        self._frames = image.frames
        self._source = file.source
        self._view = b""
        self._view_offset = 0
        self._starts: tuple[bytes, ...] = ()
        self.end = file.pixels.value

    def __iter__(self) -> Iterator[bytes]:
        """Yield the code stream of each frame, its fragments joined.

        Raises:
            InstanceError: FRAMES_NOT_FOUND, FRAME_TOO_LARGE, PIXEL_DATA_TRUNCATED.
        """
        return (self.read(place) for place in self.located())

    def located(self) -> Iterator[list[Fragment]]:
        """Yield the places of each frame's fragments; `read` gets them.

        Raises:
            InstanceError: FRAMES_NOT_FOUND, FRAME_TOO_LARGE.
        """
        assert self._file.pixels is not None
        length = self._item(self._file.pixels.value)
        if length is None or length > self._source.size:
            raise InstanceError(Reason.FRAMES_NOT_FOUND)
        first = self._file.pixels.value + 8 + length
        self._starts = self._known_starts(first)
        groups: Iterable[list[Fragment]]
        if self._frames == 1:
            fragments = list(self._fragments(first, None))
            if any(self._starts_known(each.offset - 8) for each in fragments[1:]):
                raise InstanceError(Reason.FRAMES_NOT_FOUND)
            groups = [fragments]
        else:
            offsets = self._offsets(first, length)
            groups = self._by_table(first, offsets) if offsets else self._by_start(first, 0)
        count = 0
        for fragments in groups:
            count += 1
            if not fragments:
                raise InstanceError(Reason.FRAMES_NOT_FOUND)
            if sum(each.length for each in fragments) > MAX_CODE_STREAM_BYTES:
                raise InstanceError(Reason.FRAME_TOO_LARGE)
            yield fragments
        if count != self._frames:
            raise InstanceError(Reason.FRAMES_NOT_FOUND)

    def read(self, fragments: list[Fragment]) -> bytes:
        """Return the code stream of a frame.

        Raises:
            InstanceError: PIXEL_DATA_TRUNCATED.
        """
        parts = [self._read(each.offset, each.length) for each in fragments]
        if any(len(part) < each.length for part, each in zip(parts, fragments, strict=True)):
            raise InstanceError(Reason.PIXEL_DATA_TRUNCATED)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _offsets(self, first: int, length: int) -> list[int]:
        """Return the frames' offsets from the first fragment, empty if no table can be trusted."""
        extended = self._file.value(_EXTENDED_OFFSET_TABLE) or b""
        basic = self._source.read(first - length, length) if length == 4 * self._frames else b""
        for table, code in ((extended, "Q"), (basic, "L")):
            if len(table) == struct.calcsize(f"<{self._frames}{code}"):
                offsets = list(struct.unpack(f"<{self._frames}{code}", table))
                ascending = all(a < b for a, b in pairwise(offsets))
                if offsets[0] == 0 and ascending and first + offsets[-1] < self._source.size:
                    return offsets
        return []

    def _by_table(self, first: int, offsets: list[int]) -> Iterator[list[Fragment]]:
        """Group fragments by a table, as far as each frame ends where the next one begins."""
        starts_known = self._starts_known(first)
        for index, (start, stop) in enumerate(pairwise(offsets)):
            if stop - start <= MAX_CODE_STREAM_BYTES:
                # The frame, its items, and how the next one begins, in one read.
                self._look(first + start, stop - start + 8 + _LONGEST_START)
            fragments = list(self._fragments(first + start, first + stop))
            end = fragments[-1].offset + fragments[-1].length if fragments else 0
            if end != first + stop or self._starts_known(end) != starts_known:
                yield from self._by_start(first + start, index)
                return
            yield fragments
        yield list(self._fragments(first + offsets[-1], None))

    def _by_start(self, offset: int, index: int) -> list[list[Fragment]]:
        """Group the fragments from `offset` on into the frames from `index` on.

        They are one each, or begin as code streams do.
        """
        fragments = list(self._fragments(offset, None))
        if len(fragments) == self._frames - index:
            return [[each] for each in fragments]
        if len(fragments) < self._frames - index:
            raise InstanceError(Reason.FRAMES_NOT_FOUND)
        groups: list[list[Fragment]] = []
        for each in fragments:
            if self._starts_known(each.offset - 8):
                groups.append([])
            elif not groups:
                raise InstanceError(Reason.FRAMES_NOT_FOUND)
            groups[-1].append(each)
        return groups

    def _starts_known(self, offset: int) -> bool:
        """Whether the fragment whose item is at `offset` begins as the code streams do."""
        return self._start(offset).startswith(self._starts)

    def _known_starts(self, first: int) -> tuple[bytes, ...]:
        """Return how code streams begin, if the first of them is in the item at `first`.

        All begin alike: a container holds a bare code stream, which may be what a later fragment
        begins with. The signature of a bare JPEG XL code stream has two bytes, which occur by
        chance: frames share the next one too, with their size (ISO/IEC 18181-1, SizeHeader).
        """
        start, known = self._start(first), codec(self._file.syntax.uid).starts
        for each in known:
            if start.startswith(each):
                return (each if len(each) > 2 else start[:3],)
        return known

    def _start(self, offset: int) -> bytes:
        """Return how the fragment whose item is at `offset` begins."""
        length = self._item(offset) or 0
        return self._read(offset + 8, min(_LONGEST_START, length))

    def _fragments(self, offset: int, stop: int | None) -> Iterator[Fragment]:
        """Yield the fragments from `offset` to `stop` or the sequence's end, which is noted."""
        while stop is None or offset < stop:
            length = self._item(offset)
            if length is None:
                if stop is not None:
                    return
                self.end = offset + 8 if self._at_end(offset) else offset
                return
            yield Fragment(offset + 8, length)
            offset += 8 + length

    def _at_end(self, offset: int) -> bool:
        head = self._read(offset, 8)
        if len(head) < 8:
            if offset < self._source.size:
                raise InstanceError(Reason.FRAMES_NOT_FOUND)
            return False  # a missing delimiter at the end of the file harms nobody
        if parse_item(head, "<")[0] != SEQUENCE_END:
            raise InstanceError(Reason.FRAMES_NOT_FOUND)
        return True

    def _item(self, offset: int) -> int | None:
        """Return the length of the item at `offset`, None if there is none."""
        head = self._read(offset, 8)
        if len(head) < 8:
            return None
        tag, length = parse_item(head, "<")
        return length if tag == ITEM and length != UNDEFINED_LENGTH else None

    def _read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length); neighboring small ones share one read."""
        start = offset - self._view_offset
        if start < 0 or start + length > len(self._view):
            if length > _VIEW:
                return self._source.read(offset, length)
            self._look(offset, _VIEW)
            start = 0
        return self._view[start : start + length]

    def _look(self, offset: int, length: int) -> None:
        self._view = self._source.read(offset, length)
        self._view_offset = offset
