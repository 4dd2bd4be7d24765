"""The frames of an instance, decoded one at a time from any transfer syntax."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.attributes import Loss, untold_loss
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.frames import EncapsulatedFrames, check_native_length, native_frame
from dicomferry.pixels.image_pixel import ImagePixel, check_frame_size
from dicomferry.pixels.parallel import FrameMap, in_order, parallel_map_for
from dicomferry.pixels.samples import Decoded, Pixels, unpack

R = TypeVar("R")


def decoded_frames(file: DicomFile, image: ImagePixel) -> Iterator[Decoded]:
    """Yield the frames of an instance, decoded one at a time.

    Raises:
        InstanceError: the code says what is wrong with which part.
    """
    return each_frame(file, image, lambda frame, _: frame)


def each_frame(
    file: DicomFile,
    image: ImagePixel,
    work: Callable[[Decoded, int], R],
    frame_map: FrameMap = in_order,
) -> Iterator[R]:
    """Yield what `work` makes of each decoded frame and its index from 0, in their order.

    Raises:
        InstanceError: the code says what is wrong with which part.
    """
    stored = _Stored(file, image)

    def one(numbered: tuple[int, Any]) -> R:
        index, place = numbered
        return work(stored.decode(stored.read(place)), index)

    yield from parallel_map_for(file, image, frame_map)(one, enumerate(stored.places))


class _Stored:
    """Where the frames of an instance are, and how one is decoded.

    Attributes:
        places: one a frame, in their order; iterate once.
        encapsulated: None of native frames.
    """

    def __init__(self, file: DicomFile, image: ImagePixel) -> None:
        check_frame_size(image)
        self._file = file
        self._image = image
        self.places: Iterable[Any]
        self.encapsulated: EncapsulatedFrames | None = None
        if file.syntax.encapsulated:
            self.encapsulated = EncapsulatedFrames(file, image)
            self.places = self.encapsulated.located()
        else:
            check_native_length(file, image)
            self.places = range(image.frames)

    def read(self, place: Any) -> Any:
        if self.encapsulated is not None:
            return self.encapsulated.read(place)
        return native_frame(self._file, self._image, place), place

    def decode(self, stored: Any) -> Decoded:
        file, image = self._file, self._image
        if self.encapsulated is not None:
            return codec(file.syntax.uid).decode(stored, image, file.syntax.uid)
        raw, index = stored
        photometric = "YBR_FULL" if image.photometric == "YBR_FULL_422" else image.photometric
        return Decoded(unpack(raw, image, index), photometric)

    def untold_losses(self, stored: Any) -> list[Loss]:
        """Return what a frame's stream shows, and the attributes do not tell."""
        if self.encapsulated is None:
            return []
        syntax = self._file.syntax.uid
        method = codec(syntax).loss(stored, syntax)
        if not method:
            return []
        return untold_loss(self._file, Loss(method, self._image.stored_bytes / len(stored)))


class Decoding:
    """The decoded frames of an instance; the first one determines the color space.

    Attributes:
        image: the attributes of the decoded frames.
        losses: of the stored streams; the attributes do not tell of it.
        end: where the pixel data ends; after the last frame only.
    """

    def __init__(self, file: DicomFile, image: ImagePixel, frame_map: FrameMap = in_order) -> None:
        assert file.pixels is not None
        self.end = file.pixels.end
        self._stored = _Stored(file, image)
        self._places = iter(self._stored.places)
        first = self._stored.read(next(self._places))
        self._first = self._stored.decode(first)
        self.losses = self._stored.untold_losses(first)
        self._parallel_map = parallel_map_for(file, image, frame_map)
        self.image = image._replace(photometric=self._first.photometric, planar=0)

    def __iter__(self) -> Iterator[Pixels]:
        return self.map(lambda pixels: pixels)

    def map(self, work: Callable[[Pixels], R]) -> Iterator[R]:
        """Yield what `work` makes of each frame, in their order; once."""

        def one(place: Any) -> R:
            frame = self._stored.decode(self._stored.read(place))
            if frame.photometric != self._first.photometric:
                raise InstanceError(Reason.CODE_STREAM_MISMATCH)
            return work(frame.pixels)

        yield from chain(map(work, (self._first.pixels,)), self._parallel_map(one, self._places))
        if self._stored.encapsulated is not None:
            self.end = self._stored.encapsulated.end
