"""application/dicom: one stored instance as a DICOM file in another transfer syntax.

Encoded frames wait in a temporary file (64 MiB of them in memory) until all their lengths are
known: the header, which goes before them, holds the offset table and the compression ratio.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

from headers.failures import InstanceError
from transcode import rewrite
from transcode.attributes import (
    Changes,
    extended_offset_table,
    lossy_changes,
    pixel_changes,
    was_lossy_changes,
)
from transcode.codecs import codec
from transcode.dataset import DicomFile
from transcode.decoding import Decoding
from transcode.frames import EncapsulatedFrames, chunks, swap_words, word_size
from transcode.image import ImagePixel, check_frame_size, read_image
from transcode.pixels import pack
from transcode.quality import Quality
from transcode.spread import Spread, in_order, spread_for
from transcode.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    JPEG_BASELINE,
    JPEG_XL_RECOMPRESSION,
    SYNTAXES,
    TransferSyntax,
)

_IN_MEMORY = 64 << 20
_LONGEST_NATIVE = 0xFFFFFFFE


def write_dicom(
    file: DicomFile, target: TransferSyntax, quality: Quality, spread: Spread = in_order
) -> Iterator[bytes]:
    """Yield the file in `target`, piece by piece.

    Raises:
        InstanceError: the pixels cannot be read, or do not fit; the code says why.
    """
    if file.pixels is None and target.encapsulated:
        target = SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN]  # nothing in it is compressed
    yield rewrite.file_head(file, target)
    data_set = _data_set(file, target, quality, spread)
    yield from rewrite.deflated(data_set) if target.deflated else data_set


def _data_set(
    file: DicomFile, target: TransferSyntax, quality: Quality, spread: Spread
) -> Iterator[bytes]:
    if file.pixels is None:
        yield rewrite.attributes(file, target, {})
    elif target.encapsulated:
        image = read_image(file)
        check_frame_size(image)
        yield from _encoded(file, image, target, quality, spread)
    elif file.syntax.encapsulated:
        yield from _decompressed(file, read_image(file), target, spread)
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


def _decompressed(
    file: DicomFile, image: ImagePixel, target: TransferSyntax, spread: Spread
) -> Iterator[bytes]:
    frames = Decoding(file, image, spread)
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
    file: DicomFile, image: ImagePixel, target: TransferSyntax, quality: Quality, spread: Spread
) -> Iterator[bytes]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        lengths = []
        changes: Changes
        added_loss = target.lossy
        if {file.syntax.uid, target.uid} == {JPEG_BASELINE, JPEG_XL_RECOMPRESSION}:
            stored_frames = EncapsulatedFrames(file, image)
            frames: EncapsulatedFrames | Decoding = stored_frames
            changes = pixel_changes(file, image, image) | was_lossy_changes(file)
            streams = _recompressed(
                stored_frames, image, target.uid, spread_for(file, image, spread)
            )
            added_loss = False
        else:
            frames = decoding = Decoding(file, image, spread)
            chosen = codec(target.uid)
            planned = chosen.plan(decoding.image, target.uid)
            changes = pixel_changes(file, image, planned) | decoding.lossy
            streams = decoding.map(
                lambda pixels: chosen.encode(pixels, decoding.image, planned, target.uid, quality)
            )
        for stream in streams:
            spool.write(stream)
            lengths.append(len(stream))
        if added_loss:
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


def _recompressed(
    frames: EncapsulatedFrames, image: ImagePixel, target: str, spread: Spread
) -> Iterator[bytes]:
    """Return JPEG streams as JPEG XL or back: the one lossless way between two lossy forms."""
    from transcode import jpegxl

    recompress = jpegxl.to_jpeg if target == JPEG_BASELINE else jpegxl.from_jpeg
    return spread(lambda place: recompress(frames.read(place), image), frames.located())
