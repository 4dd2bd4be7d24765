"""Of the files that others commit, only those are compared whose bounds meet."""

from hypothesis import given
from hypothesis import strategies as st

from dicomferry.store.index_files import IndexFile
from dicomferry.store.index_rivals import overlapping

BOUNDS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 20)), max_size=12)


def files(bounds):
    return [
        IndexFile(str(number), 1, f"1.2.{first:03}", f"1.2.{first + length:03}")
        for number, (first, length) in enumerate(bounds)
    ]


@given(BOUNDS, BOUNDS)
def test_files_are_found_that_overlap_any_other(bounds, others):
    some, rivals = files(bounds), files(others)
    expected = [
        file
        for file in some
        if any(rival.first <= file.last and file.first <= rival.last for rival in rivals)
    ]
    assert overlapping(some, rivals) == expected
