"""Cut work into pieces that are worth handing over."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batch_by_size(
    elements: Iterable[T], size: Callable[[T], int], most: int, most_bytes: int
) -> Iterator[list[T]]:
    """Cut elements, in their order, into pieces; a larger element is a piece of its own.

    Args:
        elements: what to cut.
        size: bytes of an element.
        most: elements in a piece.
        most_bytes: bytes in a piece of more than one element.
    """
    piece: list[T] = []
    piece_bytes = 0
    for element in elements:
        if piece and (len(piece) == most or piece_bytes + size(element) > most_bytes):
            yield piece
            piece, piece_bytes = [], 0
        piece.append(element)
        piece_bytes += size(element)
    if piece:
        yield piece
