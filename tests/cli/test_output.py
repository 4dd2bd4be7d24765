"""What commands print: for people, and for programs."""

import json
import logging
import re
import subprocess
import sys

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from typer.testing import CliRunner

from dicomferry.cli import output
from dicomferry.cli.columns import Layout, fit
from dicomferry.cli.main import app
from dicomferry.cli.operation_text import duration
from dicomferry.cli.settings import settings
from dicomferry.operations.asked import asked_by
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.operations.record import Method
from dicomferry.store.dicom_store import get_store
from dicomferry.transforms.commit_instances import commit
from tests.docs.blocks import all_commands
from tests.factories import make_instance
from tests.pipelines.jobs import STORE, new_store

ID = "20261124193740-ac319da9"
# Each prints nothing but JSON; those that follow see what those before have left.
TOLD = {
    "stores create": ["other", "--label", "a=b"],
    "stores update": ["other", "--remove-label", "a"],
    "stores list": [],
    "stores describe": [STORE.id],
    "stores metrics": [STORE.id],
    "stores verify": [STORE.id],
    "stores vacuum": [STORE.id],
    "stores upgrade": [STORE.id],
    "stores optimize": [STORE.id],
    "stores delete-instances": [STORE.id, "--yes", "--filter"],
    "stores delete": ["other", "--yes"],
    "operations list": [],
    "operations describe": [ID],
    "operations wait": [ID],
    "operations cancel": [ID],
    "operations prune": ["--older-than", "1d", "--dry-run"],
    "operations delete": [ID],
    "formats": [],
    "tokens create": ["me", "--permission", "healthcare.*", "--store", "*"],
}
# These run whole jobs, or until they are stopped: others test them.
ELSEWHERE = {"import", "export files", "export table", "serve", "preview", "demo"}


@pytest.fixture
def call(root):
    """Run a command in this process; return its result."""

    def run(*arguments):
        has_root = arguments[0] not in ("formats", "tokens")
        return CliRunner().invoke(app, [*arguments, *[f"--root={root.root}"] * has_root])

    yield run
    settings.__init__()


@pytest.fixture
def operation(root):
    """An operation that has ended, of a store with an instance whose blob is missing."""
    new_store(root)
    commit(get_store(root, STORE).data, [make_instance(metadata=zstandard.compress(b"{}"))], "op")
    folder = OperationFolder(root, STORE.parent, ID)
    folder.start(STORE, Method.IMPORT, asked=asked_by(source=f"/{'deep/' * 60}**.dcm"))
    record = folder.read()
    record.set_counts(OutcomeCounts(imported=1336), 1336)
    record.finish()
    folder.write(record)
    return folder


def test_every_command_is_here():
    assert {path for path, _ in all_commands()} == set(TOLD) | ELSEWHERE


@pytest.mark.usefixtures("operation")
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_programs_find_nothing_but_json_on_standard_output(call, tmp_path, form):
    paths = tmp_path / "paths.txt"
    paths.write_text("/studies/1.2.1\n")
    for path, arguments in TOLD.items():
        rest = [str(paths)] if arguments[-1:] == ["--filter"] else []
        done = call(*path.split(), *arguments, *rest, "--format", form)
        assert done.exit_code == (path == "stores verify"), (path, done.output)
        is_list = path.endswith((" list", " vacuum", " prune"))
        if form == "json":
            assert isinstance(json.loads(done.stdout), list if is_list else dict), path
        else:
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert is_list or len(lines) == 1, path


@pytest.mark.usefixtures("operation")
def test_quiet_says_no_more_than_the_result(call):
    assert "next: " in call("stores", "create", "a").stdout
    quiet = call("stores", "create", "b", "--quiet")
    assert quiet.output.count("\n") == 1
    assert quiet.output.startswith("Created ")
    assert call("stores", "vacuum", STORE.id, "-q").output == ""
    assert "missing" in call("stores", "verify", STORE.id, "-q").stderr, "why it exits with 1"


