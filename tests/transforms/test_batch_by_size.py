"""Pieces of work: whole, in order, within their limits, and no more of them than needed."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dicomferry.transforms.batch_by_size import batch_by_size


@given(st.lists(st.integers(0, 20)), st.integers(1, 5), st.integers(0, 30))
def test_pieces_keep_all_in_order_within_the_limits(sizes, most, most_bytes):
    pieces = list(batch_by_size(sizes, int, most, most_bytes))
    assert list(itertools.chain.from_iterable(pieces)) == sizes
    assert all(pieces)
    for piece in pieces:
        assert len(piece) <= most
        assert len(piece) == 1 or sum(piece) <= most_bytes
    for piece, following in itertools.pairwise(pieces):
        assert len(piece) == most or sum(piece) + following[0] > most_bytes
