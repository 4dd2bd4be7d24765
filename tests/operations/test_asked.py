"""The record of an operation says what was asked, by whom, of which version; no credentials."""

import getpass
import json

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from typer.testing import CliRunner

import dicomferry
from dicomferry.api.proto.generated import error_details_pb2, operation_metadata_pb2
from dicomferry.api.resources import operation_message
from dicomferry.cli.main import app
from dicomferry.console.views.operation import operation_section, request_section
from dicomferry.operations.asked import without_secrets
from dicomferry.pipelines.job import Job
from dicomferry.tables.destination import WriteDisposition
from tests.pipelines.jobs import files_of, import_of, new_store, table_of


@pytest.mark.parametrize(
    ("make", "flags"),
    [
        (lambda root: import_of(root, "/in/*.dcm"), {"source": "/in/*.dcm", "on_conflict": "fail"}),
        (
            lambda root: import_of(root, "gs://bucket/**", dry_run=True, max_failures=3, workers=0),
            {
                "source": "gs://bucket/**",
                "dry_run": "true",
                "on_conflict": "fail",
                "max_failures": "3",
                "workers": "0",
            },
        ),
        (
            lambda root: files_of(root, "/out", "image/png", filter="gs://b/paths"),
            {"destination": "/out", "mime_type": "image/png", "filter": "gs://b/paths"},
        ),
        (
            lambda root: files_of(root, "/out"),
            {"destination": "/out", "mime_type": "application/dicom; transfer-syntax=*"},
        ),
        (
            lambda root: table_of(
                root, "delta:/t", write_disposition=WriteDisposition.WRITE_APPEND, snapshot=4
            ),
            {
                "table": "delta:/t",
                "write_disposition": "WRITE_APPEND",
                "schema": "flattened",
                "snapshot": "4",
            },
        ),
    ],
)
def test_the_flags_of_a_request_are_recorded_with_the_form(root, make, flags):
    assert make(root).asked().flags == flags


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/in/a?b=c*.dcm", "/in/a?b=c*.dcm"),
        ("gs://bucket/in/**", "gs://bucket/in/**"),
        ("https://me:secret@host/x", "https://…@host/x"),
        ("https://h/x?X-Goog-Signature=ab%2Fc&y=1#f", "https://h/x?X-Goog-Signature=…&y=…#f"),
        ("https://acc.blob/x?sp=r&sig=a+b/c==", "https://acc.blob/x?sp=…&sig=…"),
        ("delta:az://c/t?token=abc", "delta:az://c/t?token=…"),
    ],
)
def test_credentials_in_a_uri_are_not_recorded(given, kept):
    assert without_secrets(given) == kept


@pytest.fixture
def folder(root):
    new_store(root)
    job = Job(import_of(root, "/in/<b>*.dcm"), None)
    return job.folder


def published():
    """OperationMetadata as Google's clients have it: without our fields."""
    file = descriptor_pb2.FileDescriptorProto()
    operation_metadata_pb2.DESCRIPTOR.CopyToProto(file)
    [message] = [each for each in file.message_type if each.name == "OperationMetadata"]
    for ours in [field for field in message.field if field.number > 1000]:
        message.field.remove(ours)
    file.dependency.remove(error_details_pb2.DESCRIPTOR.name)
    pool = descriptor_pool.DescriptorPool()
    for other in ("google/protobuf/timestamp.proto",):
        needed = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(other).CopyToProto(needed)
        pool.Add(needed)
    pool.Add(file)
    name = "google.cloud.healthcare.v1.OperationMetadata"
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def test_every_reader_sees_it_and_clients_that_do_not_know_it_do_not_break(root, folder):
    record = folder.read()
    assert record.asked.principal == getpass.getuser()
    assert record.asked.version == dicomferry.__version__
    for command in (["list"], ["describe", folder.id]):
        shown = CliRunner().invoke(app, ["operations", *command, "--root", root.root])
        assert "/in/<b>*.dcm" in shown.output
    page = operation_section(record) + request_section(record)
    assert "/in/&lt;b&gt;*.dcm" in page
    assert getpass.getuser() in page
    message = operation_message(record)
    client = published()()
    assert message.metadata.value
    client.ParseFromString(message.metadata.value)
    assert client.api_method_name.endswith("ImportDicomData")
    metadata = json.loads(json_format.MessageToJson(message))["metadata"]
    assert metadata["request"]["flags"]["source"] == "/in/<b>*.dcm"
    del metadata["@type"]
    json_format.ParseDict(metadata, client, ignore_unknown_fields=True)


def test_what_was_asked_is_still_there_when_the_job_has_ended(folder):
    asked = folder.read().asked
    record = folder.read()
    record.finish()
    folder.write(record)
    assert folder.read().asked == asked
