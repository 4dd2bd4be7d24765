"""What Dataflow would be given: both pipelines are staged, and the staged graph is looked at.

With --template_location Beam builds the whole job, stages its files in a bucket and stops. The
launcher of a flex template does the same.
"""

import base64
import bz2
import functools
import json
import os
import subprocess
import sys

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import primitives

from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.storage.registry import open_storage
from tests.checkout import REPOSITORY, copy_checkout
from tests.pipelines.jobs import STORE, images, new_store, observe, operation_folders, run_import


def _step(transform):
    """The name of a step within the graph of a job: "ReadAndStore/Read"."""
    name = transform.unique_name
    return name.removeprefix("ImportInstances/").removeprefix("ExportInstances/")


class Graph:
    """A staged pipeline: its leaf transforms by name, and what lies between them."""

    def __init__(self, proto):
        self.components = proto.components
        self.leaves = {
            _step(t): t for t in self.components.transforms.values() if not t.subtransforms
        }
        self.maker = {
            output: name for name, t in self.leaves.items() for output in t.outputs.values()
        }

    def shuffles(self):
        """The names of all steps at which elements leave their worker."""
        urn = primitives.GROUP_BY_KEY.urn
        return {name for name, t in self.leaves.items() if t.spec.urn == urn}

    def before(self, name):
        """The steps whose outputs a step reads."""
        return {self.maker[pcoll] for pcoll in self.leaves[name].inputs.values()}

    def stage_of(self, name):
        """All that is fused with a step upstream of it: up to the shuffles before it."""
        found, waiting = set(), [name]
        while waiting:
            step = waiting.pop()
            if step in found or step in self.shuffles():
                continue
            found.add(step)
            sides = self.side_inputs(step)
            inputs = self.leaves[step].inputs.items()
            waiting += [self.maker[pcoll] for tag, pcoll in inputs if tag not in sides]
        return found

    def side_inputs(self, name):
        spec = self.leaves[name].spec
        if spec.urn != primitives.PAR_DO.urn:
            return set()
        return set(beam_runner_api_pb2.ParDoPayload.FromString(spec.payload).side_inputs)

    def dofns(self):
        """What is pickled into each step."""
        for name, t in self.leaves.items():
            if t.spec.urn == primitives.PAR_DO.urn:
                payload = beam_runner_api_pb2.ParDoPayload.FromString(t.spec.payload)
                yield name, payload.do_fn.payload


class Staged:
    """One pipeline as it was staged."""

    def __init__(self, code, operation, template, graph, names):
        self.code, self.operation, self.graph, self.names = code, operation, graph, names
        self.template = template


@pytest.fixture(scope="module")
def bucket(gcs):
    """Sources, and a store that holds them."""
    bucket = gcs.bucket(f"template-{os.urandom(6).hex()}")
    for name, content in images(3).items():
        bucket.blob(f"in/{name}").upload_from_string(content)
    root = open_storage(f"gs://{bucket.name}/stores")
    new_store(root)
    assert run_import(root, f"gs://{bucket.name}/in/**").code == 0
    return bucket


@pytest.fixture(scope="module")
def stage(bucket):
    """Stages a pipeline, once for the same flags."""
    root = open_storage(f"gs://{bucket.name}/stores")

    @functools.cache
    def run(main, *flags):
        base = f"gs://{bucket.name}"
        name = f"staged-{os.urandom(4).hex()}"
        before = {folder.id for folder in operation_folders(root)}
        code = main(
            [
                f"--root={root.root}",
                f"--store={STORE.id}",
                *(flag.format(base=base) for flag in flags),
                "--runner=DataflowRunner",
                "--project=emulated",
                "--region=europe-west4",
                "--log-format=text",  # of this process, which is pytest's
                f"--job_name={name}",
                f"--temp_location={base}/tmp",
                f"--staging_location={base}/staging",
                f"--template_location={base}/templates/{name}",
            ]
        )
        staged = {
            blob.name: blob for blob in bucket.client.list_blobs(bucket.name, prefix="staging/")
        }
        names = {path.rpartition("/")[2]: path for path in staged if f"/{name}." in path}
        proto = staged[names["pipeline.pb"]].download_as_bytes()
        template = json.loads(bucket.blob(f"templates/{name}").download_as_bytes())
        job = observe(code, [f for f in operation_folders(root) if f.id not in before])
        graph = Graph(beam_runner_api_pb2.Pipeline.FromString(proto))
        return Staged(code, job.operation, template, graph, names)

    return run


IMPORT = (import_dicom.main, "--source={base}/in/**")
FILES = (export_dicom.main, "--destination={base}/out")
TABLE = (export_dicom.main, "--table=delta:{base}/table")
each_pipeline = pytest.mark.parametrize(
    "flags", [IMPORT, FILES, TABLE], ids=["import", "files", "table"]
)


# What crosses a shuffle.


