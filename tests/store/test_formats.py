"""Stores of every format are read, appended to, optimized and upgraded; later ones are refused."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema
from typer.testing import CliRunner

from dicomferry.api.error_translation import translate_store_errors
from dicomferry.api.errors import ApiError
from dicomferry.cli.main import app
from dicomferry.operations.folder import start_operation
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.resource_names import DatasetName, parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store import dicom_store, index
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.dicom_store import create_store, get_store, list_stores, update_store
from dicomferry.store.formats import FORMAT, StoreFormatError
from dicomferry.store.index import Index, add_columns
from dicomferry.store.index_files import index_folder
from dicomferry.store.index_schema import SCHEMA
from dicomferry.store.maintenance import optimize
from dicomferry.store.verification import verify
from dicomferry.transforms.commit_instances import commit
from tests.factories import dicom_bytes
from tests.store.appending import append_rows
from tests.transforms.test_commit_instances import instance

FORMATS = Path(__file__).parent / "formats"
KEPT = parse_store("kept")


@pytest.fixture
def kept(request, tmp_path):
    """The root of a store of one format."""
    shutil.copytree(FORMATS / str(request.param), tmp_path / "root")
    return open_storage(str(tmp_path / "root"))


def uids(store):
    return sorted(Index(store.data).dataset().to_table().column("SOPInstanceUID").to_pylist())


def change_record(root, **fields):
    """Write a record as another version of the software would."""
    folder = Path(root.root) / KEPT.folder / "resource"
    newest = max(folder.iterdir(), key=lambda path: int(path.stem))
    newest.write_text(json.dumps(json.loads(newest.read_text()) | fields))


def call(root, *arguments):
    return CliRunner().invoke(app, [*arguments, "--root", root.root])


def test_each_format_has_a_store_that_is_kept():
    kept = {path.name for path in FORMATS.iterdir() if path.is_dir() and path.name.isdigit()}
    assert kept == {str(number) for number in range(1, FORMAT + 1)}


@pytest.mark.parametrize("kept", range(1, FORMAT + 1), indirect=True)
def test_a_store_of_each_format_is_read_appended_to_optimized_and_upgraded(kept, tmp_path):
    store = get_store(kept, KEPT)
    assert store.resource["labels"] == {"site": "north"}
    assert [finding.problem for finding in verify(store)] == [""] * 3
    assert Index(store.data, 1).count() == 2, "an old version is still a snapshot"
    (tmp_path / "4.dcm").write_bytes(dicom_bytes("1.2.1.1.4"))
    (tmp_path / "1.dcm").write_bytes(dicom_bytes("1.2.1.1.1"))  # there already
    flags = [f"--store={KEPT.id}", f"--root={kept.root}", "--workers=0"]
    assert import_dicom.main([*flags, f"--source={tmp_path}/*.dcm"]) == 0
    assert call(kept, "stores", "upgrade", KEPT.id).exit_code == 0
    assert call(kept, "stores", "upgrade", KEPT.id).exit_code == 0
    assert get_store(kept, KEPT).format == FORMAT
    assert get_store(kept, KEPT).resource == store.resource
    optimize(store)
    assert export_dicom.main([*flags, f"--destination={tmp_path}/out"]) == 0
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 4
    assert "done" in call(kept, "operations", "list").output


def test_a_new_store_has_the_newest_format_and_changes_keep_it(root):
    create_store(root, KEPT)
    changed = update_store(root, KEPT, lambda resource: {**resource, "labels": {"a": "b"}})
    assert changed.format == get_store(root, KEPT).format == FORMAT


@pytest.mark.parametrize("number", [FORMAT + 1, "3", None, [], 2.0, True])
@pytest.mark.parametrize("kept", [FORMAT], indirect=True)
def test_a_store_of_a_later_format_is_refused_in_one_line(kept, number, tmp_path):
    change_record(kept, format=number)
    for arguments in (
        ["import", KEPT.id, "/in/*.dcm"],
        ["export", "files", KEPT.id, str(tmp_path / "out")],
        ["export", "table", KEPT.id, f"delta:{tmp_path}/table"],
        *(["stores", each, KEPT.id] for each in ("describe", "metrics", "verify", "vacuum")),
        *(["stores", each, KEPT.id] for each in ("optimize", "upgrade", "delete")),
        ["stores", "update", KEPT.id, "--label", "a=b"],
        ["preview", KEPT.id],
    ):
        refused = call(kept, *arguments)
        assert isinstance(refused.exception, StoreFormatError), arguments
        assert "by a later version of dicomferry" in str(refused.exception)
        assert "\n" not in str(refused.exception)
    with pytest.raises(ApiError, match="later version"), translate_store_errors(KEPT):
        get_store(kept, KEPT)
    assert KEPT.id in call(kept, "stores", "list").output
    assert [store.name for store in list_stores(kept, DatasetName())] == [KEPT]


@pytest.mark.parametrize("content", [b"", b"{", bytes(100)])
def test_a_version_of_the_record_that_a_power_cut_left_empty_does_not_count(root, content):
    store = create_store(root, KEPT)
    root.write(f"{KEPT.folder}/resource/2.json", content)
    assert get_store(root, KEPT).resource == store.resource
    assert [each.name for each in list_stores(root, DatasetName())] == [KEPT]
    assert update_store(root, KEPT, lambda resource: resource).version == 3
    never = parse_store("never")
    root.write(f"{never.folder}/resource/1.json", content)
    assert create_store(root, never).version == 2


def add_column(store):
    """Add a column as a later version does, and a row that has a value in it."""
    folder = index_folder(store.data)
    strange = pa.schema([("Later", pa.list_(pa.string())), ("Note", pa.string())])
    DeltaTable(folder.root).alter.add_columns(list(Schema.from_arrow(strange).fields))
    current = Index(store.data)
    row = pa.Table.from_pylist(
        [{"SOPInstanceUID": "1.2.0", "Later": ["a", "b"], "Note": "n", "StructuredStorageSize": 2}],
        current.schema,
    )
    append_rows(current, row)


def test_columns_that_this_version_does_not_know_are_kept(root):
    store = create_store(root, KEPT)
    commit(store.data, [instance(1)], "op")
    add_column(store)
    commit(store.data, [instance(2), instance(1)], "op")
    assert uids(store) == ["1.2.0", "1.2.1", "1.2.2"]
    optimize(store)
    commit(store.data, [instance(3)], "op")
    rows = Index(store.data).dataset().to_table().sort_by("SOPInstanceUID").to_pylist()
    assert [row["Later"] for row in rows] == [["a", "b"], None, None, None]
    assert [row["Note"] for row in rows] == ["n", None, None, None]
    found = Index(store.data).lookup(["1.2.0", "1.2.3"])
    assert sorted(found.column("SOPInstanceUID").to_pylist()) == ["1.2.0", "1.2.3"]


def test_a_column_that_an_older_store_lacks_is_added_while_others_write(root, monkeypatch):
    earlier = SCHEMA.remove(SCHEMA.get_field_index("Modality"))
    monkeypatch.setattr(index, "SCHEMA", earlier)
    store = create_store(root, KEPT)
    monkeypatch.undo()
    commit(store.data, [instance(1)], "op")  # fits to the columns that there are
    older = Index(store.data)
    add_columns(store.data)
    assert set(Index(store.data).schema.names) == set(SCHEMA.names)
    with pytest.raises(CommitConflictError):  # of a worker that had loaded the index
        append_rows(older, earlier.empty_table())
    commit(store.data, [instance(2)], "op")
    optimize(store)
    rows = Index(store.data).dataset().to_table().sort_by("SOPInstanceUID").to_pylist()
    assert [row["Modality"] for row in rows] == [None, "CT"]
    before = Index(store.data).version
    add_columns(store.data)
    assert Index(store.data).version == before


def test_an_upgrade_waits_for_the_jobs_of_the_store(root):
    create_store(root, KEPT)
    folder = start_operation(root, KEPT, "ImportDicomData")
    refused = call(root, "stores", "upgrade", KEPT.id)
    assert f"{folder.name} is running: upgrade when it has ended" in str(refused.exception)
    record = folder.read()
    record.finish()
    folder.write(record)
    assert call(root, "stores", "upgrade", KEPT.id).exit_code == 0


def test_an_upgrade_adds_the_columns_that_an_older_store_lacks(root, monkeypatch):
    monkeypatch.setattr(index, "SCHEMA", SCHEMA.remove(SCHEMA.get_field_index("Modality")))
    create_store(root, KEPT)
    monkeypatch.undo()
    change_record(root, format=1)
    upgraded = dicom_store.upgrade_store(root, KEPT)
    assert upgraded.format == FORMAT
    assert set(Index(upgraded.data).schema.names) == set(SCHEMA.names)
