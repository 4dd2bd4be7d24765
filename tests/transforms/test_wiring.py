"""Listing, reading, grouping and writing, each as Beam runs it."""

from pathlib import Path

import apache_beam as beam
import google_crc32c
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from pydicom.data import get_testdata_file

import dicomferry.transforms.list_sources
import dicomferry.transforms.read_index
import dicomferry.transforms.write_instance
from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.folder import start_operation
from dicomferry.pixels.formats import parse_form, parse_format
from dicomferry.sources.listing import list_sources
from dicomferry.sources.local import describe_file
from dicomferry.sources.uri import parse_source
from dicomferry.storage.registry import open_storage
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter, StoredFilter
from dicomferry.transforms.export_files import ExportFiles
from dicomferry.transforms.find_paths import FindPaths
from dicomferry.transforms.ingest import ImportTarget
from dicomferry.transforms.list_sources import DescribeSources, ListSources
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_and_store import ReadAndStore
from dicomferry.transforms.read_index import ReadIndex
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.write_instance import FileTarget, StoredInstance, write, write_all
from tests.factories import dicom_bytes, living
from tests.pipelines.jobs import STORE, images, new_store, run_import, write_files


def counted(pipeline, namespace):
    """The counters of a namespace after a run."""
    query = MetricsFilter().with_namespace(namespace)
    found = pipeline.result.metrics().query(query)["counters"]
    return {counter.key.metric.name: counter.committed for counter in found}


def test_a_pattern_becomes_listings(tmp_path, monkeypatch):
    monkeypatch.setattr(dicomferry.transforms.list_sources, "LISTING_FILES", 2)
    pattern = write_files(tmp_path, images(5))
    with test_pipeline.TestPipeline() as pipeline:
        listed = pipeline | beam.Create([pattern]) | ListSources()
        sources = sorted(list_sources(parse_source(pattern)))
        assert_that(listed | "Each" >> beam.FlatMap(iter), equal_to(sources))
        assert_that(listed | beam.Map(len), equal_to([2, 2, 1]), label="Sizes")


def test_uris_are_described_as_they_are_now(tmp_path):
    write_files(tmp_path, {"a*.dcm": b"x"})
    uris = [f"{tmp_path}/a*.dcm", f"{tmp_path}/gone"]
    with test_pipeline.TestPipeline() as pipeline:
        found = pipeline | beam.Create([uris]) | DescribeSources()
        [present, gone] = dicomferry.transforms.list_sources.describe(uris)
        assert (present.size, present.code, gone.code) == (1, "", "SOURCE_GONE")
        assert_that(found, equal_to([[present, gone]]))


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_gives_instances_and_failures_and_counts_both(tmp_path, workers):
    files = {"a.dcm": dicom_bytes(), "b.txt": b"not DICOM", "c.dcm": dicom_bytes(sop="1.2.3")}
    write_files(tmp_path / "in", files)
    share = [describe_file(str(tmp_path / "in" / name)) for name in files]
    target = ImportTarget(living(open_storage(str(tmp_path / "data"))), dry_run=False)
    with test_pipeline.TestPipeline() as pipeline:
        read = (
            pipeline | beam.Create([share]) | ReadAndStore(target, workers, ProgressReporter(None))
        )
        uids = read.instances | beam.Map(lambda instance: instance.sop_instance_uid)
        failed = read.outcomes | beam.Map(lambda outcome: outcome[:3])
        assert_that(uids, equal_to(["1.2.1.1.1", "1.2.3"]), label="Instances")
        assert_that(failed, equal_to([(share[1].uri, "failed", "NOT_DICOM")]), label="Outcomes")
    size = sum(map(len, files.values()))
    assert counted(pipeline, "read") == {"files": 3, "bytes": size, "failed": 1}


@pytest.fixture
def store(root, tmp_path):
    """A store with three instances, imported in two commits."""
    store = new_store(root)
    run_import(root, write_files(tmp_path / "a", images(2)))
    other = {"x": dicom_bytes(study="1.3", series="1.3.1", sop="1.3.1.1")}
    run_import(root, write_files(tmp_path / "b", other))
    return store


def test_an_index_is_read_whole_or_by_paths(store):
    rows = Index(store.data).dataset().to_table().to_pylist()
    shares = [
        instance
        for file in Index(store.data).files
        for unit in dicomferry.transforms.read_index.split_files(file, store.data)
        for share in dicomferry.transforms.read_index._read(unit, store.data, None)
        for instance in share
    ]
    assert sorted(shares) == sorted(
        StoredInstance(
            row["StudyInstanceUID"],
            row["SeriesInstanceUID"],
            row["SOPInstanceUID"],
            row["TransferSyntaxUID"],
            row["BlobUri"],
            row["BlobStorageSize"],
            row["Crc32c"],
        )
        for row in rows
    )
    paths = InstanceFilter(frozenset(["1.3"]), frozenset(), frozenset())
    only = StoredFilter.store(paths, store.data)
    with test_pipeline.TestPipeline() as pipeline:
        found = (
            pipeline
            | beam.Create(Index(store.data).files)
            | ReadIndex(store.data, only)
            | beam.FlatMap(lambda share: [instance.sop_instance_uid for instance in share])
        )
        assert_that(found, equal_to(["1.3.1.1"]))


