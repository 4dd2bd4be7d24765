"""What the page of an engine shows of a job: the names of its steps, and its counters."""

import re
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.pipeline import PipelineVisitor

from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.store.dicom_store import create_store
from tests.pipelines.jobs import STORE, images, run, run_export, run_import, write_files

REPOSITORY = Path(__file__).parents[2]
OUR_STEP = re.compile(r"[A-Z][A-Za-z]+[0-9]?")


class StepNames(PipelineVisitor):
    """Collects the names that the project's own code gave to steps."""

    def __init__(self):
        self.names = []

    def enter_composite_transform(self, transform_node):
        self.visit_transform(transform_node)

    def visit_transform(self, transform_node):
        parent = transform_node.parent
        if parent and parent.transform is None:  # the root of the graph
            self.names.append(transform_node.full_label)
        elif parent and type(parent.transform).__module__.startswith("dicomferry."):
            self.names.append(transform_node.full_label.removeprefix(f"{parent.full_label}/"))


@pytest.fixture
def names(monkeypatch):
    """The names of the steps of all graphs, which are not run."""
    seen = StepNames()

    def keep(pipeline, *_):
        pipeline.visit(seen)
        raise RuntimeError("not run")

    for module in (import_dicom, export_dicom):
        monkeypatch.setattr(module, "is_remote", lambda _: True)
    with monkeypatch.context() as patch:
        patch.setattr(beam.Pipeline, "run", keep)
        yield seen.names


def test_all_steps_have_names_of_words(root, tmp_path, names, monkeypatch):
    stream = {"bigqueryDestination": {"tableUri": f"delta:{tmp_path}/stream"}}
    topic = {"pubsubTopic": "projects/p/topics/t", "sendForBulkImport": True}
    resource = {"streamConfigs": [stream], "notificationConfigs": [topic]}
    create_store(root, STORE, resource)
    source = write_files(tmp_path / "in", images(1))
    (tmp_path / "only.txt").write_text("/studies/1.2.1\n")
    only = f"--filter={tmp_path}/only.txt"
    jobs = [
        run_import(root, source),
        run_export(root, tmp_path / "out", only),
        run(export_dicom.main, root, f"--table=delta:{tmp_path}/table", only),
    ]
    assert {job.code for job in jobs} == {3}, "graphs were not built"
    for step in ("ImportInstances", "AppendToStreams", "PublishNotifications", "ExportInstances"):
        assert step in names
    assert [name for name in names if not OUR_STEP.fullmatch(name)] == []


def test_the_run_book_has_all_counters_and_distributions():
    calls = re.compile(r'Metrics\.(counter|distribution)\("(\w+)", "(\w+)"\)')
    code = "".join(path.read_text() for path in (REPOSITORY / "transforms").glob("*.py"))
    found = calls.findall(code)
    assert code.count("Metrics.") == len(found), "one that this test does not see"
    book = (REPOSITORY / "docs/run-elsewhere.md").read_text()
    told = re.findall(r"^\| `(\w+/\w+)` \| (counter|distribution) \| \w", book, re.MULTILINE)
    assert sorted(told) == sorted({(f"{group}/{name}", kind) for kind, group, name in found})
