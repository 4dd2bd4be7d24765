import pytest
from google.api_core.exceptions import ServiceUnavailable

from dicomferry.tables import bigquery_load
from dicomferry.tables.bigquery_table import BIGQUERY
from dicomferry.tables.concatenated_files import ConcatenatedFiles
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.errors import (
    TableBusyError,
    TableError,
    TableNotEmptyError,
    TableOutOfReachError,
)
from dicomferry.tables.schema import Field
from dicomferry.tables.shards import Shards
from dicomferry.transforms import append_to_streams, export_table
from tests.tables.fake_bigquery import PROJECT
from tests.tables.instances import flattened

EMPTY, TRUNCATE, APPEND = WriteDisposition
SCHEMA = (Field("Modality", "STRING"),)
DESTINATION = parse_destination(f"bq://{PROJECT}.data.instances")


def rows(bigquery):
    return [row["Modality"] for row in bigquery.tables["data.instances"]["rows"]]


def test_shards_in_a_bucket_are_read_by_bigquery_in_one_job(bigquery):
    bigquery.objects = {f"gs://b/{n}": b'{"Modality": "%d"}\n' % n for n in range(3)}
    DESTINATION.load(Load(Shards(tuple(bigquery.objects)), SCHEMA, EMPTY, "operation-1"))
    assert rows(bigquery) == ["0", "1", "2"]
    (job,) = bigquery.jobs.values()
    assert job["jobReference"] == {
        "jobId": "dicomferry_operation-1_0",
        "location": "EU",
        "projectId": PROJECT,
    }
    assert job["configuration"]["load"]["sourceFormat"] == "NEWLINE_DELIMITED_JSON"


def test_shards_in_a_bucket_that_bigquery_does_not_read_are_uploaded(bigquery):
    objects = {f"mem://b/{n}": b'{"Modality": "%d"}\n' % n for n in range(3)}
    shards = Shards(tuple(objects), lambda uri: [objects[uri]])
    DESTINATION.load(Load(shards, SCHEMA, EMPTY, "operation-1"))
    assert rows(bigquery) == ["0", "1", "2"]
    assert len(bigquery.uploads) == 1


def test_a_large_local_upload_is_one_job_too(bigquery, shards):
    files = [[{"Modality": f"{n}" * 1000}] * 1500 for n in range(6)]
    DESTINATION.load(Load(shards(*files), SCHEMA, EMPTY, "j"))
    assert len(rows(bigquery)) == 9000
    assert bigquery.inserted == ["dicomferry_j_0"]
    assert len(bigquery.uploads) == 1


def test_all_that_a_load_job_takes_is_in_as_many_shards_as_it_takes():
    parts = max(
        export_table._MAX_PARTS, append_to_streams._REMOTE_SHARES * append_to_streams._MAX_PARTS
    )
    assert parts + 15 * 2**40 / DESTINATION.shard_bytes <= bigquery_load._MAX_FILES


@pytest.mark.parametrize("disposition", [EMPTY, TRUNCATE, APPEND])
def test_a_load_that_is_asked_for_again_meets_its_job(bigquery, shards, disposition):
    for _ in range(2):
        DESTINATION.load(Load(shards([{"Modality": "CT"}]), SCHEMA, disposition, "j"))
    assert rows(bigquery) == ["CT"]
    assert bigquery.inserted == ["dicomferry_j_0"]


@pytest.mark.parametrize("remote", [False, True])
def test_a_lost_answer_loads_nothing_twice(bigquery, shards, remote):
    bigquery.lose_answers = 1
    bigquery.objects["gs://b/0"] = b'{"Modality": "CT"}\n'
    rows_ = Shards(("gs://b/0",)) if remote else shards([{"Modality": "CT"}])
    DESTINATION.load(Load(rows_, SCHEMA, APPEND, "j"))
    assert rows(bigquery) == ["CT"]
    assert set(bigquery.inserted) == {"dicomferry_j_0"}
    assert len(bigquery.inserted) == 2  # the second was answered 409


def test_the_next_attempt_starts_after_the_last_is_known_to_have_failed(bigquery, shards):
    bigquery.fail = ["backendError", "rateLimitExceeded"]
    DESTINATION.load(Load(shards([{"Modality": "CT"}]), SCHEMA, EMPTY, "j"))
    assert rows(bigquery) == ["CT"]
    assert bigquery.inserted == [f"dicomferry_j_{attempt}" for attempt in range(3)]


def test_a_job_of_unknown_outcome_is_not_followed_by_another(bigquery, shards, monkeypatch):
    def reload(*_, **__):
        raise ServiceUnavailable("gone")

    def unknown(*args, **kwargs):
        job = started(*args, **kwargs)
        job._properties["status"] = {"state": "RUNNING"}
        return job

    started = bigquery_load._start
    monkeypatch.setattr(bigquery_load, "_start", unknown)
    monkeypatch.setattr("google.cloud.bigquery.LoadJob.reload", reload)
    with pytest.raises(TableOutOfReachError, match=r"bq show -j my-project:EU.dicomferry_j_0"):
        DESTINATION.load(Load(shards([{"Modality": "CT"}]), SCHEMA, EMPTY, "j"))
    assert bigquery.inserted == ["dicomferry_j_0"]