def test_workers_find_what_a_filter_names_and_report_what_it_names_in_vain(root, store):
    vain = frozenset(f"1.3/1.3.1/9.{number}" for number in range(100))
    paths = InstanceFilter(
        frozenset(["1.3", "8"]), frozenset(["7/7.1"]), vain | {"1.3/1.3.1/1.3.1.1"}
    )
    folder = start_operation(root, STORE, "ExportDicomData")
    stored_filter = StoredFilter.store(paths, folder.storage)
    assert stored_filter.load() == paths
    with test_pipeline.TestPipeline() as pipeline:
        files = pipeline | beam.Create(Index(store.data).files)
        total = files | FindPaths(store.data, stored_filter, folder)
        assert_that(total, equal_to([1 + 102]))
    number, unmatched = paths.find(Index(store.data).uids())
    assert (number, len(unmatched)) == (1, 102)
    assert sorted(line["source"] for line in folder.outcomes()) == unmatched
    assert folder.counts().failures == 102


def stored(data, content):
    """An instance as an index row gives it, with its blob in place."""
    data.write("instances/a.dcm", content)
    return StoredInstance(
        "1.2",
        "1.2.3",
        "1.2.3.4",
        "1.2.840.10008.1.2.1",
        "instances/a.dcm",
        len(content),
        google_crc32c.value(content),
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_exporting_counts_what_it_wrote(tmp_path, workers):
    data, out = open_storage(str(tmp_path / "data")), open_storage(str(tmp_path / "out"))
    instance = stored(data, dicom_bytes())
    with test_pipeline.TestPipeline() as pipeline:
        found = (
            pipeline
            | beam.Create([[instance] * 3])
            | ExportFiles(FileTarget(data, out), workers, ProgressReporter(None))
        )
        path = "/studies/1.2/series/1.2.3/instances/1.2.3.4"
        outcome = FileOutcome(path, "exported", "", "1.2.3.4", size=instance.size)
        assert_that(found, equal_to([outcome] * 3))
    assert counted(pipeline, "export") == {
        "instances": 3,
        "written": 3,
        "bytes": 3 * instance.size,
        "failed": 0,
    }
    assert out.read("1.2/1.2.3/1.2.3.4.dcm") == dicom_bytes()


def test_frames_of_an_instance_that_breaks_off_are_taken_away_again(tmp_path, monkeypatch):
    data, out = open_storage(str(tmp_path / "data")), open_storage(str(tmp_path / "out"))
    instance = stored(data, dicom_bytes())
    target = FileTarget(data, out, parse_format("image/png"))
    transcode = dicomferry.transforms.write_instance.transcode

    def breaking_off(*args):
        for output in transcode(*args):
            yield output._replace(frame=1) if hasattr(output, "_replace") else output
        raise InstanceError(Reason.CODE_STREAM_INVALID)

    monkeypatch.setattr(dicomferry.transforms.write_instance, "transcode", breaking_off)
    assert write(instance, target)[1:3] == ("failed", "CODE_STREAM_INVALID")
    assert list(out.list()) == []


@pytest.mark.parametrize(("is_asked", "outcome"), [(True, "skipped"), (False, "failed")])
def test_of_an_instance_without_pixels_no_picture_is_a_failure_unless_asked(
    tmp_path, is_asked, outcome
):
    data, out = open_storage(str(tmp_path / "data")), open_storage(str(tmp_path / "out"))
    report = get_testdata_file("reportsi.dcm", download=False)
    instance = stored(data, Path(report).read_bytes())
    target = FileTarget(data, out, parse_form("png"), skip_without_pixels=is_asked)
    assert write(instance, target)[1:3] == (outcome, "NO_PIXEL_DATA")
    assert list(out.list()) == []
    cut = stored(data, dicom_bytes()[:-40])
    assert write(cut, target).outcome == "failed", "for another reason"


def test_an_instance_that_cannot_be_shown_fails_alone_and_in_order(tmp_path):
    data, out = open_storage(str(tmp_path / "data")), open_storage(str(tmp_path / "out"))
    good = stored(data, dicom_bytes())
    data.write("instances/b.dcm", dicom_bytes()[:-40])
    bad = good._replace(sop_instance_uid="1.2.3.5", blob="instances/b.dcm", size=good.size - 40)
    found = write_all([bad, good], FileTarget(data, out, parse_format("image/png")))
    assert [outcome.outcome for outcome in found] == ["failed", "exported"]
    assert [entry.path.rpartition("/")[2] for entry in out.list()] == ["1.2.3.4.png"]


def test_a_blob_that_is_gone_is_an_error_of_storage(tmp_path):
    data, out = open_storage(str(tmp_path / "data")), open_storage(str(tmp_path / "out"))
    instance = stored(data, dicom_bytes())
    data.delete([instance.blob])
    with pytest.raises(FileNotFoundError):
        write(instance, FileTarget(data, out))
    assert list(out.list()) == []
