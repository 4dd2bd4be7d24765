"""One stored instance in the form that was asked for.

Frames are read, decoded, encoded and written one at a time, so an instance of any size needs the
memory of a few frames. Encoded frames wait in a temporary file (64 MiB of them in memory) until
all their lengths are known: the header holds the offset table and the compression ratio.
"""

import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from headers.failures import InstanceError
from headers.readable import Readable
from transcode import formats, rewrite
from transcode.attributes import (
    Changes,
    extended_offset_table,
    lossy_changes,
    pixel_changes,
    was_lossy_changes,
)
from transcode.codecs import codec
from transcode.dataset import DicomFile, open_file
from transcode.formats import Format
from transcode.frames import (
    EncapsulatedFrames,
    check_native_length,
    chunks,
    native_frames,
    swap_words,
    word_size,
)
from transcode.image import ImagePixel, check_frame_size, read_image
from transcode.pixels import Decoded, Pixels, pack, unpack
from transcode.quality import DEFAULT_QUALITY, Quality
from transcode.render import Renderer
from transcode.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_PROGRESSION,
    JPEG_SPECTRAL,
    JPEG_XL_RECOMPRESSION,
    SYNTAXES,
    TransferSyntax,
)

_IN_MEMORY = 64 << 20
_LONGEST_NATIVE = 0xFFFFFFFE
_DCT_CODED = frozenset(
    {JPEG_BASELINE, JPEG_EXTENDED, JPEG_SPECTRAL, JPEG_PROGRESSION, JPEG_XL_RECOMPRESSION}
)


class Output(NamedTuple):
    """One file to be written.

    Attributes:
        frame: its number from 1 in a multi-frame instance that becomes one file a frame, else
            None.
        chunks: its bytes; to be read to the end before the next output is asked for.
    """

    frame: int | None
    chunks: Iterator[bytes]


def can_copy(source_transfer_syntax: str, target: Format) -> bool:
    """Whether the stored bytes are what was asked for, so that the caller copies them."""
    return target.media_type == formats.DICOM and target.transfer_syntax in (
        "*",
        source_transfer_syntax,
    )


def transcode(
    file: Readable, target: Format, quality: Quality = DEFAULT_QUALITY
) -> Iterator[Output]:
    """Yield the files that `target` makes of one stored instance.

    The result depends on the arguments alone. Elements that the pixels do not dictate keep their
    bytes; SOP Instance UID never changes.

    Raises:
        InstanceError: the instance cannot be had in this form. It is raised while outputs or
            their chunks are taken, so nothing may get its final name before the last chunk.
    """
    if target.media_type == formats.DICOM and target.transfer_syntax == "*":
        yield Output(None, chunks(file, 0, file.size))
        return
    opened = open_file(file)
    if can_copy(opened.syntax.uid, target):
        yield Output(None, chunks(file, 0, file.size))
    elif target.media_type == formats.DICOM:
        yield Output(None, _dicom(opened, SYNTAXES[target.transfer_syntax], quality))
    else:
        if opened.pixels is None:
            raise InstanceError("NO_PIXEL_DATA")
        image = read_image(opened)
        if target.media_type == formats.OCTET_STREAM:
            outputs = _raw_frames(opened, image, target.transfer_syntax == "*")
        else:
            renderer = Renderer(opened, image, target.media_type, quality)
            outputs = (iter((picture,)) for picture in _pictures(opened, image, renderer))
        for index, output in enumerate(outputs):
            yield Output(index + 1 if image.frames > 1 else None, output)


def decoded_frames(file: DicomFile, image: ImagePixel) -> Iterator[Decoded]:
    """Yield the frames of an instance, decoded one at a time.

    Raises:
        InstanceError: the code says what is wrong with which part.
    """
    check_frame_size(image)
    if file.syntax.encapsulated:
        decode = codec(file.syntax.uid).decode
        for stream in EncapsulatedFrames(file, image):
            yield decode(stream, image, file.syntax.uid)
    else:
        yield from _native(file, image)