def test_an_import_shuffles_listings_shares_rows_and_outcomes_and_nothing_else(stage):
    graph = stage(*IMPORT).graph
    assert graph.shuffles() == {
        *(f"ListSources/Spread{n}/ReshufflePerKey/GroupByKey" for n in range(1, 6)),  # names
        "ListSources/Reshuffle/ReshufflePerKey/GroupByKey",  # lists of Source: URI, size, version
        "Reshuffle/ReshufflePerKey/GroupByKey",  # shares of the same
        "SumFiles/CombinePerKey/GroupByKey",  # how many files there are
        "OutcomeBounds/Gather/CombinePerKey/GroupByKey",  # first URI and size of each listing
        "GroupByBucket/GatherSamples/CombinePerKey/GroupByKey",  # UIDs of some instances
        "GroupByBucket/GroupByBucket",  # Instance: UIDs, paths, DICOM JSON by zstd
        "CommitInstances/GatherFiles",  # PreparedFile: names, bounds, times
        "WriteOutcomes/Gather",  # Outcome: URIs, UIDs, codes
        "WriteOutcomes/Sum/CombinePerKey/GroupByKey",  # counts
    }


def test_files_are_read_and_stored_in_one_stage_so_their_bytes_stay_where_they_are_read(stage):
    graph = stage(*IMPORT).graph
    stage_before_commit = graph.stage_of("GroupByBucket/KeyByBucket")
    assert graph.before("GroupByBucket/GroupByBucket") == {"GroupByBucket/KeyByBucket"}
    assert "ReadAndStore/Read/ParDo(_ReadFn)" in stage_before_commit
    reading = graph.stage_of("ReadAndStore/Read/ParDo(_ReadFn)")
    assert {name.partition("/")[0] for name in reading} == {"ReadAndStore", "Reshuffle"}


def test_an_export_to_files_reads_decodes_and_writes_in_one_stage(stage):
    graph = stage(*FILES).graph
    assert graph.shuffles() == {
        "ReadIndex/ReshuffleRowGroups/ReshufflePerKey/GroupByKey",  # (Parquet file, row group)
        "ReadIndex/ReshuffleShares/ReshufflePerKey/GroupByKey",  # StoredInstance: UIDs, paths
        "WriteOutcomes/Gather",  # Outcome: URIs, UIDs, codes
        "WriteOutcomes/Sum/CombinePerKey/GroupByKey",  # counts
    }
    fused = graph.stage_of("WriteOutcomes/KeyByShard")
    assert "ExportFiles/Write" in fused
    assert not any(name.startswith("ReadIndex/ReadRows") for name in fused)


def test_an_export_to_a_table_shuffles_names_of_row_groups_and_of_shards(stage):
    graph = stage(*TABLE).graph
    assert graph.shuffles() == {
        "ExportTable/GroupByShare",  # (Parquet file, row group)
        "ExportTable/Combine/CombinePerKey/GroupByKey",  # WrittenRows: names of shards, schema
    }
    assert "ExportTable/WriteShards" in graph.stage_of("ExportTable/Combine/KeyWithVoid")


# Who ends the operation.


@each_pipeline
def test_the_last_step_of_the_job_ends_its_operation(stage, flags):
    graph = stage(*flags).graph
    last = "FinishOperation/Finish"
    made = set(graph.leaves[last].outputs.values())
    readers = [t for t in graph.leaves.values() if made & set(t.inputs.values())]
    assert not readers
    before = {"LoadTable/Load"} if flags is TABLE else {"WriteOutcomes/WriteCounts"}
    listed = {"SumFiles/InjectDefault"} if flags is IMPORT else set()
    assert graph.before(last) == before | listed


@each_pipeline
def test_the_launcher_leaves_a_running_operation_that_names_the_job_as_its_owner(stage, flags):
    staged = stage(*flags)
    assert staged.code == 0
    assert not staged.operation["done"]
    assert staged.operation["owner"] == {
        "project": "emulated",
        "region": "europe-west4",
        "job_name": staged.template["name"],
    }


# What workers need.


@each_pipeline
def test_nothing_that_runs_on_a_worker_is_defined_in_the_main_program(stage, flags):
    steps = list(stage(*flags).graph.dofns())
    assert len(steps) > 10
    for name, packed in steps:
        pickled = bz2.decompress(base64.b64decode(packed))
        # Started as a program, the module of a pipeline is __main__.
        assert b"__main__" not in pickled, name
        assert b"pipelines." not in pickled, name


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory):
    """What a checkout has that makes the package; Beam builds in the folder of setup.py."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


def modules(package):
    """The Python files below a package, those behind its links too."""
    return {
        os.path.relpath(os.path.join(folder, name), package)
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if name.endswith(".py")
    }


def test_the_package_that_setup_file_ships_runs_in_an_environment_of_its_own(
    stage, source_tree, bucket, tmp_path
):
    staged = stage(*IMPORT, f"--setup_file={source_tree}/setup.py")
    package = tmp_path / "workflow.tar.gz"
    bucket.blob(staged.names["workflow.tar.gz"]).download_to_filename(package)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    # The dependencies come from here; what is installed is only what was shipped.
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": dependencies}
    install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", package]
    subprocess.run(install, check=True, env=environment, cwd=tmp_path)
    code = "from dicomferry.pipelines import export_dicom as a, import_dicom as b; "
    code += "import dicomferry.cli.main; "
    run = subprocess.run(
        [python, "-P", "-c", code + "print(a.__file__, b.__file__)"],
        check=True,
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert all(path.startswith(str(venv)) for path in run.stdout.split())
    [site] = (venv / "lib").glob("python*/site-packages")
    assert modules(site / "dicomferry") == modules(REPOSITORY / "dicomferry")
    assert not {path.name for path in site.iterdir()} & {"pipelines", "transforms", "tests"}
