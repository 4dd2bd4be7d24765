"""Distributions, with their units in their names."""

import apache_beam as beam

from dicomferry.sources.listing import list_sources
from dicomferry.sources.uri import parse_source
from dicomferry.transforms.commit_instances import CommitInstances
from dicomferry.transforms.ingest import ImportTarget
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_and_store import ReadAndStore
from tests.factories import dicom_bytes
from tests.pipelines.jobs import data_folder, new_store


def test_a_job_measures_file_sizes_and_each_commit(root, tmp_path):
    new_store(root)
    data = data_folder(root)
    for number in range(3):
        content = dicom_bytes(sop=f"1.2.1.1.{number}", StudyDescription="x" * number * 2)
        (tmp_path / f"{number}.dcm").write_bytes(content)
    sources = list(list_sources(parse_source(f"{tmp_path}/*.dcm")))
    sizes = [source.size for source in sources]
    pipeline = beam.Pipeline(runner="FnApiRunner")
    read = (
        pipeline
        | beam.Create([sources])
        | ReadAndStore(ImportTarget(data, False), 0, ProgressReporter(None))
    )
    _ = (
        read.instances
        | beam.Map(lambda instance: (0, instance))
        | beam.GroupByKey()
        | CommitInstances(data, "op")
    )
    result = pipeline.run()
    result.wait_until_finish()
    found = {
        f"{d.key.metric.namespace}/{d.key.metric.name}": d.committed
        for d in result.metrics().query()["distributions"]
    }
    assert set(found) == {
        "read/file_bytes",
        "commit/rows",
        "commit/lookup_ms",
        "commit/append_ms",
    }
    sized = found["read/file_bytes"]
    assert (sized.count, sized.min, sized.max) == (3, min(sizes), max(sizes))
    assert (found["commit/rows"].count, found["commit/rows"].sum) == (1, 3)
    assert found["commit/lookup_ms"].count == found["commit/append_ms"].count == 1