def test_a_load_job_is_followed_for_as_long_as_it_runs(bigquery, shards, monkeypatch):
    def slow(resource):
        status = {"state": states.pop(0)} if states else resource["status"]
        return {**resource, "status": status}

    states = ["PENDING", "RUNNING", "RUNNING"]
    bigquery.show = slow
    pauses = []
    monkeypatch.setattr(bigquery_load.time, "sleep", pauses.append)
    DESTINATION.load(Load(shards([{"Modality": "CT"}]), SCHEMA, EMPTY, "j"))
    assert rows(bigquery) == ["CT"]
    assert pauses == sorted(pauses)
    assert len(pauses) == 2  # the first state came with the answer to the insertion


def test_failures_in_bigquery_itself_end_after_some_attempts(bigquery, shards):
    bigquery.fail = ["internalError"] * 9
    with pytest.raises(TableBusyError, match="Try again later"):
        DESTINATION.load(Load(shards([]), SCHEMA, EMPTY, "j"))
    assert len(bigquery.inserted) == 5
    assert bigquery.tables == {}


def test_a_refused_job_is_named_without_what_its_message_holds(bigquery, shards):
    bigquery.fail = ["invalid"]
    with pytest.raises(TableError, match=r"bq show -j my-project:EU.dicomferry_j_0") as refused:
        DESTINATION.load(Load(shards([]), SCHEMA, EMPTY, "j"))
    assert "DOE" not in str(refused.value)
    assert bigquery.inserted == ["dicomferry_j_0"]


def test_rows_that_come_between_check_and_load_are_found_by_the_job(bigquery, shards):
    def intrude():
        fields = [{"name": "Modality", "type": "STRING"}]
        bigquery.tables["data.instances"] = {
            "fields": fields,
            "rows": [{"Modality": "MR"}],
            "type": "TABLE",
        }

    DESTINATION.check(EMPTY, SCHEMA)
    bigquery.before_load = intrude
    with pytest.raises(TableNotEmptyError):
        DESTINATION.load(Load(shards([{"Modality": "CT"}]), SCHEMA, EMPTY, "j"))
    assert rows(bigquery) == ["MR"]


def test_rows_in_the_streaming_buffer_are_rows(bigquery):
    buffer = {"estimatedRows": "3", "estimatedBytes": "9", "oldestEntryTime": "1"}
    bigquery.tables["data.instances"] = {
        "fields": [],
        "rows": [],
        "type": "TABLE",
        "more": {"streamingBuffer": buffer},
    }
    with pytest.raises(TableNotEmptyError):
        DESTINATION.check(EMPTY)


def test_a_missing_dataset_is_named_with_the_command_that_makes_it(bigquery, shards):
    destination = parse_destination(f"bq://{PROJECT}.nowhere.t")
    for refused in (
        lambda: destination.check(EMPTY),
        lambda: destination.load(Load(shards([]), SCHEMA, EMPTY, "j")),
    ):
        with pytest.raises(TableError, match=r"bq mk --dataset my-project:nowhere"):
            refused()


def test_a_view_is_not_written_to(bigquery):
    bigquery.tables["data.instances"] = {"fields": [], "rows": [], "type": "VIEW"}
    for disposition in WriteDisposition:
        with pytest.raises(TableError, match="is not a table but a VIEW"):
            DESTINATION.check(disposition)


def test_what_exceeds_the_limits_of_one_load_is_refused_before_it(bigquery, shards):
    wide = tuple(Field(f"C{n}", "STRING") for n in range(10_001))
    with pytest.raises(TableError, match="need 10001 columns"):
        DESTINATION.check(EMPTY, wide)
    deep = Field("C", "STRING")
    for _ in range(16):
        deep = Field("C", "RECORD", "REPEATED", (deep,))
    with pytest.raises(TableError, match="nested 16 deep"):
        DESTINATION.load(Load(shards([]), (deep,), EMPTY, "j"))
    many = Shards(tuple(f"gs://b/{n}" for n in range(10_001)))
    with pytest.raises(TableError, match="by filters and with WRITE_APPEND"):
        DESTINATION.load(Load(many, SCHEMA, EMPTY, "j"))
    assert bigquery.inserted == []


def test_the_deepest_row_that_is_written_is_one_that_bigquery_takes(bigquery, shards):
    leaf = {"0040A123": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}
    for _ in range(30):
        leaf = {"0040A730": {"vr": "SQ", "Value": [leaf]}, "0040A123": {"vr": "PN"}}
    row, _, schema = flattened(leaf, BIGQUERY)
    DESTINATION.load(Load(shards([row]), schema, EMPTY, "j"))
    assert bigquery.tables["data.instances"]["rows"] == [row]


def test_files_read_as_one_stream_wherever_an_upload_resumes(tmp_path):
    parts = [b"abc", b"", b"defgh", b"i", b""]
    for number, part in enumerate(parts):
        (tmp_path / str(number)).write_bytes(part)
    whole = b"".join(parts)
    with ConcatenatedFiles([str(tmp_path / str(number)) for number in range(len(parts))]) as stream:
        assert stream.size == len(whole)
        for start in range(len(whole) + 2):
            for size in (-1, 0, 1, 4, 100):
                assert stream.seek(start) == start
                expected = whole[start:] if size < 0 else whole[start : start + size]
                assert stream.read(size) == expected
                assert stream.tell() == start + len(expected)
        assert stream.seek(-2, 2) == len(whole) - 2
        assert stream.read() == whole[-2:]
