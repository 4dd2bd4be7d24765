"""UIDs that files share are found by their hashes, whatever the files are and however many."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomferry.store.uid_hashes import HashedFiles, hashes_of

UIDS = st.sets(st.integers(0, 60).map("1.2.{}".format), max_size=8)


def hashes(uids):
    return hashes_of(pa.chunked_array([pa.array(list(uids), pa.string())]))


@settings(max_examples=40)
@given(st.lists(UIDS, max_size=6), st.lists(UIDS, max_size=4), UIDS)
def test_the_files_are_found_that_share_a_uid(first, later, wanted):
    files = {str(number): uids for number, uids in enumerate(first + later)}
    hashed = HashedFiles()
    for some in (range(len(first)), range(len(first), len(files))):  # some are added later
        hashed.add({str(number): hashes(files[str(number)]) for number in some})
    assert all(path in hashed for path in files)
    assert hashed.having(hashes(wanted)) == {p for p, uids in files.items() if uids & wanted}


def test_hashes_that_are_the_same_by_chance_hide_no_file():
    hashed = HashedFiles()
    numbers = np.array([1 << 40, 1 << 50], np.uint64)
    hashed.add({"a": numbers, "b": numbers[:1], "c": numbers[1:], "d": numbers})
    assert hashed.having(numbers[:1]) == {"a", "b", "d"}


def test_a_uid_has_one_hash_however_it_is_kept():
    uids = ["", "1.2", "1.2.3", "1.2.30", "1" * 64, "1" * 70, "é" * 40, None]
    whole = pa.chunked_array([pa.array(uids)])
    apart = pa.chunked_array([pa.array(["x", *uids[:3]]).slice(1), pa.array(uids[3:])])
    assert hashes_of(apart).tolist() == hashes_of(whole).tolist()
    assert hashes_of(whole.cast(pa.large_string())).tolist() == hashes_of(whole).tolist()
    assert len(set(hashes_of(whole).tolist())) == len(uids) - 2, "null is as empty, and 70 as 64"
    assert len(hashes_of(whole.slice(0, 0))) == 0


def test_many_uids_have_as_many_hashes():
    uids = pa.chunked_array([pa.array([f"1.2.840.{number}" for number in range(10**5)])])
    assert len(np.unique(hashes_of(uids) >> np.uint64(12))) == 10**5
