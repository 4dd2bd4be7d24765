"""application/dicom: one stored instance as a DICOM file in another transfer syntax.

Encoded frames wait in a temporary file (64 MiB of them in memory) until all their lengths are
known: the header, which goes before them, holds the offset table and the compression ratio.
"""

import tempfile
from collections.abc import Iterator

import numpy as np

from dicomferry.dicom import part10_writer
from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.reencode import Changes, join, mend_group_lengths
from dicomferry.dicom.tags import PIXEL_REPRESENTATION
from dicomferry.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    SYNTAXES,
    TransferSyntax,
)
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.attributes import extended_offset_table, loss_changes, pixel_changes
from dicomferry.pixels.decode import Decoding
from dicomferry.pixels.encapsulate import Options, Recompressed, Reencoded, recompresses
from dicomferry.pixels.frames import chunks, swap_words, word_size
from dicomferry.pixels.image_pixel import ImagePixel, check_frame_size, read_image
from dicomferry.pixels.nested_pixels import reencode_readable
from dicomferry.pixels.parallel import FrameMap, in_order
from dicomferry.pixels.samples import pack

_IN_MEMORY = 64 << 20
_MAX_NATIVE_BYTES = 0xFFFFFFFE


def write_dicom(
    file: DicomFile, target: TransferSyntax, options: Options, frame_map: FrameMap = in_order
) -> Iterator[bytes]:
    """Yield the file in `target`, piece by piece.

    Raises:
        InstanceError: the pixels cannot be read, or do not fit; the code says why.
    """
    if file.pixels is None and target.encapsulated:
        target = SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN]  # nothing in it is compressed
    yield part10_writer.file_head(file, target, options.derived_uid)
    data_set = _data_set(file, target, options, frame_map)
    yield from part10_writer.deflated(data_set) if target.deflated else data_set


def _data_set(
    file: DicomFile, target: TransferSyntax, options: Options, frame_map: FrameMap
) -> Iterator[bytes]:
    if file.pixels is None:
        yield _attributes(file, target, {})
    elif target.encapsulated:
        yield from _encoded(file, target, options, frame_map)
    elif file.syntax.encapsulated:
        yield from _decompressed(file, read_image(file), target, frame_map)
    else:
        yield from _other_encoding(file, target)


def _other_encoding(file: DicomFile, target: TransferSyntax) -> Iterator[bytes]:
    """Yield a native data set in another encoding; its pixels are only swapped, if that."""
    assert file.pixels is not None
    length = file.pixels.end - file.pixels.value
    if file.pixels.undefined or file.pixels.end > file.source.size:
        raise InstanceError(Reason.PIXEL_DATA_TRUNCATED)
    word_bytes = 1 if file.encoding.little_endian else word_size(file, read_image(file))
    word = file.pixels_vr != b"OB"
    yield _attributes(file, target, {})
    yield part10_writer.native_element(file, target, length + length % 2, word)
    for chunk in chunks(file.source, file.pixels.value, length):
        yield swap_words(chunk, word_bytes)
    yield bytes(length % 2) + _tail(file, target, file.pixels.end)


def _decompressed(
    file: DicomFile, image: ImagePixel, target: TransferSyntax, frame_map: FrameMap
) -> Iterator[bytes]:
    frames = Decoding(file, image, frame_map)
    new = frames.image
    length = (new.frame_bits * new.frames + 7) // 8
    if length > _MAX_NATIVE_BYTES:
        raise InstanceError(Reason.IMAGE_TOO_LARGE_FOR_TARGET)
    changes = pixel_changes(file, image, new) | loss_changes(file, frames.losses)
    yield _attributes(file, target, changes)
    yield part10_writer.native_element(file, target, length + length % 2, new.bits_allocated > 8)
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
    yield bytes(length % 2) + _tail(file, target, frames.end)


def _encoded(
    file: DicomFile, target: TransferSyntax, options: Options, frame_map: FrameMap
) -> Iterator[bytes]:
    image = read_image(file)
    check_frame_size(image)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        lengths = []
        if recompresses(file.syntax.uid, target.uid):
            coder: Recompressed | Reencoded = Recompressed(file, image, target, frame_map)
        else:
            coder = Reencoded(file, image, target, options, frame_map)
        for stream in coder.streams:
            spool.write(stream)
            lengths.append(len(stream))
        changes = coder.changes(image.stored_bytes * image.frames / sum(lengths))
        offsets = [0]
        for length in lengths:
            offsets.append(offsets[-1] + 8 + length + length % 2)
        offsets.pop()
        if offsets[-1] > 0xFFFFFFFF:
            changes |= extended_offset_table(offsets, lengths)
            offsets = []
        yield _attributes(file, target, changes)
        yield part10_writer.encapsulated_element(offsets)
        spool.seek(0)
        for length in lengths:
            yield part10_writer.fragment(spool.read(length))
        yield part10_writer.SEQUENCE_DELIMITER + _tail(file, target, coder.end)


def _attributes(file: DicomFile, syntax: TransferSyntax, changes: Changes) -> bytes:
    """Return the data set up to its pixel data, in the encoding of `syntax`, with `changes`."""
    target = syntax.encoding
    kept = reencode_readable(file, target)
    if changes:
        kept = join(kept, changes, target.explicit)
    groups = frozenset(tag >> 16 for tag in changes) | {0x7FE0}
    mended = mend_group_lengths(kept, target.explicit, groups if target == file.encoding else None)
    return b"".join(data for _, data in mended)


def _tail(file: DicomFile, syntax: TransferSyntax, offset: int) -> bytes:
    """Return the elements after the pixel data, which ends at `offset`, encoded as in `syntax`."""
    buffer, elements = file.tail(offset)
    after = file._replace(buffer=buffer, elements=elements)
    signed = any(file.value(PIXEL_REPRESENTATION) or b"")
    return b"".join(data for _, data in reencode_readable(after, syntax.encoding, signed))