def test_with_a_log_of_json_every_line_of_standard_error_is_one(root):
    arguments = ["stores", "describe", "none", "--log-format=json", f"--root={root.root}"]
    program = [sys.executable, "-c", "from dicomferry.cli.main import main; main()", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = map(json.loads, done.stderr.splitlines())
    assert line["severity"] == "ERROR"
    assert "dicomferry stores create none" in line["message"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stores", "list", "--shade", "--log-format", "json"], "No such option: --shade"),
        (["stores", "list", "--format=xml", "--log-format=json"], "'xml' is not one of"),
        (["--log-format", "json", "stores"], "--log-format"),
        (["stores", "lost", "--log-format=json"], "No such command 'lost'"),
        (["import", "--log-format=json"], "Missing argument 'store'"),
        (["import", "s", "/x/**", "--max-failure=3", "--log-format=json"],
         "--max-failure is neither a flag of this command nor of Beam"),
        (["export", "files", "s", "o", "--to=gif", "--log-format=json"], "cannot be exported"),
    ],
)  # fmt: skip
def test_with_a_log_of_json_an_error_in_the_command_line_is_a_line_of_it(arguments, told, root):
    log = logging.getLogger()
    handlers, level = log.handlers[:], log.level
    try:
        done = CliRunner().invoke(app, arguments, env={"DICOMFERRY_ROOT": root.root})
    finally:
        log.handlers[:], log.level = handlers, level
    assert done.exit_code == 2
    assert done.stdout == ""
    [line] = map(json.loads, done.stderr.splitlines())
    assert line["severity"] == "ERROR"
    assert told in line["message"]


def test_verbose_shows_the_log_of_this_package_alone(call):
    try:
        call("stores", "list", "-v")
        assert logging.getLogger("dicomferry.pipelines.job").isEnabledFor(logging.INFO)
        call("stores", "list")
        assert not logging.getLogger("dicomferry.pipelines.job").isEnabledFor(logging.DEBUG)
    finally:
        logging.getLogger("dicomferry").setLevel(logging.NOTSET)


@pytest.mark.parametrize("width", [80, 100, 160, None])
@pytest.mark.usefixtures("operation")
def test_a_list_of_operations_fits_the_terminal_and_has_whole_ids(call, monkeypatch, width):
    if width:
        monkeypatch.setattr(output.console, "_width", width)
        monkeypatch.setattr(output.console, "_height", 40)
        monkeypatch.setattr(output.console, "_force_terminal", True)
    head, line = call("operations", "list").stdout.splitlines()
    assert line.startswith(ID)
    assert " 1,336 " in line
    assert "…" in line or not width
    if width:
        assert max(len(head), len(line)) <= width
    if width in (160, None):
        assert re.search(r" 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  import  \w+ +done ", line)
        assert head.split()[:7] == [
            "id",
            "started",
            "method",
            "store",
            "state",
            "took",
            "succeeded",
        ]
    assert ("deep/" * 60 in line) == (width is None)


def test_an_operation_is_described_for_people(call, operation):
    told = call("operations", "describe", operation.id).stdout
    assert re.search(r"^state +done$", told, re.MULTILINE)
    assert re.search(r"^source +/deep/", told, re.MULTILINE)
    assert re.search(r"^files +1,336 succeeded, 0 failed of 1,336$", told, re.MULTILINE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59, "59s"), (61, "1m01s"), (3600, "1h00m"), (86400 + 7200, "1d02h")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


@given(
    st.lists(st.tuples(*[st.text("ab日 ", max_size=30)] * 3), max_size=4),
    st.integers(20, 120),
)
def test_columns_fit_where_what_gives_way_is_enough(rows, width):
    table = [("id", "place", "more"), *rows]
    lines = fit(table, Layout("place", ("more",)), width)
    assert len(lines) == len(table)
    ids = max(cell_len(row[0]) for row in table)
    if ids + 2 + 12 <= width:
        assert max(map(cell_len, lines)) <= width
    assert all(line.startswith(row[0].rstrip()) for line, row in zip(lines, table, strict=True))
    whole = fit(table, Layout("place", ("more",)), None)
    for line, row in zip(whole, table, strict=True):
        assert line.split() == " ".join(row).split()
