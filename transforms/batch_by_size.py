"""Batches of elements that are worth handing to another process."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batch_by_size(
    elements: Iterable[T], size: Callable[[T], int], max_elements: int, max_bytes: int
) -> Iterator[list[T]]:
    """Yield elements in batches, in their order; a larger element is a batch of its own.

    Args:
        elements: the elements.
        size: returns the bytes of an element.
        max_elements: of a batch.
        max_bytes: of a batch of more than one element.
    """
    batch: list[T] = []
    batch_bytes = 0
    for element in elements:
        if batch and (len(batch) == max_elements or batch_bytes + size(element) > max_bytes):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(element)
        batch_bytes += size(element)
    if batch:
        yield batch
