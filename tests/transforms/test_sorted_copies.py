"""Copies come out in the order of the index and of dedupe, whole where they are wanted so."""

import io

from hypothesis import given
from hypothesis import strategies as st

from dicomferry.transforms.dedupe import by_source
from dicomferry.transforms.sorted_copies import SortedCopies
from tests.factories import make_instance

# Names of files can be any bytes, and come as surrogates where they are no UTF-8.
copies = st.lists(
    st.builds(
        make_instance,
        sop_instance_uid=st.sampled_from(["1.2", "1.10", "1.2.3"]),
        source_uri=st.sampled_from(["/a", "/b", "/é", "/\ud800", "/\udcff", "/\U0001f600"]),
        source_version=st.sampled_from("12"),
        blob=st.sampled_from(["x", "y"]),
        sha256=st.sampled_from(["", "aa"]),
        size=st.integers(0, 2**40),
        metadata=st.binary(max_size=4),
        number_of_frames=st.integers(0, 10**30),
        stored=st.floats(0, 2**31),
    ),
    max_size=20,
)


def order(copy):
    return copy.sop_instance_uid, by_source(copy)


def light(copy):
    """What a verdict needs."""
    return copy._replace(
        sop_class_uid="",
        transfer_syntax_uid="",
        modality="",
        number_of_frames=1,
        metadata=b"",
        structured_size=0,
    )


@given(copies)
def test_they_are_sorted_light_and_whole(instances):
    found = SortedCopies(iter(instances), io.BytesIO())
    wholes = [found.whole(number) for number in range(len(found))]
    assert sorted(wholes) == sorted(instances)
    assert list(map(order, wholes)) == sorted(map(order, instances))
    assert list(found) == list(map(light, wholes))
    assert found.uids() == sorted({each.sop_instance_uid for each in instances})


@given(copies, st.data())
def test_some_can_be_left_out(instances, data):
    found = SortedCopies(instances, io.BytesIO())
    numbers = data.draw(st.sets(st.sampled_from(range(len(found))))) if instances else set()
    left = found.without(numbers)
    expected = [found.whole(n) for n in range(len(found)) if n not in numbers]
    assert [left.whole(number) for number in range(len(left))] == expected
    assert list(left) == list(map(light, expected))
