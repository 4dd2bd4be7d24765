"""Imports, exports, updates and deletes at the same time: one row a UID, one snapshot an export."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.rpc.code_pb2 import NOT_FOUND

from dicomferry.operations.folder import OperationFolder
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.pipelines.job import JobError
from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import create_store, get_store, update_store
from dicomferry.store.index import Index
from dicomferry.store.maintenance import optimize
from dicomferry.store.verification import verify
from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    check_accounts,
    check_blobs,
    data_folder,
    lose_store,
    new_store,
    observe,
    rows,
    tree,
    write_files,
)

IMPORTS = 4
SHARED = 30
OWN = 15
DISPUTED = 5
UPDATES = 10
OTHER = parse_store("other")
PART_FILES = 12


def files_of(number, dice):
    """Files of one import: some that all have, some of its own, some that are in dispute."""
    files = {f"shared/{n}.dcm": dicom_bytes(sop=f"1.2.1.1.{n}") for n in range(SHARED)}
    first = 1000 * (number + 1)
    files |= {f"own/{n}.dcm": dicom_bytes(sop=f"1.2.1.1.{first + n}") for n in range(OWN)}
    for n in range(DISPUTED):
        # Of two imports each has the same bytes, so it can be a duplicate too.
        pixels = bytes([number // 2]) * 32
        files[f"disputed/{n}.dcm"] = dicom_bytes(sop=f"1.2.2.{n}", pixels=pixels)
    names = list(files)
    dice.shuffle(names)
    # A copy of a shared one within each import.
    return {f"{order:03d}-{name}": files[name] for order, name in enumerate(names)} | {
        "zz-copy.dcm": files["shared/0.dcm"]
    }


def flags(root, store, *more):
    return [f"--store={store.id}", f"--root={root.root}", "--workers=0", *more]


def run_import(root, source, store=STORE):
    """Import; return the operation's folder and its error."""
    try:
        operation = import_dicom.run(
            *import_dicom.parse_args(flags(root, store, f"--source={source}"))
        )
    except JobError as error:
        return None, error
    return OperationFolder(root, store.parent, operation.id), None


def run_export(root, out):
    """Export the store as it is some time during the imports."""
    request = export_dicom.parse_args(flags(root, STORE, f"--destination={out}"))
    assert export_dicom.run(*request).error is None
    return out


def update(root):
    """Count in a label, as several do; some also compact the index."""
    for _ in range(UPDATES):
        update_store(root, STORE, counted)
        time.sleep(0.05)
    optimize(get_store(root, STORE))


def counted(resource):
    labels = resource.get("labels", {})
    return {**resource, "labels": {**labels, "count": str(int(labels.get("count", "0")) + 1)}}


def delete_and_make_anew(root):
    """Delete the other store while it is being imported into."""
    time.sleep(0.3)
    lose_store(root, OTHER)
    create_store(root, OTHER)


def snapshots(root):
    """The files that an export of each version of the index has to write."""
    data = data_folder(root)
    found = []
    for version in range(Index(data).version + 1):
        table = Index(data, version).dataset().to_table()
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Sha256")
        columns = [table[name].to_pylist() for name in names]
        found.append(
            {
                f"{study}/{series}/{sop}.dcm": sha
                for study, series, sop, sha in zip(*columns, strict=True)
            }
        )
    return found


@pytest.mark.timeout(240)
def test_jobs_at_the_same_time_leave_one_row_a_uid_and_export_one_snapshot_each(
    root, tmp_path, monkeypatch, seed
):
    dice = random.Random(seed)
    monkeypatch.setattr(import_dicom, "PART_FILES", PART_FILES)
    new_store(root)
    create_store(root, OTHER)
    contents = [files_of(number, dice) for number in range(IMPORTS)]
    sources = [write_files(tmp_path / f"in{n}", files) for n, files in enumerate(contents)]
    with ThreadPoolExecutor(IMPORTS + 6) as threads:
        imports = [threads.submit(run_import, root, source) for source in sources]
        exports = [threads.submit(run_export, root, tmp_path / f"out{n}") for n in range(2)]
        updates = [threads.submit(update, root) for _ in range(2)]
        deleted = threads.submit(run_import, root, sources[0], OTHER)
        threads.submit(delete_and_make_anew, root).result()
        jobs = [job.result() for job in imports]
        outs = [job.result() for job in exports]
        for job in updates:
            job.result()
        _, error = deleted.result()

    stored = rows(root)  # and no UID twice
    check_blobs(root)
    assert len(stored) == SHARED + IMPORTS * OWN + DISPUTED
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))

    totals = {}
    for (job, problem), source, files in zip(jobs, sources, contents, strict=True):
        assert problem is None
        run = observe(0, [job])  # no file has two outcomes
        check_accounts(run, [f"{source.removesuffix('**')}{name}" for name in files])
        for line in run.outcomes.values():
            totals.setdefault(line["sopInstanceUid"], []).append(line["outcome"])
    for uid, outcomes in totals.items():
        assert outcomes.count("imported") == 1
        if uid.startswith("1.2.2."):
            # Two have the bytes that won, of whom one came later; two have others.
            assert sorted(outcomes) == ["conflict", "conflict", "duplicate", "imported"]
        else:
            assert outcomes.count("duplicate") == len(outcomes) - 1
            is_shared = int(uid.rpartition(".")[2]) < SHARED
            copies = IMPORTS if is_shared else 1
            assert len(outcomes) == (2 * IMPORTS if uid == "1.2.1.1.0" else copies)
    assert totals.keys() == stored.keys()

    versions = snapshots(root)
    assert all(tree(out) in versions for out in outs)
    assert get_store(root, STORE).resource["labels"] == {"count": str(2 * UPDATES)}

    # The store that was made anew sees nothing of what went into the old one.
    assert error is None or error.code == NOT_FOUND, str(error)
    assert Index(get_store(root, OTHER).data).count() in (0, len(set(contents[0].values())))
    if error is not None:
        assert Index(get_store(root, OTHER).data).count() == 0
