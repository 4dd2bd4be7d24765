"""An import that is killed, cancelled or interrupted leaves a store that another one completes."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from deltalake import DeltaTable

import dicomferry.transforms.ingest
import dicomferry.transforms.read_and_store
from dicomferry.pipelines import import_dicom
from dicomferry.storage.registry import open_storage
from dicomferry.store import kept_reads
from dicomferry.store.dicom_store import get_store
from dicomferry.store.verification import verify
from tests.factories import dicom_bytes
from tests.pipelines.disturbed_import import PART_FILES
from tests.pipelines.jobs import (
    STORE,
    data_folder,
    exported,
    images,
    lose_store,
    new_store,
    operation_folders,
    run_export,
    run_import,
    tree,
    without_run,
    write_files,
)

REPOSITORY = Path(__file__).parents[2]


class Partial(NamedTuple):
    """What a kill has to leave.

    Attributes:
        parts: of which there are rows.
        loose: blobs without a row.
        kept: files of what was read of sources that are known already: `stores vacuum` takes them.
    """

    parts: int
    loose: int
    kept: int = 0


NEAR_THE_END = "append:3:before"
# Three parts: copies and a conflict (whose blob never gets a row) lie in other parts than what
# they repeat.
KILLS = {
    "write_blob:1:after": Partial(parts=0, loose=1),
    "write_blob:13:before": Partial(parts=0, loose=11),  # one of 12 is a copy
    "append:1:before": Partial(parts=0, loose=19),
    "write_kept:1:after": Partial(parts=0, loose=19),
    "write_rows:1:before": Partial(parts=0, loose=19),
    "write_rows:1:after": Partial(parts=0, loose=19),
    "publish:1:after": Partial(parts=1, loose=0),
    "append:1:after": Partial(parts=1, loose=0),
    "confirm:1:before": Partial(parts=1, loose=0),
    "write_outcomes:1:before": Partial(parts=1, loose=0),
    "remember:1:before": Partial(parts=1, loose=0),
    "remember:1:after": Partial(parts=1, loose=0, kept=1),
    "write_counts:1:after": Partial(parts=1, loose=0, kept=1),
    "write_blob:30:before": Partial(parts=1, loose=9),
    "append:2:before": Partial(parts=1, loose=20),
    "append:2:after": Partial(parts=2, loose=1),
    "read_large:1:after": Partial(parts=2, loose=13),
    NEAR_THE_END: Partial(parts=2, loose=14),
    "append:3:after": Partial(parts=3, loose=1),
    "finish:1:before": Partial(parts=3, loose=1),
}


def files():
    content = images(50)
    content["010-copy.dcm"] = content["001.dcm"]  # in part 1, as what it repeats
    content["021-conflict.dcm"] = dicom_bytes(sop="1.2.1.1.3", pixels=b"\1" * 32)
    content["045-copy.dcm"] = content["003.dcm"]
    content["046-copy.dcm"] = content["022.dcm"]
    content["zz-broken.dcm"] = b"broken"
    content["zz-large.dcm"] = dicom_bytes(sop="1.2.1.1.99", pixels=b"\2" * (9 << 20))
    return content


class Undisturbed(NamedTuple):
    source: str
    rows: dict
    blobs: dict
    known: set
    outcomes: dict


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What an import that nothing befalls leaves."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    source = write_files(scratch / "in", files())
    root = open_storage(str(scratch / "root"))
    new_store(root)
    job = run_import(root, source)
    assert job.kinds == {"imported": 51, "duplicate": 3, "conflict": 1, "failed": 1}
    return Undisturbed(source, without_run(root), blobs(root), known(root), job.outcomes)


@pytest.fixture(scope="module")
def killed(undisturbed, tmp_path_factory):
    """Roots by the moment at which their import was killed, as futures of the exit code."""
    scratch = tmp_path_factory.mktemp("killed")
    with ThreadPoolExecutor(2) as threads:

        def start(moment, workers=0):
            root = open_storage(str(scratch / moment.replace(":", "-")))
            new_store(root)
            return root, threads.submit(disturbed, "kill", moment, root, undisturbed, workers)

        yield {
            "take_results:3:before": start("take_results:3:before", 2),
            **{moment: start(moment) for moment in KILLS},
        }
        threads.shutdown(cancel_futures=True)


def disturbed(event, moment, root, undisturbed, workers=0):
    """Run tests/pipelines/disturbed_import.py; returns its exit code."""
    command = [sys.executable, "-m", "tests.pipelines.disturbed_import", event, moment]
    return subprocess.run(
        [*command, root.root, undisturbed.source, str(workers)],
        check=False,
        cwd=REPOSITORY,
        start_new_session=True,
        capture_output=True,
        timeout=50,
    ).returncode


def blobs(root):
    return tree(data_folder(root).subfolder("instances").root)


def known(root):
    table = DeltaTable(data_folder(root).uri("sources")).to_pyarrow_table()
    return set(table["SourceUri"].to_pylist())


def sources_of_parts(undisturbed, parts):
    return set(sorted(undisturbed.outcomes)[: parts * PART_FILES])


def check_completes(root, undisturbed, tmp_path, monkeypatch, kept=0):
    """Another import, with the same parts, makes the store what an undisturbed one is.

    It leaves some files that are `kept`.

    Returns the sources that it read.
    """
    monkeypatch.setattr(import_dicom, "PART_FILES", PART_FILES)
    ingest, read = dicomferry.transforms.ingest.ingest, []

    def watched(source, target):
        read.append(source.uri)
        return ingest(source, target)

    monkeypatch.setattr(dicomferry.transforms.ingest, "ingest", watched)
    again = run_import(root, undisturbed.source)
    assert again.code == 1
    assert again.outcomes.keys() == undisturbed.outcomes.keys()
    for source, line in again.outcomes.items():
        first = undisturbed.outcomes[source]
        if first["outcome"] in ("failed", "conflict"):
            assert line == first
    assert without_run(root) == undisturbed.rows
    assert blobs(root) == undisturbed.blobs
    assert known(root) == undisturbed.known
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))
    assert len(list(data_folder(root).list(kept_reads.FOLDER))) == kept
    assert run_export(root, tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == exported(root)
    return read


@pytest.mark.parametrize("moment", KILLS)
def test_a_killed_import_is_completed_by_another(
    moment, killed, undisturbed, tmp_path, monkeypatch
):
    root, exit_code = killed[moment]
    assert exit_code.result() == -signal.SIGKILL

    partial = KILLS[moment]
    committed = without_run(root)
    expected = sources_of_parts(undisturbed, partial.parts)
    assert committed == {u: r for u, r in undisturbed.rows.items() if r["SourceUri"] in expected}
    pointed_at = {row["BlobUri"].removeprefix("instances/") for row in committed.values()}
    assert pointed_at <= blobs(root).keys()
    assert len(blobs(root).keys() - pointed_at) == partial.loose
    [folder] = operation_folders(root)
    assert not json.loads(folder.storage.read("operation.json"))["done"]
    assert folder.read().error.code == 10
    assert folder.read().metadata.counter.success <= partial.parts * PART_FILES

    read = check_completes(root, undisturbed, tmp_path, monkeypatch, partial.kept)
    if moment == NEAR_THE_END:
        # The conflict of the second part, which is told of in each import.
        assert [os.path.basename(uri) for uri in read] == ["021-conflict.dcm"]
        assert len(read) < 0.05 * len(undisturbed.outcomes)


def test_an_import_killed_with_its_worker_processes_is_completed_by_another(
    killed, undisturbed, tmp_path, monkeypatch
):
    root, exit_code = killed["take_results:3:before"]
    assert exit_code.result() == -signal.SIGKILL
    assert {r["SourceUri"] for r in without_run(root).values()} <= sources_of_parts(undisturbed, 1)
    # A chunk of 16 files of the second part was read.
    assert len(blobs(root)) >= 19 + 16
    check_completes(root, undisturbed, tmp_path, monkeypatch)


def test_a_large_file_that_was_cut_short_has_no_name_yet(killed, undisturbed):
    root, exit_code = killed["read_large:1:after"]
    assert exit_code.result() == -signal.SIGKILL
    assert len(list(Path(data_folder(root).root, "incoming").iterdir())) == 1


def test_cancel_ends_a_running_job_and_what_was_committed_stays(
    undisturbed, root, tmp_path, monkeypatch
):
    new_store(root)
    assert disturbed("cancel", "append:2:before", root, undisturbed) == 1
    [folder] = operation_folders(root)
    operation = json.loads(folder.storage.read("operation.json"))
    assert operation["done"]
    why = "cancelled; 20 of 56 files are in the store; run it again to continue from there"
    assert operation["error"] == {"code": 1, "message": why}
    assert operation["metadata"]["counter"] == {"pending": "36", "success": "20", "failure": "0"}
    committed = {row["SourceUri"] for row in without_run(root).values()}
    assert committed == {row["SourceUri"] for row in undisturbed.rows.values()} & sources_of_parts(
        undisturbed, 1
    )
    check_completes(root, undisturbed, tmp_path, monkeypatch)


def test_an_interrupted_job_says_so_and_what_was_committed_stays(
    undisturbed, root, tmp_path, monkeypatch
):
    new_store(root)
    assert disturbed("interrupt", "append:2:before", root, undisturbed) != 0
    [folder] = operation_folders(root)
    operation = json.loads(folder.storage.read("operation.json"))
    assert operation["done"]
    assert operation["error"]["code"] == 1
    assert "interrupted; 20 of 56 files are in the store" in operation["error"]["message"]
    committed = {row["SourceUri"] for row in without_run(root).values()}
    assert committed >= {row["SourceUri"] for row in undisturbed.rows.values()} & sources_of_parts(
        undisturbed, 1
    )
    check_completes(root, undisturbed, tmp_path, monkeypatch)


def test_a_full_disk_ends_the_job_and_another_goes_on(undisturbed, root, tmp_path, monkeypatch):
    new_store(root)
    stored = []
    write_blob = dicomferry.transforms.ingest.write_blob

    def full(data, path, *content):
        if len(stored) == 30:
            raise OSError(28, "No space left on device")
        stored.append(path)
        write_blob(data, path, *content)

    with monkeypatch.context() as patch:
        patch.setattr(import_dicom, "PART_FILES", PART_FILES)
        patch.setattr(dicomferry.transforms.ingest, "write_blob", full)
        job = run_import(root, undisturbed.source)
    assert job.code == 3
    assert job.operation["error"]["code"] == 14
    assert "No space left on device" in job.operation["error"]["message"]
    assert job.operation["counts"]["imported"] == 19
    assert job.operation["metadata"]["counter"]["success"] == "20"
    assert {r["SourceUri"] for r in without_run(root).values()} <= sources_of_parts(undisturbed, 1)
    check_completes(root, undisturbed, tmp_path, monkeypatch)


def test_a_store_that_is_deleted_meanwhile_ends_the_job(undisturbed, root, monkeypatch):
    new_store(root)
    write_blob = dicomferry.transforms.ingest.write_blob

    def deleting(data, path, *content):
        write_blob(data, path, *content)
        if len(stored) == 20:
            lose_store(root, STORE)
        stored.append(path)

    stored = []
    monkeypatch.setattr(dicomferry.transforms.ingest, "write_blob", deleting)
    job = run_import(root, undisturbed.source)
    assert job.code == 2
    assert job.operation["error"] == {"code": 5, "message": f"{STORE} was deleted meanwhile"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_is_told_by_its_kind_and_place_and_without_patient_data(
    undisturbed, root, monkeypatch, caplog, workers
):
    new_store(root)
    name = "Doe" + "^Jane"  # not as one word, since a traceback quotes this file

    def buggy(*args):
        raise ZeroDivisionError(name)

    monkeypatch.setattr(dicomferry.transforms.read_and_store._ReadFn, "_count", buggy)
    job = run_import(root, undisturbed.source, workers=workers)
    assert job.code == 3
    error = job.operation["error"]
    message, steps = re.subn(r"(Error) in ImportInstances/[\w/()]+;", r"\1;", error["message"])
    assert (error["code"], message) == (
        13,
        "the job broke with ZeroDivisionError; please report this; "
        "0 of 56 files are in the store; run it again to continue from there",
    )
    assert steps or "buggy" in caplog.text  # an engine tells the step, and not the function
    assert name not in caplog.text
