"""The frames of an instance as the streams of a compressed transfer syntax, one at a time.

Each class has the iterator `streams`, which is taken once. After that there are `changes`, which
returns the changes of the attributes, and `end`, where the stored pixel data ends.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.reencode import Changes
from dicomferry.dicom.transfer_syntaxes import JPEG_BASELINE, JPEG_XL_RECOMPRESSION, TransferSyntax
from dicomferry.pixels.attributes import (
    Loss,
    loss_changes,
    pixel_changes,
    tells_of_loss,
    untold_loss,
)
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.decode import Decoding
from dicomferry.pixels.derivation import derived_changes, uid_changes
from dicomferry.pixels.frames import EncapsulatedFrames
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.overlays import overlay_changes, plane_of
from dicomferry.pixels.parallel import FrameMap, parallel_map_for
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.samples import Pixels, stored_values


class Options(NamedTuple):
    """How frames are made lossy.

    Attributes:
        quality: settings of the encoders.
        derived_uid: the SOP Instance UID of the result; '' for the source's.
    """

    quality: Quality
    derived_uid: str = ""


def recompresses(source: str, target: str) -> bool:
    """Whether a way from one transfer syntax to another is that of `Recompressed`."""
    return {source, target} == {JPEG_BASELINE, JPEG_XL_RECOMPRESSION}


class Recompressed:
    """JPEG streams as JPEG XL or back: the one lossless way between two lossy forms."""

    def __init__(
        self, file: DicomFile, image: ImagePixel, target: TransferSyntax, frame_map: FrameMap
    ) -> None:
        from dicomferry.pixels.codecs import jpegxl

        self._file, self._image = file, image
        self._frames = frames = EncapsulatedFrames(file, image)
        recompress = jpegxl.to_jpeg if target.uid == JPEG_BASELINE else jpegxl.from_jpeg
        in_parallel = parallel_map_for(file, image, frame_map)
        self.streams: Iterator[bytes] = in_parallel(
            lambda place: recompress(frames.read(place), image), frames.located()
        )

    def changes(self, ratio: float) -> Changes:
        """Return the changes.

        Args:
            ratio: bytes of the stored bits to bytes of the streams.
        """
        losses = untold_loss(self._file, Loss(codec(JPEG_BASELINE).method, ratio))
        changes = pixel_changes(self._file, self._image, self._image)
        return changes | loss_changes(self._file, losses)

    @property
    def end(self) -> int:
        """Where the stored pixel data ends."""
        return self._frames.end


class Reencoded:
    """Frames that are decoded and encoded.

    No bit but those of the values enters a lossy encoder, which would mix it with them: overlays in
    other bits become Overlay Data. A lossless one keeps all bits that mean something.
    """

    def __init__(
        self,
        file: DicomFile,
        image: ImagePixel,
        target: TransferSyntax,
        options: Options,
        frame_map: FrameMap,
    ) -> None:
        self._file, self._image, self._target = file, image, target
        self._derived_uid = options.derived_uid
        self._decoding = Decoding(file, image, frame_map)
        decoded = self._decoding.image
        self._source = decoded.of_values if target.lossy else decoded
        self._planned = codec(target.uid).plan(self._source, target.uid)
        self._planes: list[tuple[bytes, ...]] = []
        self.streams = self._encoded(options.quality)

    def _encoded(self, quality: Quality) -> Iterator[bytes]:
        chosen, target = codec(self._target.uid), self._target
        decoded, source, planned = self._decoding.image, self._source, self._planned
        overlays = decoded.overlays if target.lossy else ()

        def encode(pixels: Pixels) -> tuple[bytes, tuple[bytes, ...]]:
            planes = tuple(plane_of(pixels, bit) for _, bit in overlays)
            if target.lossy:
                pixels = stored_values(pixels, decoded)
            return chosen.encode(pixels, source, planned, target.uid, quality), planes

        for stream, planes in self._decoding.map(encode):
            self._planes.append(planes)
            yield stream

    def changes(self, ratio: float) -> Changes:
        """Return the changes.

        Args:
            ratio: bytes of the stored bits to bytes of the streams.
        """
        file, losses = self._file, self._decoding.losses
        changes = pixel_changes(file, self._image, self._planned)
        if self._target.lossy:
            if self._derived_uid:
                was_lossy = bool(losses) or tells_of_loss(file)
                changes |= uid_changes(file, self._derived_uid, was_lossy)
            loss = Loss(codec(self._target.uid).method, ratio)
            losses = [*losses, loss]
            changes |= derived_changes(file, loss)
            changes |= overlay_changes(self._image, self._planes)
        return changes | loss_changes(file, losses)

    @property
    def end(self) -> int:
        """Where the stored pixel data ends."""
        return self._decoding.end
