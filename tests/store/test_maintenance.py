"""Vacuum takes only what no row points at; optimize changes no row."""

import os
import time

import pytest

from dicomferry.operations.folder import start_operation
from dicomferry.resource_names import parse_store
from dicomferry.store import maintenance
from dicomferry.store.dicom_store import create_store
from dicomferry.store.index import Index
from dicomferry.transforms.commit_instances import commit
from tests.factories import make_instance

_DAY = 86_400


@pytest.fixture
def store(root):
    return create_store(root, parse_store("trial"))


def add(store, number):
    copy = make_instance(
        sop_instance_uid=f"1.2.{number}",
        blob=f"instances/1/1/1.2.{number}/x.dcm",
        size=3,
        sha256="",
        metadata=b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}",  # zstd of {}
    )
    store.data.write(copy.blob, b"abc")
    commit(store.data, [copy], f"op{number}")
    return copy


def age(store, path, days):
    then = time.time() - days * _DAY
    os.utime(os.path.join(store.data.root, path), (then, then))


def test_vacuum_takes_old_blobs_without_a_row_and_no_others(root, store):
    kept = add(store, 1).blob
    store.data.write("instances/1/1/9/orphan.dcm", b"x")
    store.data.write("instances/1/1/9/fresh.dcm", b"x")
    store.data.write("incoming/1-partial", b"x")
    for path in (kept, "instances/1/1/9/orphan.dcm", "incoming/1-partial"):
        age(store, path, 8)
    expected = ["incoming/1-partial", "instances/1/1/9/orphan.dcm"]
    assert maintenance.vacuum(root, store, dry_run=True) == expected
    assert store.data.head("incoming/1-partial") is not None
    assert maintenance.vacuum(root, store) == expected
    left = {entry.path for entry in store.data.list() if "index" not in entry.path}
    assert {kept, "instances/1/1/9/fresh.dcm"} <= left
    assert not left & set(expected)


def test_vacuum_takes_what_was_being_written_when_its_process_was_killed(root, store):
    whole = store.data.uri("instances/1/1/9/orphan.dcm")
    os.makedirs(os.path.dirname(whole))
    for name in ("#1", "#2"):
        with open(whole + name, "wb") as file:
            file.write(b"x")
    eight_days_ago = time.time() - 8 * 86400
    os.utime(f"{whole}#1", (eight_days_ago, eight_days_ago))
    assert maintenance.vacuum(root, store, dry_run=True) == ["instances/1/1/9/orphan.dcm#1"]
    assert maintenance.vacuum(root, store) == ["instances/1/1/9/orphan.dcm#1"]
    assert os.listdir(os.path.dirname(whole)) == ["orphan.dcm#2"]


def test_vacuum_waits_for_running_operations(root, store):
    start_operation(root, store.name, "ImportDicomData")
    with pytest.raises(maintenance.BusyError, match="is running"):
        maintenance.vacuum(root, store)


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
