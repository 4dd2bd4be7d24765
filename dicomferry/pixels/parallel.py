"""Processing the frames of one instance in parallel.

The caller of `transcode` knows which cores are idle, so it passes the means: a function that acts
as `map` does, in order, but may apply the function in several forks of this process at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.pixels.image_pixel import ImagePixel

T = TypeVar("T")
R = TypeVar("R")

_MIN_FRAMES = 8
# Several are in memory at once, each with the buffers of its codec.
_MAX_FRAME_BYTES = 16 << 20


class FrameMap(Protocol):
    """Applies a function to items, as `map` does.

    Items and results can be pickled; the function is called in this process and in forks of it.
    """

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Yield the results in the order of the items."""


def in_order(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
    """Apply a function to one item after the other.

    Unlike `map`, no StopIteration of the function ends it early, with results missing.
    """
    for item in items:
        yield function(item)


def parallel_map_for(file: DicomFile, image: ImagePixel, frame_map: FrameMap) -> FrameMap:
    """Return `frame_map` where it is faster and safe, else `in_order`."""
    if image.frames < _MIN_FRAMES or image.decoded_size > _MAX_FRAME_BYTES:
        return in_order
    # An inflated data set is a temporary file, whose position forks would share.
    return in_order if file.syntax.deflated else frame_map
