"""Imports that run at the same time leave one row a SOP Instance UID, and invent no conflict."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable

import dicomferry.store.index
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.pipelines import import_dicom
from dicomferry.store.index import Index
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, check_blobs, data_folder, new_store, rows, write_files

IMPORTS = 3


@pytest.fixture
def appends(monkeypatch):
    """Hold each import's first commit until all have looked up; counts the commits tried.

    They commit one after the other: the look-up is what is too old, not the race for a version.
    """
    barrier = threading.Barrier(IMPORTS, timeout=60)
    append, turn = Index.append, threading.Lock()
    calls = []

    def held(index, table):
        calls.append(index.version)
        if len(calls) <= IMPORTS:
            barrier.wait()
        with turn:
            return append(index, table)

    monkeypatch.setattr(Index, "append", held)
    return calls


@pytest.fixture
def sources(tmp_path):
    """Folders that share instances 0 to 4; one UID has other bytes in the last of them."""
    patterns = []
    for number in range(IMPORTS):
        own = range(100 * (number + 1), 100 * (number + 1) + 5)
        names = [*range(5), *own]
        files = {f"{n}.dcm": dicom_bytes(sop=f"1.2.1.1.{n + 1}") for n in names}
        pixels = b"\1" * 32 if number == IMPORTS - 1 else b"\0" * 32
        files["disputed.dcm"] = dicom_bytes(sop="1.2.9", pixels=pixels)
        patterns.append(write_files(tmp_path / f"in{number}", files))
    return patterns


def run_together(root, sources):
    """Run an import of each source at the same time; returns the finished operations."""

    def run(source):
        flags = [f"--store={STORE.id}", f"--root={root.root}", f"--source={source}"]
        return import_dicom.run(*import_dicom.parse_args([*flags, "--workers=0"]))

    with ThreadPoolExecutor(len(sources)) as threads:
        return list(threads.map(run, sources))


def test_one_row_a_uid_and_no_conflict_invented(root, sources, appends):
    new_store(root)
    operations = run_together(root, sources)
    assert appends[:IMPORTS] == [0] * IMPORTS, "the imports did not overlap"
    assert len(appends) >= IMPORTS + 2, "nobody was overtaken"

    stored = rows(root)
    assert len(stored) == 5 + 5 * IMPORTS + 1
    check_blobs(root)
    counts = sum((operation.counts for operation in operations), OutcomeCounts())
    assert counts.imported == len(stored)
    # The disputed UID: two imports bring the same bytes, one brings others.
    lost_disputes = counts.conflict
    assert lost_disputes in (1, IMPORTS - 1)
    assert counts.duplicate == 5 * (IMPORTS - 1) + (IMPORTS - 1 - lost_disputes)
    assert counts.failed == counts.skipped == 0
    by_operation = Counter(row["Operation"] for row in stored.values())
    for operation in operations:
        assert operation.counts.imported == by_operation[operation.id]
        assert operation.total == 11


def test_without_the_version_pin_there_would_be_duplicate_rows(root, sources, appends, monkeypatch):
    # What the test above relies on: it is the pin, and nothing else, that keeps rows single.
    monkeypatch.setattr(dicomferry.store.index, "CommitProperties", lambda **_: None)
    new_store(root)
    run_together(root, sources)
    table = DeltaTable(data_folder(root).uri("index")).to_pyarrow_table()
    copies = Counter(table["SOPInstanceUID"].to_pylist())
    assert appends == [0] * IMPORTS
    assert copies["1.2.9"] == copies["1.2.1.1.1"] == IMPORTS
