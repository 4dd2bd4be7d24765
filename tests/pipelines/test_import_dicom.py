"""What an import promises, by whole jobs on small files made for each promise."""

import os
import shutil
from pathlib import Path

import pytest

import dicomferry.transforms.ingest
from dicomferry.pipelines import import_dicom
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    check_accounts,
    check_blobs,
    data_folder,
    images,
    new_store,
    operation_folders,
    rows,
    run,
    run_export,
    run_import,
    tree,
    without_run,
    write_files,
)


@pytest.fixture
def store(root):
    """An empty store under the root."""
    new_store(root)
    return root


@pytest.fixture
def inbox(tmp_path):
    """An empty folder for sources."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def opened(monkeypatch):
    """The names of the sources that imports in this process have opened."""
    names = []
    open_source = dicomferry.transforms.ingest.open_source

    def opening(source, allowed_folders):
        names.append(os.path.basename(source.uri))
        return open_source(source, allowed_folders)

    monkeypatch.setattr(dicomferry.transforms.ingest, "open_source", opening)
    return names


# Refused before anything starts.


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--source=/in/**", "--retry-failed=20260101000000-00000000"],
        ["--source=/in/**/*.dcm"],
        ["--source=s3://bucket/**"],
        ["--source=/in/a.dcm", "/in/b.dcm"],
        ["--source=/in/**", "--max-failures=-1"],
        ["--source=/in/**", "--max-failures=many"],
        ["--source=/in/**", "--workers=-1"],
        ["--source=/in/**", "--on-conflict=overwrite"],
        ["--source=/in/**", "--store=a/b"],
        ["--source=/in/**", "--store=absent"],
        ["--source=/in/**", "--root=s3://bucket"],
        ["--retry-failed=20260101000000-00000000", "--store=absent"],
    ],
)
def test_a_wrong_request_ends_with_2_before_there_is_an_operation(store, flags):
    assert run(import_dicom.main, store, *flags).code == 2
    assert operation_folders(store) == []


def test_a_folder_is_refused_with_the_pattern_that_was_meant(store, inbox, capsys):
    assert run_import(store, inbox).code == 2
    assert f"did you mean '{inbox}/**'?" in capsys.readouterr().err
    assert operation_folders(store) == []


def test_what_a_shell_made_of_a_pattern_is_refused_with_the_pattern(store, inbox, capsys):
    expanded = [f"{inbox}/b.dcm", f"{inbox}/c.dcm"]
    assert run_import(store, f"{inbox}/a.dcm", *expanded).code == 2
    assert f"put it in quotes, as in '{inbox}/*.dcm'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"), [("root", "/stores"), ("source", "/in/**")], ids=["root", "source"]
)
def test_local_paths_are_refused_for_a_remote_runner(flag, value):
    paths = {"root": "gs://bucket/root", "source": "gs://bucket/in/**", flag: value}
    config, options = import_dicom.parse_args(
        [f"--store={STORE.id}", "--runner=FlinkRunner", *(f"--{k}={v}" for k, v in paths.items())]
    )
    with pytest.raises(ValueError, match=f"--{flag} .*cannot reach: use gs://bucket/prefix"):
        import_dicom.run(config, options)


# Nothing to import.


def test_a_source_that_matches_nothing_ends_with_2_and_a_hint(store, inbox, caplog):
    (inbox / "folder").mkdir()
    job = run_import(store, f"{inbox}/*")
    assert job.code == 2
    assert f"only folders: did you mean '{inbox}/**'?" in caplog.text
    assert job.operation["error"]["code"] == 5
    assert job.operation["error"]["message"] in caplog.text
    assert job.operation["done"]


def test_retrying_an_operation_that_is_not_there_is_refused(store, caplog):
    job = run(import_dicom.main, store, "--retry-failed=20260101000000-00000000")
    assert job.code == 2
    assert "20260101000000-00000000 does not exist" in caplog.text
    assert operation_folders(store) == []
    assert not list(Path(store.root).rglob("20260101000000-00000000"))


def test_retrying_an_operation_without_failures_says_so(store, inbox, caplog):
    done = run_import(store, write_files(inbox, images(1)))
    job = run(import_dicom.main, store, f"--retry-failed={done.folder.name}")
    assert job.code == 0
    assert job.operation["total"] == 0
    assert "error" not in job.operation


def test_retrying_what_was_no_import_into_this_store_is_refused(store, inbox, tmp_path, caplog):
    run_import(store, write_files(inbox, images(1)))
    export = run_export(store, tmp_path / "out")
    create_store(store, parse_store("other"))
    failing = run(import_dicom.main, store, f"--source={inbox}/**", "--store=other", "--workers=0")
    for folder in (export.folder, failing.folder):
        assert run(import_dicom.main, store, f"--retry-failed={folder.id}").folder is None
        assert f"{folder.name} is not an import into {STORE}" in caplog.text


def test_retrying_an_import_that_did_not_come_to_its_end_is_refused(store, inbox, caplog):
    broken = run_import(store, f"{inbox}/*")
    job = run(import_dicom.main, store, f"--retry-failed={broken.folder.id}")
    assert (job.code, job.folder) == (2, None)
    assert "import its source again" in caplog.text


# Files that fail alone.


def test_files_that_are_not_dicom_fail_alone_and_the_others_are_in(store, inbox):
    files = images(3) | {"notes.txt": b"x" * 500, "empty.dcm": b"", "short.dcm": dicom_bytes()[:-9]}
    job = run_import(store, write_files(inbox, files))
    assert job.code == 1
    assert job.of("notes.txt") == ("failed", "NOT_DICOM")
    assert job.of("empty.dcm") == ("failed", "EMPTY_FILE")
    assert job.of("short.dcm") == ("failed", "TRUNCATED")
    assert job.operation["error"]["message"].startswith("3 of 6 files failed")
    check_accounts(job, [str(inbox / name) for name in files])
    check_blobs(store)
    assert len(rows(store)) == 3


@pytest.mark.parametrize(("allowed", "code"), [(0, 1), (1, 1), (2, 0), (3, 0)])
def test_the_exit_code_is_0_up_to_max_failures(store, inbox, allowed, code):
    source = write_files(inbox, images(1) | {"a": b"", "b": b""})
    job = run_import(store, source, f"--max-failures={allowed}")
    assert job.code == code
    assert job.operation["error"]["message"].startswith("2 of 3 files failed")


def test_a_file_that_goes_or_changes_after_it_was_listed_fails_alone(store, inbox, monkeypatch):
    source = write_files(inbox, images(3))
    open_source = dicomferry.transforms.ingest.open_source

    def disturbed(listed, allowed_folders):
        if listed.uri.endswith("000.dcm"):
            os.unlink(listed.uri)
        if listed.uri.endswith("001.dcm"):
            Path(listed.uri).write_bytes(dicom_bytes(PatientID="another length"))
        return open_source(listed, allowed_folders)

    monkeypatch.setattr(dicomferry.transforms.ingest, "open_source", disturbed)
    job = run_import(store, source)
    assert job.of("000.dcm") == ("failed", "SOURCE_GONE")
    assert job.of("001.dcm") == ("failed", "SOURCE_CHANGED")
    assert job.of("002.dcm") == ("imported", "")
    monkeypatch.undo()
    assert run_import(store, source).kinds == {"imported": 1, "skipped": 1}


def test_names_of_all_kinds_neither_vanish_nor_stop_the_job(store, inbox):
    names = [
        b"img#1",
        b"new\nline.dcm",
        b"latin-\xe9\xff.dcm",
        "日本 🩻.dcm".encode(),
        b"[a]{b}\\*?.dcm",
        b" .dcm",
        b"%41.dcm",
        b"q\"'$(x).dcm",
        b"deep/" + b"n" * 255,
    ]
    files = {n: dicom_bytes(sop=f"1.2.1.1.{i}") for i, n in enumerate(names)}
    source = write_files(inbox, files | {b"bad-\xff.txt": b"not DICOM"})
    (inbox / "dangling").symlink_to("nowhere")
    (inbox / "circle").symlink_to("circle")
    (inbox / "loop").symlink_to(inbox, target_is_directory=True)
    (inbox / "link").symlink_to("img#1")
    os.mkfifo(inbox / "pipe")
    job = run_import(store, source)
    assert job.kinds == {"imported": len(names), "duplicate": 1, "failed": 4, "skipped": 1}
    assert job.of("/dangling") == job.of("/circle") == ("failed", "DANGLING_LINK")
    assert job.of("/loop") == ("skipped", "LINK_LOOP")
    assert job.of("/link") == ("duplicate", "")
    assert job.of("/pipe") == ("failed", "NOT_A_FILE")
    assert job.of("bad-%FF.txt") == ("failed", "NOT_DICOM")
    assert job.of("latin-%E9%FF.dcm") == ("imported", "")
    assert {row["Sha256"] for row in rows(store).values()} == {
        tree(data_folder(store).root)[row["BlobUri"]] for row in rows(store).values()
    }
    again = run_import(store, source)
    assert again.kinds == {"skipped": len(names) + 2, "failed": 4}
    retried = run(import_dicom.main, store, f"--retry-failed={again.folder.id}")
    assert {s: o["code"] for s, o in retried.outcomes.items()} == {
        s: o["code"] for s, o in again.outcomes.items() if o["outcome"] == "failed"
    }


# Duplicates and conflicts.


def test_of_copies_the_lowest_uri_is_kept_and_the_others_are_a_success(store, inbox):
    content = dicom_bytes()
    job = run_import(store, write_files(inbox, {"c": content, "a": content, "b/x": content}))
    assert job.code == 0
    assert {s.removeprefix(f"{inbox}/"): o["outcome"] for s, o in job.outcomes.items()} == {
        "a": "imported",
        "b/x": "duplicate",
        "c": "duplicate",
    }
    assert job.outcomes[f"{inbox}/c"]["other"] == f"{inbox}/a"
    assert [row["SourceUri"] for row in rows(store).values()] == [f"{inbox}/a"]


CONFLICTING = {
    "other bytes": dicom_bytes(pixels=b"\1" * 32),
    "another study": dicom_bytes(study="1.2.9"),
    "another series": dicom_bytes(series="1.2.1.9"),
}


@pytest.mark.parametrize("kind", CONFLICTING)
@pytest.mark.parametrize(("choice", "code"), [("fail", 1), ("ignore", 0)])
@pytest.mark.parametrize("earlier", [True, False], ids=["stored", "same-job"])
def test_a_conflict_is_listed_and_never_stored(store, inbox, kind, choice, code, earlier):
    files = {"a": dicom_bytes(), "b": CONFLICTING[kind]}
    source = write_files(inbox, files)
    if earlier:
        run_import(store, f"{inbox}/a")
    job = run_import(store, source, f"--on-conflict={choice}")
    assert job.code == code
    assert job.of("/b") == ("conflict", "ALREADY_EXISTS")
    assert job.outcomes[f"{inbox}/b"]["other"] == f"{inbox}/a"
    assert ("error" in job.operation) == (choice == "fail")
    assert int(job.operation["metadata"]["counter"]["failure"]) == code
    check_accounts(job, [f"{inbox}/a", f"{inbox}/b"])
    assert [row["SourceUri"] for row in rows(store).values()] == [f"{inbox}/a"]


def test_a_conflict_is_reported_by_each_import(store, inbox, opened):
    source = write_files(inbox, {"a": dicom_bytes(), "b": CONFLICTING["other bytes"]})
    run_import(store, source)
    assert run_import(store, source).kinds == {"skipped": 1, "conflict": 1}
    assert opened == ["a", "b", "b"]


# Imports after the first.


def test_another_import_opens_no_file_that_is_known_and_says_so(store, inbox, opened):
    content = images(5)
    source = write_files(inbox, content | {"copy.dcm": content["000.dcm"]})
    run_import(store, source)
    assert len(opened) == 6
    opened.clear()
    write_files(inbox, {"new.dcm": dicom_bytes(sop="1.2.1.1.99")})
    job = run_import(store, source)
    assert opened == ["new.dcm"]
    assert job.kinds == {"skipped": 6, "imported": 1}
    assert job.of("copy.dcm") == ("skipped", "ALREADY_IMPORTED")
    assert job.operation["counts"]["already_imported"] == 6
    assert job.code == 0


@pytest.mark.parametrize("how", ["longer", "same length", "replaced, same mtime"])
def test_a_file_that_changed_in_place_is_read_again(store, inbox, opened, how):
    source = write_files(inbox, images(2))
    run_import(store, source)
    opened.clear()
    changed = inbox / "001.dcm"
    stamp = changed.stat()
    elements = {"PatientID": "longer"} if how == "longer" else {}
    content = dicom_bytes(sop="1.2.1.1.9", **elements)
    if how == "replaced, same mtime":
        (inbox / "beside").write_bytes(content)
        os.utime(inbox / "beside", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        (inbox / "beside").replace(changed)
    else:
        changed.write_bytes(content)
        # Coarse clocks give two writes in a row the same time.
        os.utime(changed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000))
    job = run_import(store, source)
    assert opened == ["001.dcm"]
    assert job.kinds == {"skipped": 1, "imported": 1}
    assert rows(store).keys() == {"1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.9"}
    assert data_folder(store).read(rows(store)["1.2.1.1.9"]["BlobUri"]) == content


def test_the_same_bytes_at_another_place_are_a_duplicate(store, inbox):
    run_import(store, write_files(inbox / "a", images(2)))
    shutil.copytree(inbox / "a", inbox / "b")
    before = tree(data_folder(store).subfolder("instances").root)
    job = run_import(store, f"{inbox}/b/**")
    assert job.kinds == {"duplicate": 2}
    assert job.outcomes[f"{inbox}/b/000.dcm"]["other"] == f"{inbox}/a/000.dcm"
    assert tree(data_folder(store).subfolder("instances").root) == before


def test_what_failed_can_be_retried_alone_when_it_is_repaired(store, inbox, opened):
    conflict = {"c": dicom_bytes(sop="1.2.1.1.1", pixels=b"\1" * 32)}
    source = write_files(inbox, images(3) | {"broken": b"", "stays": b""} | conflict)
    first = run_import(store, source)
    opened.clear()
    write_files(inbox, {"broken": dicom_bytes(sop="1.2.1.1.7")})
    job = run(import_dicom.main, store, "--workers=0", f"--retry-failed={first.folder.id}")
    assert sorted(opened) == ["broken", "c", "stays"]
    assert job.code == 1
    assert job.of("broken") == ("imported", "")
    assert job.of("stays") == ("failed", "EMPTY_FILE")
    assert job.of("/c") == ("conflict", "ALREADY_EXISTS")
    assert rows(store).keys() == {"1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3", "1.2.1.1.7"}
    (inbox / "stays").unlink()
    gone = run(import_dicom.main, store, "--workers=0", f"--retry-failed={job.folder.id}")
    assert gone.of("stays") == ("failed", "SOURCE_GONE")
    assert gone.operation["total"] == 2


def test_a_dry_run_says_what_would_be_and_changes_nothing(store, inbox):
    content = images(3)
    files = content | {"bad": b"", "copy.dcm": content["000.dcm"]}
    source = write_files(inbox, files)
    before = tree(data_folder(store).root)
    job = run_import(store, source, "--dry-run")
    assert job.code == 1
    assert tree(data_folder(store).root) == before
    done = run_import(store, source)
    assert job.outcomes == done.outcomes
    assert job.operation["counts"] == done.operation["counts"]
    before = tree(data_folder(store).root)
    again = run_import(store, source, "--dry-run")
    assert again.kinds == {"skipped": 4, "failed": 1}
    assert tree(data_folder(store).root) == before


# Parts, runners and workers change nothing.


def mixed_files():
    """Instances, copies of some, conflicts with some, and broken files, far apart by name."""
    content = images(12)
    content["m.dcm"] = content["001.dcm"]
    content["n.dcm"] = dicom_bytes(sop="1.2.1.1.3", pixels=b"\1" * 32)
    content["o.dcm"] = dicom_bytes(sop="1.2.1.1.3", pixels=b"\1" * 32)
    content["p.dcm"] = b"broken"
    return content


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(source, outcomes, rows) of the mixed files in one part."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    root = open_storage(str(scratch / "root"))
    new_store(root)
    source = write_files(scratch / "in", mixed_files())
    job = run_import(root, source)
    assert job.kinds == {"imported": 12, "duplicate": 1, "conflict": 2, "failed": 1}
    return source, job.outcomes, without_run(root)


def test_any_number_of_parts_gives_the_same(store, undisturbed, monkeypatch):
    source, outcomes, expected = undisturbed
    monkeypatch.setattr(import_dicom, "PART_FILES", 3)
    job = run_import(store, source)
    assert job.outcomes == outcomes
    assert without_run(store) == expected
    assert len([e for e in job.folder.storage.list() if e.path.startswith("counts-")]) == 6


def test_worker_processes_give_the_same(store, undisturbed):
    source, outcomes, expected = undisturbed
    assert run_import(store, source, workers=2).outcomes == outcomes
    assert without_run(store) == expected


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=DirectRunner"],
        ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
    ],
    ids=["DirectRunner", "threads"],
)
def test_another_runner_gives_the_same(store, undisturbed, flags):
    source, outcomes, expected = undisturbed
    assert run_import(store, source, *flags).outcomes == outcomes
    assert without_run(store) == expected


def test_the_graph_of_distributed_runners_gives_the_same(store, undisturbed, monkeypatch):
    source, outcomes, expected = undisturbed
    monkeypatch.setattr(import_dicom, "is_remote", lambda options: True)
    job = run_import(store, source)
    assert job.outcomes == outcomes
    assert job.code == 1
    assert without_run(store) == expected
    retried = run(import_dicom.main, store, "--workers=0", f"--retry-failed={job.folder.id}")
    assert retried.outcomes == {
        s: o for s, o in outcomes.items() if o["outcome"] in ("failed", "conflict")
    }
    empty = run_import(store, source.replace("**", "*.none"))
    assert (empty.code, empty.operation["error"]["code"]) == (2, 5)
