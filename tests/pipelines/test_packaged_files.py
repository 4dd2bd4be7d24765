"""The whole loop on the real files that come with pydicom, so that it runs everywhere."""

from pathlib import Path

import pydicom
import pytest

from dicomferry.pipelines import export_dicom
from dicomferry.storage.registry import open_storage
from tests.pipelines.jobs import (
    PACKAGED,
    check_accounts,
    check_blobs,
    exported,
    new_store,
    rows,
    run,
    run_export,
    run_import,
    tree,
)

FILES = [str(path) for path in sorted(PACKAGED.rglob("*")) if path.is_file()]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    """(root, job): pydicom's files, imported once with worker processes."""
    root = open_storage(str(tmp_path_factory.mktemp("packaged") / "root"))
    new_store(root)
    return root, run_import(root, f"{PACKAGED}/**", workers=2)


def test_every_file_is_accounted_for(packaged):
    _, job = packaged
    check_accounts(job, FILES)
    assert job.code == 1
    assert job.kinds["imported"] > 100


def test_what_is_in_is_what_pydicom_can_identify(packaged):
    root, job = packaged
    for source, line in job.outcomes.items():
        if line["outcome"] in ("imported", "conflict", "duplicate"):
            dataset = pydicom.dcmread(source, force=True, stop_before_pixels=True)
            assert str(dataset.SOPInstanceUID) == line["sopInstanceUid"]
    assert rows(root).keys() == {
        line["sopInstanceUid"] for line in job.outcomes.values() if "sopInstanceUid" in line
    }


def test_what_pydicom_cannot_identify_is_not_in(packaged):
    _, job = packaged
    wanted = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    for source, line in job.outcomes.items():
        if line["outcome"] == "failed" and line["code"] != "TRUNCATED":
            dataset = pydicom.dcmread(source, force=True, stop_before_pixels=True)
            assert not all(dataset.get(keyword) for keyword in wanted), source


def test_the_directory_of_a_medium_is_skipped_and_no_failure(packaged):
    _, job = packaged
    directories = {s: o for s, o in job.outcomes.items() if Path(s).name.startswith("DICOMDIR")}
    assert len(directories) >= 5
    assert {(o["outcome"], o.get("code")) for o in directories.values()} >= {
        ("skipped", "DICOMDIR")
    }
    for source in directories:
        assert job.outcomes[source]["outcome"] != "imported"


def test_blobs_are_the_bytes_of_their_sources(packaged):
    check_blobs(packaged[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_export_writes_the_bytes_that_came_in(packaged, tmp_path, workers):
    root, _ = packaged
    job = run_export(root, tmp_path, workers=workers)
    assert job.code == 0
    assert tree(tmp_path) == exported(root)
    check_accounts(
        job,
        [
            f"/studies/{r['StudyInstanceUID']}/series/{r['SeriesInstanceUID']}/instances/{uid}"
            for uid, r in rows(root).items()
        ],
    )


def test_an_export_overwrites_what_is_there_and_leaves_the_rest(packaged, tmp_path):
    root, _ = packaged
    first = min(exported(root))
    (tmp_path / first).parent.mkdir(parents=True)
    (tmp_path / first).write_bytes(b"old")
    (tmp_path / "mine.txt").write_bytes(b"mine")
    run_export(root, tmp_path)
    assert (tmp_path / "mine.txt").read_bytes() == b"mine"
    (tmp_path / "mine.txt").unlink()
    assert tree(tmp_path) == exported(root)


def test_a_snapshot_from_before_the_import_exports_nothing(packaged, tmp_path):
    job = run(
        export_dicom.main, packaged[0], f"--destination={tmp_path}", "--snapshot=0", "--workers=0"
    )
    assert (job.code, tree(tmp_path), job.outcomes) == (0, {}, {})


def test_another_import_takes_nothing_in(packaged):
    root, first = packaged
    before = rows(root)
    again = run_import(root, f"{PACKAGED}/**")
    assert again.kinds["imported"] == again.kinds["duplicate"] == 0
    assert again.operation["counts"]["already_imported"] == (
        first.kinds["imported"] + first.kinds["duplicate"]
    )
    assert rows(root) == before
