"""Any state that a power cut may leave is whole, and the same work again completes it."""

import contextlib
import os
import random
from pathlib import Path

import pytest

from dicomferry.operations.folder import start_operation
from dicomferry.operations.listing import list_operations
from dicomferry.operations.record import Method
from dicomferry.operations.unreadable import is_unreadable
from dicomferry.resource_names import DatasetName
from dicomferry.sources.listing import describe_sources
from dicomferry.storage.registry import open_storage
from dicomferry.store.deletion import delete_store
from dicomferry.store.dicom_store import StoreExistsError, create_store, get_store
from dicomferry.store.erasure import erase_blobs, erase_rows
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.store.known_sources import known_sources
from dicomferry.store.sources_table import remember_sources
from dicomferry.store.verification import verify
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.ingest import ImportTarget, ingest_all
from dicomferry.transforms.read_index import _COLUMNS as EXPORT_COLUMNS
from dicomferry.transforms.write_instance import FileTarget, StoredInstance, write_all
from tests.factories import dicom_bytes
from tests.faults.conftest import RUNS
from tests.faults.power_cut_states import Recorder, recording
from tests.pipelines.jobs import STORE

NAMES = ("a.dcm", "b.dcm", "c.dcm", "d.dcm")
STATES = 20 + 20 * RUNS
# What `work` has reported after so many steps.
CREATED, COMMITTED_TWO, COMMITTED_ALL, ENDED, EXPORTED = range(1, 6)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Instances, two of which are large."""
    folder = tmp_path_factory.mktemp("sources")
    for n, name in enumerate(NAMES):
        content = dicom_bytes(sop=f"1.2.1.1.{n}", pixels=bytes([n]) * 2000 * (1 + n % 2))
        (folder / name).write_bytes(content)
    return list(describe_sources([str(folder / name) for name in NAMES]))


def work(root, sources, report=lambda: None):
    """What an import and an export do, without Beam; reports each step that is done."""
    with contextlib.suppress(StoreExistsError):
        create_store(root, STORE)
    report()
    folder = start_operation(root, STORE, Method.IMPORT)
    data = get_store(root, STORE).data
    for part in (sources[:2], sources[2:]):
        instances = ingest_all(part, ImportTarget(data, dry_run=False))
        commit(data, sorted(instances, key=lambda i: i.sop_instance_uid), folder.id)
        report()
        rows = [(i.source_uri, i.size, i.source_version, "imported") for i in instances]
        remember_sources(data, rows)
        folder.write_outcomes(part[0].uri.rpartition("/")[2], b"{}\n")
    record = folder.read()
    record.finish()
    folder.write(record)
    report()
    assert {o.outcome for o in write_all(instances_of(data), target_of(root, data))} == {"exported"}
    report()


def instances_of(data):
    rows = Index(data).dataset().to_table().sort_by("SOPInstanceUID").to_pylist()
    return [StoredInstance(*(row[column] for column in EXPORT_COLUMNS)) for row in rows]


def target_of(root, data):
    return FileTarget(data, root.subfolder("out"))


def check(root, sources, reported):
    """All that was reported is there; all that is there is whole."""
    store = get_store(root, STORE) if reported >= CREATED else None
    records = [listed.record for listed in list_operations(root, DatasetName())]
    assert not any(map(is_unreadable, records))
    if store is None:
        return
    findings = list(verify(store))
    assert not [finding for finding in findings if finding.problem]
    assert len(findings) >= {CREATED: 0, COMMITTED_TWO: 2}.get(reported, 4)
    known_sources(store.data, sources)
    if reported >= ENDED:
        assert any(record.done and not record.error for record in records)
    if reported == EXPORTED:
        files = [Path(entry.path).name for entry in root.list("out")]
        assert sorted(files) == [f"1.2.1.1.{n}.dcm" for n in range(4)]
        for n, source in enumerate(sources):
            content = root.read(f"out/1.2.1/1.2.1.1/1.2.1.1.{n}.dcm")
            assert content == Path(source.uri).read_bytes()


def states_of(root, target, sources, dice, share):
    recorder = Recorder(root.root, target, dice, share)

    def report():
        recorder.reported += 1

    with recording(recorder):
        work(root, sources, report)
    return recorder


@pytest.fixture(autouse=True)
def fast_and_small(monkeypatch):
    """Files above 3 KB count as large; whoever does not record waits for no disk."""
    monkeypatch.setattr("dicomferry.transforms.ingest._WHOLE_FILE_BYTES", 3000)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.mark.parametrize("call", ["store", "instances"])
def test_a_power_cut_brings_nothing_back_that_was_deleted(sources, tmp_path, call, seed):
    (tmp_path / "root").mkdir()
    (tmp_path / "states").mkdir()
    recorder = Recorder(tmp_path / "root", tmp_path / "states", random.Random(seed), 0.0)
    root = open_storage(recorder.root)
    with recording(recorder):
        work(root, sources)
        data = get_store(root, STORE).data
        if call == "store":
            delete_store(root, STORE)
        else:
            [chosen] = {instance[:2] for instance in instances_of(data)}
            series = InstanceFilter(frozenset(), frozenset({"/".join(chosen)}), frozenset())
            _, cutoff = erase_rows(data, series)
            assert len(list(erase_blobs(data, series, cutoff))) == len(NAMES)
        recorder.states_now(10)
    assert len(recorder.states) == 10
    for state, _ in recorder.states:
        left = state / Path(data.root).relative_to(recorder.root)
        assert not list((left / "instances").rglob("*.dcm"))
        if call == "store":
            assert not left.exists()


def test_what_a_power_cut_may_leave_is_whole_and_the_same_work_completes_it(
    sources, tmp_path, seed
):
    dice = random.Random(seed)
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "states").mkdir()
    recorder = states_of(open_storage(str(root)), tmp_path / "states", sources, dice, 0.2)
    assert recorder.reported == EXPORTED
    for state, reported in dice.sample(recorder.states, min(STATES, len(recorder.states))):
        left = open_storage(str(state))
        check(left, sources, reported)
        work(left, sources)
        check(left, sources, EXPORTED)
