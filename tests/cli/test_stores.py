"""Labels, streams and filters of stores on the command line."""

import io
import json

import pytest
import zstandard

from dicomferry.cli import main
from dicomferry.operations.folder import start_operation
from dicomferry.operations.record import Method
from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import get_store
from dicomferry.store.index import Index
from dicomferry.transforms.commit_instances import commit
from tests.factories import make_instance


@pytest.fixture
def dicomferry(root, monkeypatch, capsys):
    """Run a command; return its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["dicomferry", *arguments, f"--root={root.root}"])
        with pytest.raises(SystemExit) as end:
            main.main()
        out, error = capsys.readouterr()
        return end.value.code or 0, out, error

    return run


def described(dicomferry, store):
    _, out, _ = dicomferry("stores", "describe", store, "--format=json")
    fields = json.loads(out)
    del fields["data"], fields["format"]
    return fields


def test_labels_and_streams_are_given_changed_and_taken_away(dicomferry):
    table, other = "bq://project1.d.t", "duckdb:x.duckdb#s.t"
    code, _, _ = dicomferry(
        "stores", "create", "trial", "--label=site=north", "--label=draft=", f"--stream-to={table}"
    )
    assert code == 0
    created = described(dicomferry, "trial")
    assert created["labels"] == {"site": "north", "draft": ""}
    assert created["streamConfigs"] == [{"bigqueryDestination": {"tableUri": table}}]

    dicomferry("stores", "update", "trial", "--label=site=south", "--remove-label=draft")
    assert described(dicomferry, "trial") == {**created, "labels": {"site": "south"}}
    dicomferry("stores", "update", "trial", f"--stream-to={other}")
    streams = [{"bigqueryDestination": {"tableUri": other}}]
    assert described(dicomferry, "trial")["streamConfigs"] == streams
    dicomferry("stores", "update", "trial", "--no-streams", "--remove-label=site")
    assert described(dicomferry, "trial") == {"name": created["name"]}


def listed(dicomferry, *flags):
    _, out, _ = dicomferry("stores", "list", *flags)
    return [line.split("  ")[0] for line in out.splitlines()[1:]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["update", "trial"], "--label"),
        (["update", "trial", "--label=x"], "KEY=VALUE"),
        (["update", "trial", "--label=X=y"], "label key 'X'"),
        (["update", "trial", "--stream-to=x"], "bq://"),
        (["update", "trial", "--stream-to=bq://project1.d.t", "--no-streams"], "either"),
        (["update", "missing", "--label=a=b"], "missing does not exist"),
        (["create", "other", "--label=x"], "KEY=VALUE"),
        (["list", "--filter=site=north"], "filter, character 1"),
    ],
)
def test_wrong_requests_are_told(dicomferry, arguments, said):
    dicomferry("stores", "create", "trial")
    code, _, error = dicomferry("stores", *arguments)
    assert code == 2
    assert said in error.replace("\n", " ")


def test_stores_are_found_by_their_labels(dicomferry):
    for name, site in (("a", "north"), ("b", "south"), ("c", "north")):
        dicomferry("stores", "create", name, f"--label=site={site}")
    assert listed(dicomferry) == ["a", "b", "c"]
    assert listed(dicomferry, "--filter=labels.site=north") == ["a", "c"]
    assert "No store matches" in dicomferry("stores", "list", "--filter=labels.site=west")[1]


@pytest.mark.parametrize("name", ["[red]a", "[link=x]", "\\[b]", ":warning:", "-", "a\u202eb"])
@pytest.mark.usefixtures("any_ids")
def test_a_store_of_any_name_is_shown_by_its_name(dicomferry, root, name):
    shown = name.replace("\u202e", "\\u202e")
    code, out, _ = dicomferry("stores", "create", name)
    assert code == 0
    assert f"/dicomStores/{shown} in " in out
    assert listed(dicomferry) == [shown]
    folder = start_operation(root, parse_store(name), "ImportDicomData")
    assert f" {shown} " in dicomferry("operations", "list")[1]
    assert dicomferry("operations", "cancel", folder.id)[0] == 0
    record = folder.read()
    record.finish()
    folder.write(record)
    code, out, _ = dicomferry("stores", "delete", "--yes", name)
    assert code == 0
    assert f"/dicomStores/{shown}\n" in out
    code, _, error = dicomferry("stores", "describe", name)
    assert code == 2
    assert f"/dicomStores/{shown} does not exist" in error


def test_instances_are_deleted_after_a_question(dicomferry, root, tmp_path, monkeypatch):
    dicomferry("stores", "create", "trial")
    data = get_store(root, parse_store("trial")).data
    commit(data, [make_instance(metadata=zstandard.compress(b"{}"))], "op")
    paths = tmp_path / "paths.txt"
    paths.write_text("/studies/1.2.1\n/studies/9\n")
    command = ("stores", "delete-instances", "trial", f"--filter={paths}")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, _ = dicomferry(*command)
    assert code == 1
    assert "1 paths match no instance. Delete 1 instances of" in out
    assert Index(data).count() == 1
    code, out, _ = dicomferry(*command, "--yes")
    assert code == 1  # for the path that matches nothing
    assert "NO_SUCH_RESOURCE" in out
    assert Index(data).count() == 0
    assert "delete-instances" not in out
    assert " delete " in dicomferry("operations", "list")[1]
    wrong = dicomferry("stores", "delete-instances", "trial", f"--filter={tmp_path}/none")
    assert wrong[0] == 2


def test_a_question_is_not_among_the_json_of_the_answer(dicomferry, monkeypatch):
    dicomferry("stores", "create", "trial")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, out, error = dicomferry("stores", "delete", "trial", "--format=json")
    assert code == 0
    assert json.loads(out)["name"].endswith("/dicomStores/trial")
    assert "for good?" in error


def test_no_error_gives_a_terminal_orders(dicomferry):
    for wrong in ("--label=\x1b[2J", "--label=a\nerror: b", "--stream-to=\x9b2J:"):
        code, out, error = dicomferry("stores", "create", "trial", wrong)
        assert code == 2
        assert error.count("\n") == 1
        assert not {"\x1b", "\x9b"} & set(out + error)


@pytest.mark.parametrize("stdin", ["", None])
def test_a_deletion_that_nobody_confirms_is_refused_with_its_remedy(dicomferry, monkeypatch, stdin):
    dicomferry("stores", "create", "trial")
    monkeypatch.setattr("sys.stdin", None if stdin is None else io.StringIO(stdin))
    code, _, error = dicomferry("stores", "delete", "trial")
    assert code == 2
    assert error == "error: cannot ask for confirmation here: add --yes\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert dicomferry("stores", "delete", "trial")[0] == 1
    assert dicomferry("stores", "describe", "trial")[0] == 0


def test_operations_where_there_are_none_and_an_age_of_nothing(dicomferry, root):
    code, out, _ = dicomferry("operations", "list")
    assert (code, out) == (0, f"No operations under {root.root}\n")
    start_operation(root, parse_store("trial"), Method.IMPORT)
    for age in ("0d", "00h"):
        code, _, error = dicomferry("operations", "prune", "--older-than", age)
        assert code == 2
        assert "1 or more: 90d, 12h" in error