def _native(file: DicomFile, image: ImagePixel) -> Iterator[Decoded]:
    photometric = "YBR_FULL" if image.photometric == "YBR_FULL_422" else image.photometric
    for index, raw in enumerate(native_frames(file, image)):
        yield Decoded(unpack(raw, image, index), photometric)


def _dicom(file: DicomFile, target: TransferSyntax, quality: Quality) -> Iterator[bytes]:
    if file.pixels is None and target.encapsulated:
        target = SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN]  # nothing in it is compressed
    yield rewrite.file_head(file, target)
    data_set = _data_set(file, target, quality)
    yield from rewrite.deflated(data_set) if target.deflated else data_set


def _data_set(file: DicomFile, target: TransferSyntax, quality: Quality) -> Iterator[bytes]:
    if file.pixels is None:
        yield rewrite.attributes(file, target, {})
    elif target.encapsulated:
        image = read_image(file)
        check_frame_size(image)
        yield from _encoded(file, image, target, quality)
    elif file.syntax.encapsulated:
        yield from _decompressed(file, read_image(file), target)
    else:
        yield from _other_encoding(file, target)


def _other_encoding(file: DicomFile, target: TransferSyntax) -> Iterator[bytes]:
    """Yield a native data set in another encoding; its pixels are only swapped, if that."""
    assert file.pixels is not None
    length = file.pixels.end - file.pixels.value
    if file.pixels.undefined or file.pixels.end > file.source.size:
        raise InstanceError("PIXEL_DATA_TRUNCATED")
    word_bytes = 1 if file.encoding.little_endian else word_size(file, read_image(file))
    word = file.pixels.vr != b"OB"
    yield rewrite.attributes(file, target, {})
    yield rewrite.native_element(file, target, length + length % 2, word)
    for chunk in chunks(file.source, file.pixels.value, length):
        yield swap_words(chunk, word_bytes)
    yield bytes(length % 2) + rewrite.tail(file, target, file.pixels.end)


def _decompressed(file: DicomFile, image: ImagePixel, target: TransferSyntax) -> Iterator[bytes]:
    frames = _Decoding(file, image)
    new = frames.image
    length = (new.frame_bits * new.frames + 7) // 8
    if length > _LONGEST_NATIVE:
        raise InstanceError("IMAGE_TOO_LARGE_FOR_TARGET")
    changes = pixel_changes(file, image, new) | frames.lossy
    yield rewrite.attributes(file, target, changes)
    yield rewrite.native_element(file, target, length + length % 2, new.bits_allocated > 8)
    bits = np.empty(0, np.uint8)
    for pixels in frames:
        if new.bits_allocated == 1:  # frames follow each other without padding
            bits = np.concatenate((bits, pixels.reshape(-1)))
            whole = bits.size - bits.size % 8
            yield pack(bits[:whole], new)
            bits = bits[whole:]
        else:
            yield pack(pixels, new)
    yield pack(bits, new) if bits.size else b""
    yield bytes(length % 2) + rewrite.tail(file, target, frames.end)


