"""Whatever a power cut leaves on a disk is whole, and the same job again completes it.

A job runs on a real file system; at many moments it is stopped, and what the disk holds is copied.
Needs root and loop mounts: test_power_cut_states.py has what any file system may leave, without
either.
"""

import os

import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.verification import verify
from tests.factories import dicom_bytes
from tests.faults.conftest import RUNS
from tests.faults.power_cuts import after_cut, cut, disk
from tests.pipelines.jobs import (
    STORE,
    check_blobs,
    exported,
    new_store,
    operation_folders,
    rows,
    run_export,
    run_import,
    tree,
    write_files,
)

# 20 of imports and exports in each run of the tests; more than 100 a job does not last for.
MOMENTS = min(5 + 5 * RUNS, 50)
FILES = {
    f"{n:03d}.dcm": dicom_bytes(
        sop=f"1.2.1.1.{n}", series=f"1.2.1.{n % 10}", pixels=os.urandom(5000 + 37 * n)
    )
    for n in range(120)
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("source"), FILES)


@pytest.fixture(scope="module")
def imports(source):
    """The disk of an import, at many moments."""
    with disk() as used:
        root = open_storage(f"{used.folder}/root")
        new_store(root)
        flags = [f"--store={STORE.id}", f"--root={root.root}", f"--source={source}", "--workers=2"]
        blobs = get_store(root, STORE).data.local_path("instances")
        yield cut(used, "import_dicom", flags, MOMENTS, lambda: os.path.exists(blobs))


@pytest.fixture(scope="module")
def exports(source):
    """The disk of an export, at many moments."""
    with disk() as used:
        root = open_storage(f"{used.folder}/root")
        new_store(root)
        assert run_import(root, source).code == 0
        out = f"{used.folder}/out"
        flags = [f"--store={STORE.id}", f"--root={root.root}", f"--destination={out}"]
        yield cut(used, "export_dicom", flags, MOMENTS, lambda: os.path.exists(out))


def check_store(root, count=None):
    """All rows have their bytes, and all operations can be read; return the records."""
    found = list(verify(get_store(root, STORE)))
    assert not [finding for finding in found if finding.problem]
    if count is not None:
        assert len(found) == len(rows(root)) == count
    return [folder.read() for folder in operation_folders(root)]


def test_an_import_whose_power_was_cut_is_completed_by_another(imports, source):
    assert len(set(imports)) == MOMENTS
    for image in imports:
        with after_cut(image) as folder:
            root = open_storage(f"{folder}/root")
            records = check_store(root)
            if any(record.done and not record.error for record in records):
                check_store(root, len(FILES))
            again = run_import(root, source)
            assert again.code == 0, again.operation
            assert set(again.kinds) <= {"imported", "duplicate", "skipped"}
            check_store(root, len(FILES))
            check_blobs(root)


def test_an_export_whose_power_was_cut_is_completed_by_another(exports):
    assert len(set(exports)) == MOMENTS
    for image in exports:
        with after_cut(image) as folder:
            root, out = open_storage(f"{folder}/root"), f"{folder}/out"
            records = check_store(root, len(FILES))
            if all(record.done and not record.error for record in records) and len(records) == 2:
                assert tree(out) == exported(root)
            assert run_export(root, out).code == 0
            assert tree(out) == exported(root)
