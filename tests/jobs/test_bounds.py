"""Jobs of a server stay in their bounds, whatever links lead to when they run."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest
from google.rpc.code_pb2 import PERMISSION_DENIED

from dicomferry.jobs import launch
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.places import Bounds, PlaceDeniedError, Places
from dicomferry.places.bounds import parse_bounds
from dicomferry.places.confinement import can_confine
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.store.dicom_store import create_store
from dicomferry.store.instance_filter import FilterError, read_instance_filter
from dicomferry.transforms import publish_notifications
from tests.jobs.test_launch import ended
from tests.pipelines.jobs import (
    STORE,
    files_of,
    images,
    import_of,
    new_store,
    run_import,
    table_of,
    tree,
    write_files,
)
from tests.pipelines.tables import run_table_export, uids

confined = pytest.mark.skipif(not can_confine(), reason="this kernel has no Landlock")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A folder to read, one to write, a secret beside them, and another for temporary files."""
    for name in ("in", "out", "secret"):
        (tmp_path / name).mkdir()
    with tempfile.TemporaryDirectory() as short:  # paths of sockets have at most 107 bytes
        monkeypatch.setenv("TMPDIR", short)
        yield tmp_path


@pytest.fixture
def bounds(disk):
    server = Bounds.of_server(read=[f"{disk}/in"], write=[f"{disk}/out"])
    return parse_bounds(server.to_text())


CONFINED = """
import os, sys
from dicomferry.places.bounds import parse_bounds
from dicomferry.places.confinement import confine_writes
opened = open(sys.argv[2] + "/open", "w")
assert confine_writes([sys.argv[1], sys.argv[1] + "/missing"])
allowed, other = sys.argv[1:]
attempts = {
    "create": lambda at: open(f"{at}/new", "w").close(),
    "write": lambda at: open(f"{at}/old", "r+").write("x"),
    "rename": lambda at: os.replace(f"{allowed}/mine", f"{at}/mine2"),
    "link": lambda at: os.link(f"{allowed}/old", f"{at}/link"),
    "delete": lambda at: os.unlink(f"{at}/old"),
    "folder": lambda at: os.mkdir(f"{at}/folder"),
    "symlink": lambda at: os.symlink("x", f"{at}/symlink"),
    "truncate": lambda at: os.truncate(f"{at}/long", 0),
    "remove": lambda at: os.rmdir(f"{at}/empty"),
}
for at in (f"{allowed}/out", other, allowed):
    for name, attempt in attempts.items():
        try:
            attempt(at)
            print(name, end=" ")
        except OSError:
            pass
    if os.fork() == 0:
        try:
            open(f"{at}/child", "w").close()
            print("child", end=" ", flush=True)
        except OSError:
            pass
        os._exit(0)
    os.wait()
    print(flush=True)
opened.write("x")
open("/dev/null", "w").write("x")
"""


@confined
def test_a_process_writes_to_its_folders_only_itself_and_by_links_and_children(disk):
    for folder in ("out", "secret"):
        (disk / folder / "old").write_text("old")
        (disk / folder / "long").write_text("long")
        (disk / folder / "empty").mkdir()
    (disk / "out/mine").write_text("mine")
    (disk / "out/out").symlink_to(disk / "secret")
    before = tree(disk / "secret")
    program = [sys.executable, "-c", CONFINED, str(disk / "out"), str(disk / "secret")]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    by_link, other, allowed = result.stdout.splitlines()
    assert (by_link, other) == ("", "")
    assert allowed.split() == [
        "create", "write", "rename", "link", "delete", "folder", "symlink", "truncate", "remove",
        "child",
    ]  # fmt: skip
    (disk / "secret/open").unlink()
    assert tree(disk / "secret") == before


@confined
def test_a_job_writes_nothing_through_a_link_in_its_destination(root, disk, bounds):
    new_store(root)
    run_import(root, write_files(disk / "in", images(2)))
    (disk / "out/x").mkdir()
    (disk / "out/x/1.2.1").symlink_to(disk / "secret")
    folder = launch.start(files_of(root, disk / "out/x", bounds=bounds))
    operation = ended(folder)
    assert "Permission denied" in operation.error.message
    assert tree(disk / "secret") == {}


