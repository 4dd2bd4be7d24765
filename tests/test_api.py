"""The Python API: its examples, what it costs to import, and what a type checker sees of it."""

import doctest
import inspect
import io
import json
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from types import SimpleNamespace

import apache_beam as beam
import pytest
from google.rpc.code_pb2 import DATA_LOSS, INTERNAL

import dicomferry
from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts, Total
from dicomferry.operations.record import Method
from dicomferry.pipelines.export_request import FILES, TABLE, ExportRequest
from dicomferry.pipelines.flags import flags_of
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.job import JobError
from dicomferry.public import flags, progress
from dicomferry.public.results import ImportResult
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from tests.checkout import REPOSITORY
from tests.factories import dicom_bytes
from tests.pipelines.jobs import PACKAGED

EXAMPLES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_overlay.dcm")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with four DICOM files and one other file."""
    (tmp_path / "dicom").mkdir()
    for name in EXAMPLES:
        shutil.copy(PACKAGED / "test_files" / name, tmp_path / "dicom")
    (tmp_path / "dicom" / "notes.txt").write_text("notes\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DICOMFERRY_ROOT", raising=False)
    return tmp_path


def examples():
    """Every docstring with an example below the public names."""
    found = {"dicomferry": dicomferry}
    for name in dicomferry.__all__:
        public = getattr(dicomferry, name)
        found[name] = public
        if inspect.isclass(public):
            found |= {f"{name}.{key}": value for key, value in vars(public).items()}
    return {name: each for name, each in found.items() if ">>>" in (each.__doc__ or "")}


@pytest.mark.parametrize("name", examples())
def test_examples_of_docstrings_do_what_they_show(name, folder):
    test = doctest.DocTestParser().get_doctest(examples()[name].__doc__, {}, name, None, None)
    run(test)


def test_examples_of_the_docs_do_what_they_show(folder):
    text = (REPOSITORY / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```pycon\n(.*?)^```$", text, re.M | re.S)
    examples = [block for block in blocks if ">>>" in block]
    assert len(examples) > 3
    test = doctest.DocTestParser().get_doctest("\n".join(examples), {}, "python.md", None, None)
    run(test)


def run(test):
    """Run the examples of one text; what they print must be what they show."""
    out = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=out.write)
    assert not runner.failures, out.getvalue()
    assert runner.tries


