"""Resource names become folders that hold on every file system."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.resource_names import (
    DatasetName,
    ResourceNameError,
    StoreName,
    id_folder,
    parse_store,
)

ids = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=256
)


@given(ids, ids, ids, ids)
def test_a_full_name_reads_back_as_written(project, location, dataset, store):
    name = StoreName(DatasetName(project, location, dataset), store)
    assert parse_store(str(name)) == name


@given(ids, ids)
def test_folders_are_short_portable_and_as_distinct_as_their_ids(one, other):
    for folder in (id_folder(one), id_folder(other)):
        assert len(folder.encode()) <= 64
        assert folder == folder.lower()
        assert folder not in (".", "..")
        assert "/" not in folder
    assert (id_folder(one) == id_folder(other)) == (one == other)


def test_a_short_id_stands_in_the_local_dataset():
    name = parse_store("trial")
    assert str(name) == "projects/local/locations/local/datasets/default/dicomStores/trial"


@pytest.mark.parametrize(
    "text", ["", "a/b", "projects/p/dicomStores/s", "x" * 257, "a\nb", "a\x9bb", "\ud800"]
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ResourceNameError):
        parse_store(text)
