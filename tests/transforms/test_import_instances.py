"""The graphs of both jobs, in a pipeline of a user's own."""

import pickle

import apache_beam as beam
from deltalake import DeltaTable

from dicomferry.operations.folder import start_operation
from dicomferry.operations.record import Method
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.index import Index
from dicomferry.tables.destination import parse_destination
from dicomferry.transforms.export_instances import ExportInstances, ExportJob
from dicomferry.transforms.import_instances import ImportInstances, ImportJob
from dicomferry.transforms.list_sources import ListSources
from dicomferry.transforms.write_instance import FileTarget
from dicomferry.transforms.write_rows import TableTarget
from tests.pipelines.jobs import STORE, exported, images, rows, run_import, tree, write_files


def test_a_pipeline_of_ones_own_imports_and_exports(store, tmp_path):
    source = write_files(tmp_path / "in", images(3) | {"notes.txt": b"no DICOM"})
    found = get_store(store, STORE)
    folder = start_operation(store, STORE, Method.IMPORT)
    job = ImportJob(str(STORE), found.data, folder, ends_operation=True, max_failures=1)
    with beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create([source]) | ListSources() | ImportInstances(job)
    assert folder.read().done
    assert (folder.counts().failures, len(rows(store))) == (1, 3)

    folder = start_operation(store, STORE, Method.EXPORT)
    index = Index(found.data)
    target = FileTarget(found.data, open_storage(str(tmp_path / "out")))
    export = ExportJob(found.data, folder, target, ends_operation=True, total=index.count())
    with beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create(index.files) | ExportInstances(export)
    assert folder.read().done
    assert folder.read().error is None
    assert tree(tmp_path / "out") == exported(store)


def test_a_remote_graph_loads_its_rows_whether_or_not_somebody_waits_for_it(store, tmp_path):
    run_import(store, write_files(tmp_path / "in", images(3)))
    data = get_store(store, STORE).data
    folder, index = start_operation(store, STORE, Method.EXPORT), Index(data)
    table = tmp_path / "table"
    target = TableTarget(parse_destination(f"delta:{table}"))
    export = ExportJob(data, folder, target, is_remote=True, total=index.count())
    with beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create(index.files) | ExportInstances(export)
    assert DeltaTable(table).to_pyarrow_table().num_rows == folder.counts().exported == 3
    assert not folder.read().done, "whoever waits ends it"


def test_jobs_are_values_that_can_be_pickled(store):
    data = get_store(store, STORE).data
    folder = start_operation(store, STORE, Method.IMPORT)
    job = ImportJob(str(STORE), data, folder, workers=2)
    copy = pickle.loads(pickle.dumps(job))
    assert (copy.data, copy.folder.name, copy.workers) == (data, folder.name, 2)
