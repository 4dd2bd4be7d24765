"""One stored instance in the requested form.

Frames are read, decoded, encoded and written one at a time, so an instance of any size needs the
memory of a few frames.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.dicom.dicom_file import DicomFile, open_file
from dicomferry.dicom.range_reader import RangeReader
from dicomferry.dicom.tags import SOP_INSTANCE_UID
from dicomferry.dicom.transfer_syntaxes import SYNTAXES, TransferSyntax
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels import formats
from dicomferry.pixels.decode import each_frame
from dicomferry.pixels.derivation import derive_uid
from dicomferry.pixels.dicom_writer import write_dicom
from dicomferry.pixels.encapsulate import Options, recompresses
from dicomferry.pixels.formats import Format
from dicomferry.pixels.frames import (
    EncapsulatedFrames,
    Fragment,
    check_native_length,
    chunks,
    native_frame,
)
from dicomferry.pixels.image_pixel import ImagePixel, check_frame_size, read_image
from dicomferry.pixels.parallel import FrameMap, in_order, parallel_map_for
from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality
from dicomferry.pixels.render.renderer import Renderer
from dicomferry.pixels.samples import pack


class Output(NamedTuple):
    """One file to be written.

    Attributes:
        frame: its number from 1 in a multi-frame instance that becomes one file a frame, else
            None.
        chunks: its bytes; read them to the end before the next output is requested.
        derived_uid: its SOP Instance UID where that is not the source's, else ''.
    """

    frame: int | None
    chunks: Iterator[bytes]
    derived_uid: str = ""


def can_copy(source_transfer_syntax: str, target: Format) -> bool:
    """Whether the stored bytes already have the requested form, so that the caller copies them."""
    return target.media_type == formats.DICOM and target.transfer_syntax in (
        "*",
        source_transfer_syntax,
    )


def transcode(
    file: RangeReader,
    target: Format,
    quality: Quality = DEFAULT_QUALITY,
    frame_map: FrameMap = in_order,
    derive_uids: bool = False,
) -> Iterator[Output]:
    """Yield the files that `target` makes of one stored instance.

    The result depends on `file`, `target` and `quality` alone. Elements that the pixels do not
    dictate keep their bytes. SOP Instance UID changes with `derive_uids` alone, and where pixels
    become lossy.

    Raises:
        InstanceError: the instance cannot be converted to `target`. It is raised while outputs or
            their chunks are taken, so nothing may get its final name before the last chunk.
    """
    if target.media_type == formats.DICOM and target.transfer_syntax == "*":
        yield Output(None, chunks(file, 0, file.size))
        return
    opened = open_file(file)
    if can_copy(opened.syntax.uid, target):
        yield Output(None, chunks(file, 0, file.size))
    elif target.media_type == formats.DICOM:
        syntax = SYNTAXES[target.transfer_syntax]
        uid = _derived_uid(opened, syntax, quality) if derive_uids else ""
        yield Output(None, write_dicom(opened, syntax, Options(quality, uid), frame_map), uid)
    else:
        if opened.pixels is None:
            raise InstanceError(Reason.NO_PIXEL_DATA)
        image = read_image(opened)
        if target.media_type == formats.OCTET_STREAM:
            outputs = _raw_frames(opened, image, target.transfer_syntax == "*", frame_map)
        else:
            renderer = Renderer(opened, image, target.media_type, quality)
            pictures = _pictures(opened, image, renderer, frame_map)
            outputs = (iter((picture,)) for picture in pictures)
        for index, output in enumerate(outputs):
            yield Output(index + 1 if image.frames > 1 else None, output)


def _derived_uid(file: DicomFile, syntax: TransferSyntax, quality: Quality) -> str:
    if not syntax.lossy or file.pixels is None or recompresses(file.syntax.uid, syntax.uid):
        return ""
    uid = (file.value(SOP_INSTANCE_UID) or b"").strip(b" \0").decode("ascii", "replace")
    return derive_uid(uid, syntax.uid, quality)


def _raw_frames(
    file: DicomFile, image: ImagePixel, as_stored: bool, frame_map: FrameMap
) -> Iterator[Iterator[bytes]]:
    if file.syntax.encapsulated and as_stored:
        for stream in EncapsulatedFrames(file, image):
            yield iter((stream,))
    elif file.syntax.encapsulated or image.bits_allocated == 1:
        for raw in each_frame(file, image, lambda frame, _: pack(frame.pixels, image), frame_map):
            yield iter((raw,))
    elif not as_stored and not file.encoding.little_endian:
        check_frame_size(image)
        check_native_length(file, image)
        for index in range(image.frames):
            yield iter((native_frame(file, image, index),))
    else:
        check_native_length(file, image)
        assert file.pixels is not None
        length = image.frame_bits // 8
        for index in range(image.frames):
            yield chunks(file.source, file.pixels.value + index * length, length)


def _pictures(
    file: DicomFile, image: ImagePixel, renderer: Renderer, frame_map: FrameMap
) -> Iterator[bytes]:
    if not renderer.takes_streams:
        yield from each_frame(file, image, renderer.picture, frame_map)
        return
    frames = EncapsulatedFrames(file, image)

    def picture(numbered: tuple[int, list[Fragment]]) -> bytes:
        index, place = numbered
        return renderer.from_stream(frames.read(place), index)

    yield from parallel_map_for(file, image, frame_map)(picture, enumerate(frames.located()))