def _encoded(
    file: DicomFile, image: ImagePixel, target: TransferSyntax, quality: Quality
) -> Iterator[bytes]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        lengths = []
        changes: Changes
        if {file.syntax.uid, target.uid} == {JPEG_BASELINE, JPEG_XL_RECOMPRESSION}:
            stored_frames = EncapsulatedFrames(file, image)
            frames: EncapsulatedFrames | _Decoding = stored_frames
            changes = pixel_changes(file, image, image)
            streams = _recompressed(stored_frames, image, target.uid)
        else:
            frames = _Decoding(file, image)
            chosen = codec(target.uid)
            planned = chosen.plan(frames.image, target.uid)
            changes = pixel_changes(file, image, planned) | frames.lossy
            streams = (
                chosen.encode(pixels, frames.image, planned, target.uid, quality)
                for pixels in frames
            )
        for stream in streams:
            spool.write(stream)
            lengths.append(len(stream))
        if target.lossy and not (
            target.uid == JPEG_BASELINE and isinstance(frames, EncapsulatedFrames)
        ):
            stored = image.rows * image.columns * image.samples * image.bits_stored * image.frames
            changes |= lossy_changes(file, codec(target.uid).method, stored / 8 / sum(lengths))
        offsets = [0]
        for length in lengths:
            offsets.append(offsets[-1] + 8 + length + length % 2)
        offsets.pop()
        if offsets[-1] > 0xFFFFFFFF:
            changes |= extended_offset_table(offsets, lengths)
            offsets = []
        yield rewrite.attributes(file, target, changes)
        yield rewrite.encapsulated_element(offsets)
        spool.seek(0)
        for length in lengths:
            yield rewrite.fragment(spool.read(length))
        yield rewrite.SEQUENCE_DELIMITER + rewrite.tail(file, target, frames.end)


def _recompressed(frames: EncapsulatedFrames, image: ImagePixel, target: str) -> Iterator[bytes]:
    """Yield JPEG streams as JPEG XL or back: the one lossless way between two lossy forms."""
    from transcode import jpegxl

    recompress = jpegxl.to_jpeg if target == JPEG_BASELINE else jpegxl.from_jpeg
    for stream in frames:
        yield recompress(stream, image)


class _Decoding:
    """The decoded frames of an instance, of which the first one tells the colour space.

    Attributes:
        image: the attributes of the decoded frames.
        lossy: the change that a lossy source leaves behind.
        end: where the pixel data ends; after the iteration only.
    """

    def __init__(self, file: DicomFile, image: ImagePixel) -> None:
        assert file.pixels is not None
        self.lossy = was_lossy_changes(file) if file.syntax.uid in _DCT_CODED else {}
        self.end = file.pixels.end
        self._frames: Iterator[Decoded]
        check_frame_size(image)
        if file.syntax.encapsulated:
            self._encapsulated: EncapsulatedFrames | None = EncapsulatedFrames(file, image)
            decode = codec(file.syntax.uid).decode
            self._frames = (decode(stream, image, file.syntax.uid) for stream in self._encapsulated)
        else:
            self._encapsulated = None
            self._frames = _native(file, image)
        self._first = next(self._frames)
        self.image = image._replace(photometric=self._first.photometric, planar=0)

    def __iter__(self) -> Iterator[Pixels]:
        yield self._first.pixels
        for frame in self._frames:
            if frame.photometric != self._first.photometric:
                raise InstanceError("CODE_STREAM_MISMATCH")
            yield frame.pixels
        if self._encapsulated is not None:
            self.end = self._encapsulated.end


def _raw_frames(file: DicomFile, image: ImagePixel, as_stored: bool) -> Iterator[Iterator[bytes]]:
    if file.syntax.encapsulated:
        if as_stored:
            for stream in EncapsulatedFrames(file, image):
                yield iter((stream,))
        else:
            for frame in decoded_frames(file, image):
                yield iter((pack(frame.pixels, image),))
    elif image.bits_allocated == 1:
        for frame in decoded_frames(file, image):
            yield iter((pack(frame.pixels, image),))
    elif not as_stored and not file.encoding.little_endian:
        check_frame_size(image)
        for raw in native_frames(file, image):
            yield iter((raw,))
    else:
        check_native_length(file, image)
        assert file.pixels is not None
        length = image.frame_bits // 8
        for index in range(image.frames):
            yield chunks(file.source, file.pixels.value + index * length, length)


def _pictures(file: DicomFile, image: ImagePixel, renderer: Renderer) -> Iterator[bytes]:
    if renderer.takes_streams:
        for index, stream in enumerate(EncapsulatedFrames(file, image)):
            yield renderer.from_stream(stream, index)
    else:
        for index, frame in enumerate(decoded_frames(file, image)):
            yield renderer.picture(frame, index)
