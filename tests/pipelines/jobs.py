"""Whole jobs as users run them, and what can be seen of them from outside."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pydicom
from deltalake import DeltaTable

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.listing import list_operations
from dicomferry.operations.outcomes import Outcome
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pixels.formats import parse_format
from dicomferry.resource_names import DatasetName, parse_store
from dicomferry.sources.uri import parse_source
from dicomferry.storage.registry import open_storage
from dicomferry.store.deletion import purge
from dicomferry.store.dicom_store import create_store, get_store, mark_deleted
from dicomferry.tables.destination import parse_destination
from tests.factories import dicom_bytes

STORE = parse_store("trial")
PACKAGED = Path(pydicom.__file__).parent / "data"


class Run(NamedTuple):
    """A finished job.

    Attributes:
        code: the exit code of its process.
        folder: its operation's folder; None if it started none.
        operation: operation.json as it lies there.
        outcomes: the lines of outcomes-*.jsonl by their source.
    """

    code: int
    folder: OperationFolder | None
    operation: dict
    outcomes: dict

    @property
    def kinds(self):
        """How many files had each outcome."""
        return Counter(line["outcome"] for line in self.outcomes.values())

    def of(self, name):
        """Outcome and code of the one source that ends in a name."""
        [line] = [line for source, line in self.outcomes.items() if source.endswith(name)]
        return line["outcome"], line.get("code", "")


def new_store(root):
    """An empty store."""
    return create_store(root, STORE)


def lose_store(root, store=STORE):
    """Delete a store without waiting for the jobs that run on it: one may be this process."""
    data = get_store(root, store).data
    mark_deleted(root, store)
    purge(data)


def import_of(root, source, store=STORE, **fields):
    """The request of an import."""
    return ImportRequest(root=root, store=store, source=parse_source(source), **fields)


def files_of(root, destination, mime_type="", store=STORE, **fields):
    """The request of an export to files."""
    return ExportRequest(
        root=root,
        store=store,
        destination=open_storage(str(destination)),
        mime_type=parse_format(mime_type),
        **fields,
    )


def table_of(root, table, store=STORE, **fields):
    """The request of an export to a table."""
    return ExportRequest(root=root, store=store, table=parse_destination(table), **fields)


def run_import(root, source, *flags, workers=0):
    """Import in this process."""
    return run(import_dicom.main, root, f"--source={source}", f"--workers={workers}", *flags)


def run_export(root, destination, *flags, workers=0):
    """Export in this process."""
    return run(
        export_dicom.main, root, f"--destination={destination}", f"--workers={workers}", *flags
    )


def run(main, root, *flags):
    """Run a job by its flags; usage errors become their exit code."""
    before = {folder.id for folder in operation_folders(root)}
    try:
        code = main([f"--store={STORE.id}", f"--root={root.root}", *flags])
    except SystemExit as exit_:
        code = exit_.code
    return observe(code, [f for f in operation_folders(root) if f.id not in before])


def observe(code, folders):
    """What a job has left, whose operation is the only one of the folders."""
    if not folders:
        return Run(code, None, {}, {})
    [folder] = folders
    lines = list(folder.outcomes())
    by_source = {line["source"]: line for line in lines}
    assert len(by_source) == len(lines), "a source has two outcomes"
    return Run(code, folder, json.loads(folder.storage.read("operation.json")), by_source)


def operation_folders(root):
    """Every operation under a root, the newest first."""
    return [listed.folder for listed in list_operations(root, DatasetName())]


def check_accounts(job, expected):
    """Counts agree everywhere: outcomes, counts-*.json, operation.json; nothing is lost."""
    operation, kinds = job.operation, job.kinds
    assert set(job.outcomes) == set(expected)
    assert sum(kinds.values()) == operation["total"] == len(expected)
    assert {k: v for k, v in operation["counts"].items() if k in list(Outcome)} == kinds
    assert operation["counts"].get("bytes", 0) == sum(
        line["bytes"] for line in job.outcomes.values()
    )
    assert job.folder.counts().to_json() == operation["counts"]
    counter = {name: int(value) for name, value in operation["metadata"]["counter"].items()}
    assert counter["pending"] == 0
    assert counter["success"] + counter["failure"] == len(expected)
    assert operation["done"]
    assert ("error" in operation) == (counter["failure"] > 0) != ("response" in operation)


def data_folder(root):
    """Where the store's data lies."""
    return get_store(root, STORE).data


def rows(root):
    """The index as deltalake reads it, by SOP Instance UID."""
    table = DeltaTable(data_folder(root).uri("index")).to_pyarrow_table().to_pylist()
    by_uid = {row["SOPInstanceUID"]: row for row in table}
    assert len(by_uid) == len(table), "a UID has two rows"
    return by_uid


def tree(folder):
    """Path and SHA-256 of every file below a local folder."""
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def sha256(path):
    """Hex digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def check_blobs(root):
    """Every row points at a blob that is, byte for byte, what its source holds."""
    data = data_folder(root)
    for row in rows(root).values():
        content = Path(row["SourceUri"]).read_bytes()
        assert Path(data.uri(row["BlobUri"])).read_bytes() == content
        assert row["BlobStorageSize"] == len(content)
        assert row["Sha256"] == hashlib.sha256(content).hexdigest()


def exported(root):
    """What an export as uploaded has to write: path and SHA-256."""
    return {
        f"{r['StudyInstanceUID']}/{r['SeriesInstanceUID']}/{uid}.dcm": r["Sha256"]
        for uid, r in rows(root).items()
    }


def write_files(folder, files):
    """Write {name: bytes} below a folder; return the pattern that means them all."""
    for name, content in files.items():
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return f"{folder}/**"


def images(count, **elements):
    """Small files of as many instances, by names that sort as they are numbered."""
    return {f"{n:03d}.dcm": dicom_bytes(sop=f"1.2.1.1.{n + 1}", **elements) for n in range(count)}


def without_run(root):
    """Rows without what differs from run to run."""
    return {
        uid: {k: v for k, v in row.items() if k not in ("Operation", "LastUpdated")}
        for uid, row in rows(root).items()
    }
