"""Optimize changes no row."""

import pytest

from dicomferry.resource_names import parse_store
from dicomferry.store import maintenance
from dicomferry.store.dicom_store import create_store
from dicomferry.store.index import Index
from dicomferry.transforms.commit_instances import commit
from tests.factories import make_instance

_EMPTY = b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}"  # zstd of {}


@pytest.fixture
def store(root):
    return create_store(root, parse_store("trial"))


def add(store, number):
    copy = make_instance(
        sop_instance_uid=f"1.2.{number}",
        blob=f"instances/1/1/1.2.{number}/x.dcm",
        size=3,
        sha256="",
        metadata=_EMPTY,
    )
    store.data.write(copy.blob, b"abc")
    commit(store.data, [copy], f"op{number}")
    return copy


def test_a_series_uid_in_two_studies_is_a_series_of_each(store):
    for number, (study, series) in enumerate(
        [("1", "1.5"), ("1", "1.5"), ("2", "1.5"), ("2", "3")]
    ):
        copy = make_instance(
            study_instance_uid=study,
            series_instance_uid=series,
            sop_instance_uid=f"1.2.{number}",
            metadata=_EMPTY,
        )
        commit(store.data, [copy], f"op{number}")
    counts = maintenance.metrics(store)
    assert [counts[f"{name}Count"] for name in ("study", "series", "instance")] == ["2", "3", "4"]


def test_optimize_merges_files_and_keeps_every_row_and_snapshot(store):
    for number in range(5):
        add(store, number)
    before = Index(store.data)
    rows = before.dataset().to_table().sort_by("SOPInstanceUID")
    assert maintenance.optimize(store) == (5, 1)
    after = Index(store.data)
    assert after.dataset().to_table().sort_by("SOPInstanceUID").equals(rows)
    assert Index(store.data, before.version).count() == 5
    assert len(after.lookup(["1.2.3", "9"])) == 1
    add(store, 6)
    assert Index(store.data).count() == 6


def test_a_version_that_is_not_there_is_refused(store):
    with pytest.raises(LookupError, match="newest is 0"):
        Index(store.data, 3)