@pytest.mark.parametrize(
    "job",
    [
        lambda root, disk: import_of(root, f"{disk}/in/link/**"),
        lambda root, disk: files_of(root, f"{disk}/out/link"),
        lambda root, disk: table_of(root, f"delta:{disk}/out/link/table"),
        lambda root, disk: table_of(root, f"duckdb:{disk}/out/link/x.duckdb#t"),
        lambda root, disk: files_of(root, f"{disk}/out", filter=f"{disk}/in/link/filter"),
    ],
)
def test_a_link_that_is_set_after_the_request_is_refused_when_the_job_begins(
    root, disk, bounds, job
):
    new_store(root)
    (disk / "secret/filter").write_text("/studies/1")
    (disk / "secret/x.dcm").touch()
    for folder in ("in", "out"):
        (disk / folder / "link").mkdir()
    request = job(root, disk)
    for folder in ("in", "out"):
        (disk / folder / "link").rmdir()
        (disk / folder / "link").symlink_to(disk / "secret")
    before = tree(disk / "secret")
    with pytest.raises(PlaceDeniedError, match="is not in a place that this job may"):
        replace(request, bounds=bounds).resolve()
    assert tree(disk / "secret") == before


def test_a_filter_file_is_what_is_open_and_not_what_was_checked(disk):
    (disk / "secret/filter").write_text("/studies/1")
    (disk / "in/filter").symlink_to(disk / "secret/filter")
    with pytest.raises(FilterError, match="there is no filter file"):
        read_instance_filter(f"{disk}/in/filter", AllowedFolders((str(disk / "in"),)))
    assert read_instance_filter(f"{disk}/in/filter", AllowedFolders((str(disk),))).studies == {"1"}


def test_streams_and_topics_out_of_bounds_get_nothing_and_later_what_they_missed(
    root, disk, bounds, monkeypatch
):
    table, topic = f"delta:{disk}/secret/table", "projects/p/topics/t"
    resource = {
        "streamConfigs": [{"bigqueryDestination": {"tableUri": table}}],
        "notificationConfigs": [{"pubsubTopic": topic}],
    }
    create_store(root, STORE, resource)
    sent = []
    monkeypatch.setattr(
        publish_notifications._Publisher,
        "_request",
        lambda _self, _topic, messages: (
            sent.extend(messages) or publish_notifications.Published(len(messages))
        ),
    )
    closed = Bounds(bounds.read, bounds.write._replace(remote=()))
    files = write_files(disk / "in", images(2))
    job = run_import(root, files, f"--bounds={closed.to_text()}")
    assert (job.code, job.kinds) == (0, {"imported": 2})
    [stream] = lines_of(job, "stream-errors")
    assert (stream["table"], stream["code"]) == (table, "REFUSED")
    [notification] = lines_of(job, "notification-errors")
    assert (notification["topic"], notification["lacking"]) == (topic, 2)
    for error in (stream, notification):
        assert "is not in a place that this job may write" in error["reason"]
    assert tree(disk / "secret") == {}
    assert sent == []

    wide = Bounds(bounds.read, Places((str(disk / "secret"),), (topic,)))
    write_files(disk / "in", images(3))
    assert run_import(root, files, f"--bounds={wide.to_text()}").code == 0
    assert len(uids(table)) == len(sent) == 3


def test_a_table_is_checked_again_when_its_rows_are_loaded(root, disk, bounds, monkeypatch):
    new_store(root)
    run_import(root, write_files(disk / "in", images(1)))
    # As if the link were set after the job has begun.
    monkeypatch.setattr(ExportRequest, "_check_places", lambda _self: None)
    table = f"delta:{disk}/secret/table"
    job = run_table_export(root, table, f"--bounds={bounds.to_text()}")
    assert job.operation["error"]["code"] == PERMISSION_DENIED
    assert tree(disk / "secret") == {}


def lines_of(job, kind):
    """The errors of a kind beside an operation."""
    return [
        json.loads(line)
        for entry in job.folder.storage.list()
        if entry.path.startswith(kind)
        for line in job.folder.storage.read(entry.path).splitlines()
    ]
