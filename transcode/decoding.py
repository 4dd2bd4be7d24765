"""The frames of an instance, decoded one at a time whatever they are stored as."""

from collections.abc import Iterator

from headers.failures import InstanceError
from transcode.attributes import was_lossy_changes
from transcode.codecs import codec
from transcode.dataset import DicomFile
from transcode.frames import EncapsulatedFrames, native_frames
from transcode.image import ImagePixel, check_frame_size
from transcode.pixels import Decoded, Pixels, unpack
from transcode.syntaxes import (
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_PROGRESSION,
    JPEG_SPECTRAL,
    JPEG_XL_RECOMPRESSION,
)

_DCT_CODED = frozenset(
    {JPEG_BASELINE, JPEG_EXTENDED, JPEG_SPECTRAL, JPEG_PROGRESSION, JPEG_XL_RECOMPRESSION}
)


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


class Decoding:
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
