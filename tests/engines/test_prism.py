"""What ends a job on Prism, seen from the process that started it."""

import json
import threading
import time

import pytest
from apache_beam import Create, FlatMap
from apache_beam.options.pipeline_options import PipelineOptions
from google.rpc.code_pb2 import INTERNAL, UNAVAILABLE

from dicomferry.operations.folder import OperationFolder
from dicomferry.pipelines.engine import EnginePipeline
from dicomferry.pipelines.job import Job
from dicomferry.storage.errors import StorageError
from dicomferry.store.index import Index
from tests.engines.prism import needs_prism, stop_prism
from tests.pipelines.jobs import data_folder, images, import_of, new_store, run_import, write_files

# Threads of Beam's SDK end with an exception where a bundle breaks.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
PRISM = "--runner=tests.engines.prism.PrismRunner"
STARTED = threading.Event()


@pytest.fixture(autouse=True, scope="module")
def built():
    needs_prism()
    yield
    stop_prism()


def _work_for_minutes(_):
    STARTED.set()
    for _ in range(3000):
        time.sleep(0.1)
        yield 1


def test_what_stops_the_work_of_a_job_ends_it_on_prism(root):
    new_store(root)
    job = Job(import_of(root, "/in/*.dcm"), None)
    begun = time.monotonic()

    def stop():
        STARTED.wait(30)
        job.stop_work()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with (
        pytest.raises(RuntimeError, match="CANCELLED"),
        EnginePipeline(job, PipelineOptions([PRISM])) as pipeline,
    ):
        _ = pipeline | Create([1]) | FlatMap(_work_for_minutes)
    stopping.join()
    assert time.monotonic() - begun < 200, "it worked to the end"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyError("DOE^JANE"), INTERNAL, "broke with KeyError in ImportInstances"),
        (StorageError("the bucket b is gone"), UNAVAILABLE, "storage failed: the bucket b is gone"),
    ],
)
def test_what_breaks_a_bundle_is_told(root, tmp_path, monkeypatch, caplog, error, code, message):
    new_store(root)
    source = write_files(tmp_path / "in", images(3))

    def broken(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(OperationFolder, "write_outcomes", broken)
        job = run_import(root, source, PRISM)
    assert job.code == 3
    assert (job.operation["error"]["code"], job.operation["done"]) == (code, True)
    assert message in job.operation["error"]["message"]
    assert "DOE^JANE" not in json.dumps(job.operation) + caplog.text
    # What was committed stays; the next import says so.
    assert run_import(root, source, PRISM).kinds == {"duplicate": 3}
    assert Index(data_folder(root)).count() == 3
