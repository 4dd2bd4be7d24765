"""Disks that are full and folders that may not be written end a job clearly, and nothing half."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.verification import verify
from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    exported,
    images,
    new_store,
    operation_folders,
    rows,
    run_export,
    run_import,
    tree,
    without_run,
    write_files,
)
from tests.sources.test_local import as_nobody, fresh_folder

REPOSITORY = Path(__file__).parents[2]
# Names that do not shrink: the Parquet file of their rows is larger than the bound below.
FILES = {
    name: dicom_bytes(sop=f"1.2.1.1.{n}", ImageComments=os.urandom(1000).hex())
    for n, name in enumerate(images(60))
}
LARGE = dicom_bytes(sop="1.2.1.1.99", pixels=b"\2" * (9 << 20))


@pytest.fixture
def source(tmp_path):
    return write_files(tmp_path / "in", FILES)


def run_limited(limit, module, root, flag):
    """Run a pipeline none of whose files may grow beyond `limit` bytes; its exit code and errors.

    To a program it is what a full disk is: a write that fails, in whatever library it is made.
    """
    program = (
        "import resource, sys; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        f"from dicomferry.pipelines import {module}; "
        f"sys.exit({module}.main(sys.argv[1:]))"
    )
    flags = [f"--store={STORE.id}", f"--root={root.root}", "--workers=0", flag]
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        check=False,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stderr


def error_of(root):
    """The newest operation's error."""
    operation = json.loads(operation_folders(root)[0].storage.read("operation.json"))
    assert operation["done"]
    return operation["error"]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("large", [False, True])
def test_a_write_that_the_disk_refuses_ends_an_import_and_another_goes_on(root, source, large):
    new_store(root)
    if large:
        write_files(source.removesuffix("**"), {"large.dcm": LARGE})
    code, stderr = run_limited(20_000, "import_dicom", root, f"--source={source}")
    assert code == 3
    assert "storage failed" in stderr
    assert error_of(root)["code"] == 14
    assert rows(root) == {}
    assert not [path for path in Path(root.root).rglob("*.dcm") if path.stat().st_size >= 20_000]
    job = run_import(root, source)
    assert job.kinds == {"imported": len(FILES) + large}
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))


@pytest.mark.timeout(150)
def test_a_write_that_the_disk_refuses_ends_an_export_and_leaves_no_half_file(root, tmp_path):
    new_store(root)
    files = images(5) | {"large.dcm": LARGE}
    run_import(root, write_files(tmp_path / "in", files))
    code, stderr = run_limited(20_000, "export_dicom", root, f"--destination={tmp_path}/out")
    assert code == 3
    assert "storage failed" in stderr
    assert error_of(root)["code"] == 14
    assert set(tree(tmp_path / "out").items()) <= set(exported(root).items())
    assert run_export(root, tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == exported(root)


def mounts():
    """The command that runs another one where it may mount a file system of its own."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare: no file system to fill")
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system gives no user a mount of their own: no file system to fill")
    return command


@pytest.mark.timeout(150)
def test_a_file_system_that_is_full_ends_an_import_clearly(tmp_path, source):
    script = 'mount -t tmpfs -o size=200k none "$1" && shift && exec "$@"'  # less than the sources
    small = str(tmp_path / "small")
    os.mkdir(small)
    program = (
        "import sys; from pathlib import Path; from dicomferry.pipelines import import_dicom\n"
        "from tests.pipelines.jobs import new_store, operation_folders, rows\n"
        "from dicomferry.storage.registry import open_storage\n"
        "root = open_storage(sys.argv[1]); new_store(root)\n"
        "flags = ['--store=trial', f'--root={root.root}', f'--source={sys.argv[2]}']\n"
        "code = import_dicom.main([*flags, '--workers=0'])\n"
        "halves = [p for p in Path(root.root).rglob('*.dcm') if p.stat().st_size < 2000]\n"
        "print(code, len(rows(root)), len(halves))"
    )
    interpreted = [sys.executable, "-c", program]
    done = subprocess.run(
        [*mounts(), "sh", "-c", script, "sh", small, *interpreted, f"{small}/root", source],
        check=False,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.split() == ["3", "0", "0"], done.stderr
    assert "storage failed" in done.stderr
    assert "No space left" in done.stderr


def test_a_store_that_may_not_be_written_is_said_so_and_stays_as_it_is(source):
    with fresh_folder() as folder:
        root = open_storage(f"{folder}/root")
        new_store(root)
        run_import(root, source)
        before = without_run(root)
        for path in Path(root.root).rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        Path(root.root).chmod(0o555)
        copied = write_files(f"{folder}/in", {"new.dcm": dicom_bytes(sop="1.2.77")})
        with as_nobody():
            code = run_quietly("import_dicom", root, f"--source={copied}")
        assert code == 3
        assert without_run(root) == before


def run_quietly(module, root, flag):
    from importlib import import_module

    main = import_module(f"pipelines.{module}").main
    return main([f"--store={STORE.id}", f"--root={root.root}", "--workers=0", flag])


def test_a_destination_that_may_not_be_written_ends_an_export(source, caplog):
    with fresh_folder() as folder:
        root = open_storage(f"{folder}/root")
        new_store(root)
        run_import(root, source)
        os.mkdir(f"{folder}/out")
        os.chmod(f"{folder}/out", 0o555)
        # Operations are recorded below the root, which stays writable.
        for path in [Path(root.root), *Path(root.root).rglob("*")]:
            path.chmod(0o777)
        with as_nobody():
            code = run_quietly("export_dicom", root, f"--destination={folder}/out")
        assert code == 3
        assert "storage failed" in caplog.text
        assert "Permission denied" in caplog.text
        assert os.listdir(f"{folder}/out") == []
