"""What a preview shows of a store that has more than a page can hold."""

from collections import Counter

import pytest

from dicomferry.console import preview
from dicomferry.console.queries.contents import Contents, contents_of
from dicomferry.errors import InstanceError, Reason
from dicomferry.store.dicom_store import get_store
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.transforms.commit_instances import commit
from tests.factories import make_instance
from tests.pipelines.jobs import STORE, new_store

_EMPTY = b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}"  # zstd of {}


@pytest.fixture
def data(root):
    """A store with 6 series of CT, 2 of MR and one without a modality, of two instances each."""
    store = new_store(root)
    kinds = ["CT"] * 6 + ["MR"] * 2 + [""]
    copies = [
        make_instance(
            study_instance_uid=f"1.{series % 2}",
            series_instance_uid=f"1.5.{series // 2}",
            sop_instance_uid=f"1.9.{series}.{number}",
            blob=f"instances/1.{series % 2}/1.5.{series // 2}/1.9.{series}.{number}/ab.dcm",
            modality=modality,
            number_of_frames=10 if modality == "MR" else 1,
            size=700,
            metadata=_EMPTY,
        )
        for series, modality in enumerate(kinds)
        for number in range(2)
    ]
    commit(store.data, copies, "op")
    return get_store(root, STORE).data


def test_some_of_every_modality_are_chosen_and_all_are_counted(data):
    contents = contents_of(data, None, 5)
    assert contents[1:] == (9, 18, 54, 12_600)
    assert Counter(series.modality for series in contents.shown) == {"": 1, "CT": 2, "MR": 2}
    assert all(series.instances == 2 for series in contents.shown)
    assert len(contents_of(data, None, 100).shown) == 9


def test_a_filter_comes_before_the_limit(data):
    paths = InstanceFilter(frozenset({"1.1"}), frozenset({"1.0/1.5.0"}), frozenset())
    contents = contents_of(data, paths, 2)
    assert (contents.series, contents.instances) == (5, 10)
    assert len(contents.shown) == 2


def test_an_empty_store_has_nothing(root):
    assert contents_of(new_store(root).data, None, 5) == Contents([])
    assert "<p>No instances.</p>" in "".join(preview_of(root, Contents([])))


def preview_of(root, contents):
    return preview.preview_page(get_store(root, STORE).data, "a <b>", contents, 1)


def test_only_what_is_shown_is_drawn_and_the_page_says_what_it_left_out(root, data, monkeypatch):
    drawn = []

    class Pool:
        def __init__(self, _):
            pass

        def map(self, _, chunks, *__):
            for [(blob, _size)] in chunks:
                drawn.append(blob)
                yield [InstanceError(Reason.NO_PIXEL_DATA)]

        def close(self):
            pass

    monkeypatch.setattr(preview, "WorkerPool", Pool)
    page = "".join(preview_of(root, contents_of(data, None, 3)))
    assert len(drawn) == page.count("<figure>") == 3
    assert "<p>9 series, 18 instances, 54 frames, 12.6 kB</p>" in page
    assert "3 of 9 series are shown" in page
    assert "<h1>a &lt;b&gt;</h1>" in page
    assert "<b>CT</b> 2 instances<small>1.4 kB" in page
    assert "<b>MR</b> 2 instances, 20 frames<small>" in page