def test_every_public_function_and_method_has_an_example():
    functions = {
        name for name in dicomferry.__all__ if inspect.isfunction(getattr(dicomferry, name))
    }
    methods = {
        f"Store.{name}"
        for name, member in vars(dicomferry.Store).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert functions | methods <= set(examples())


# Import.


def test_importing_it_loads_no_other_package():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import dicomferry\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-c", code]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    loaded = {name.partition(".")[0] for name in names}
    assert loaded <= {"dicomferry"} | sys.stdlib_module_names


def test_all_public_names_are_there_and_completed():
    for name in dicomferry.__all__:
        assert getattr(dicomferry, name) is not None
    assert set(dir(dicomferry)) == set(dicomferry.__all__)
    with pytest.raises(AttributeError, match="no attribute 'import_filez'"):
        dicomferry.import_filez  # noqa: B018


def test_a_type_checker_sees_what_is_lazy(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import dicomferry\n"
        "store = dicomferry.create_store('trial')\n"
        "reveal_type(store.import_files('in', dry_run=True).ok)\n"
        "reveal_type(dicomferry.export_files(store, 'out').counts)\n"
        "store.import_files('in', dry_rum=True)\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(REPOSITORY / "pyproject.toml")]
    done = subprocess.run(
        [*command, str(script)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert 'Revealed type is "bool"' in done.stdout.replace("builtins.", "")
    assert 'Revealed type is "dict[str, int]"' in done.stdout.replace("builtins.", "")
    assert 'Unexpected keyword argument "dry_rum"' in done.stdout


# Flags.


@pytest.mark.parametrize(
    ("keywords", "request_", "group", "positional"),
    [
        (flags.ImportFlags, ImportRequest, "", {"source"}),
        (flags.ExportFilesFlags, ExportRequest, FILES, {"destination"}),
        (flags.ExportTableFlags, ExportRequest, TABLE, {"table"}),
    ],
)
def test_keyword_arguments_are_the_flags_of_the_command(keywords, request_, group, positional):
    of_command = {
        flag.name
        for flag in flags_of(request_)
        if flag.flag.in_commands and flag.flag.group in ("", group)
    }
    # A Python caller decides by the result, and a summary is one.
    expected = of_command - positional - {"store", "root", "max_failures", "summary_file"}
    assert set(typing.get_type_hints(keywords)) == expected | {"progress", "beam_args"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"on_conflict": "panic"}, "--on-conflict must be fail or ignore"),
        ({"workers": -1}, "--workers must be 0 or more"),
        ({"retry_failed": "20261124161502-3f9a12cd"}, "either a source or an operation"),
    ],
)
def test_wrong_values_are_refused_before_anything_starts(values, message, folder):
    store = dicomferry.create_store("trial")
    with pytest.raises(ValueError, match=message):
        store.import_files("dicom/**", **values)
    assert not (
        folder / "dicomferry-data/projects/local/locations/local/datasets/default/operations"
    ).exists()


def test_a_flag_that_there_is_not_is_refused(folder):
    store = dicomferry.create_store("trial")
    with pytest.raises(TypeError, match="dry_rum"):
        store.import_files("dicom/**", dry_rum=True)


# Results.


def test_failures_are_listed_and_raised_where_a_caller_wants_that(folder):
    result = dicomferry.create_store("trial").import_files(folder / "dicom" / "*", workers=0)
    assert not result.ok
    assert (result.total, result.counts) == (5, {"imported": 4, "failed": 1})
    assert result.size == sum(path.stat().st_size for path in (folder / "dicom").iterdir())
    [failure] = result.failures.to_pylist()
    assert failure["source"] == str(folder / "dicom" / "notes.txt")
    assert (failure["code"], failure["sopInstanceUid"]) == ("NOT_DICOM", None)
    with pytest.raises(dicomferry.JobError, match="1 of 5 files failed"):
        result.raise_for_failures()


def test_what_a_table_has_lost_is_not_ok(tmp_path):
    root = open_storage(str(tmp_path))
    record = start_operation(root, parse_store("s"), Method.IMPORT).read()
    record.set_counts(OutcomeCounts(imported=1), 1)
    record.finish()
    assert ImportResult.of(record, root).ok
    record.finish(DATA_LOSS, "not all can be sent")
    with pytest.raises(JobError, match="not all can be sent"):
        ImportResult.of(record, root).raise_for_failures()


def test_conflicts_are_failures_unless_they_are_ignored(folder):
    store = dicomferry.create_store("trial")
    for name, patient in (("a", "A"), ("b", "B")):
        Path(name).write_bytes(dicom_bytes(PatientName=patient))
    store.import_files("a", workers=0).raise_for_failures()
    conflict = store.import_files("b", workers=0)
    assert conflict.failures["outcome"].to_pylist() == ["conflict"]
    assert conflict.failures["other"].to_pylist() == [str(folder / "a")]
    ignored = store.import_files("b", workers=0, on_conflict="ignore")
    assert (ignored.ok, ignored.counts, len(ignored.failures)) == (True, {"conflict": 1}, 0)


def test_what_failed_is_read_again(folder):
    store = dicomferry.create_store("trial")
    first = store.import_files("dicom/**", workers=0)
    shutil.copy(PACKAGED / "test_files" / "JPEG2000.dcm", folder / "dicom" / "notes.txt")
    again = store.import_files(retry_failed=first.operation, workers=0)
    assert (again.total, again.counts) == (1, {"imported": 1})


def test_a_job_that_finds_nothing_raises(folder):
    with pytest.raises(dicomferry.JobError, match="nothing"):
        dicomferry.create_store("trial").import_files("dicom/*.jpg", workers=0)


def test_a_store_that_was_deleted_is_not_found(folder):
    with pytest.raises(dicomferry.StoreNotFoundError, match="trial does not exist"):
        dicomferry.open_store("trial")
    dicomferry.create_store("trial")
    with pytest.raises(dicomferry.StoreExistsError, match="exists already"):
        dicomferry.create_store("trial")


def test_damage_is_found(folder):
    store = dicomferry.create_store("trial")
    store.import_files("dicom/CT_small.dcm", workers=0)
    [blob] = folder.rglob("dicomferry-data/**/*.dcm")
    blob.write_bytes(blob.read_bytes()[:-1])
    [finding] = store.verify()
    assert finding.problem
    assert finding.sop_instance_uid == store.to_arrow(["SOPInstanceUID"])[0][0].as_py()


# Pipelines of a user's own.


def test_a_pipeline_that_fails_ends_its_operation_with_an_error(folder):
    store = dicomferry.create_store("trial")
    with pytest.raises(dicomferry.JobError, match="ZeroDivisionError"), store.import_pipeline():
        _ = 1 / 0
    [record] = folder.rglob("operation.json")
    operation = json.loads(record.read_bytes())
    assert operation["done"]
    assert operation["error"]["code"] == INTERNAL


def test_a_dry_run_in_an_own_pipeline_stores_nothing(folder):
    store = dicomferry.create_store("trial")
    with store.import_pipeline(dry_run=True) as run, beam.Pipeline("FnApiRunner") as pipeline:
        uris = pipeline | beam.Create(["dicom/**"])
        _ = uris | dicomferry.ListSources() | dicomferry.ImportInstances(run.job)
    assert run.result.counts == {"imported": 4, "failed": 1}
    assert store.metrics().instance_count == 0


# Progress.


def test_logs_have_no_progress_bar(capsys):
    with progress.progress_bar("import") as on_progress:
        assert on_progress is None
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.progress_bar("import") as on_progress:
        on_progress(ProgressCounts(read=3, failed=1, bytes=2_000_000), Total(4))
    shown = capsys.readouterr().err
    assert "3 of 4 files" in shown
    assert "1 failed" in shown
    with progress.progress_bar("import", is_shown=False) as on_progress:
        assert on_progress is None


def test_a_notebook_has_a_bar_that_needs_no_widgets(monkeypatch):
    shown = []
    output = SimpleNamespace(update=lambda data, raw: shown.append(data["text/html"]))
    display = SimpleNamespace(display=lambda *_, **__: output)
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with progress.progress_bar("import") as on_progress:
        on_progress(ProgressCounts(read=3, bytes=2_000_000), Total(4))
    assert shown[0].startswith('<progress value="3" max="4"></progress> import: 3 of 4 files, ')
