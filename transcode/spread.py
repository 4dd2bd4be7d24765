"""How the frames of one instance may be worked on at once.

Whoever calls `transcode` knows what is idle, so the way is theirs to give: something that acts as
`map` does, in order, but may apply the function in forks of this process, several at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from transcode.dataset import DicomFile
from transcode.image import ImagePixel

T = TypeVar("T")
R = TypeVar("R")

_FEWEST_FRAMES = 8
# Several are in memory at once, and what a codec needs beside each.
_LARGEST_FRAME = 16 << 20


class Spread(Protocol):
    """Applies a function to items, as `map` does.

    Items and results can be pickled; the function is called in this process and in forks of it.
    """

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Yield the results in the order of the items."""


def in_order(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
    """Apply a function to one item after the other."""
    return map(function, items)


def spread_for(file: DicomFile, image: ImagePixel, spread: Spread) -> Spread:
    """Return `spread` where it pays and cannot harm, else one frame after the other."""
    if image.frames < _FEWEST_FRAMES or image.decoded_size > _LARGEST_FRAME:
        return in_order
    # What was inflated lies in a temporary file, whose position forks would share.
    return in_order if file.syntax.deflated else spread
