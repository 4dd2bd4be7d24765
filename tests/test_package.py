"""One package is installed, and modules of a user's own do not shadow its imports."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import dicomferry
from tests.checkout import REPOSITORY, copy_checkout
from tests.factories import dicom_bytes

# Top-level names that were dicomferry's once, and those of its folders at the top.
GENERIC = ["headers", "pipelines", "service", "stores", "tables", "transcode", "transforms"]
BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # setuptools changes sys.argv
sdist = build_meta.build_sdist(out)
wheel = build_meta.build_wheel(out)
print(sdist, wheel, sep="\\n")
"""


def build(source, out):
    """Build an sdist and a wheel in a folder with setup.py; nothing is downloaded."""
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sdist, wheel = done.stdout.splitlines()[-2:]
    return out / sdist, out / wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist and the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("built")
    return build(copy_checkout(tmp_path_factory.mktemp("checkout")), folder)


@pytest.fixture(scope="module")
def wheel(built):
    """The wheel of this checkout."""
    return built[1]


@pytest.fixture(scope="module")
def wheel_of_sdist(built, tmp_path_factory):
    """The wheel that the sdist makes: what `--setup_file` installs on a worker."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(built[0]) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    return build(source, tmp_path_factory.mktemp("rebuilt"))[1]


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder of site-packages that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def names(wheel):
    """The files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def tree():
    """The files below dicomferry/ that are not compiled, behind its links too."""
    return {
        os.path.relpath(os.path.join(folder, name), REPOSITORY)
        for folder, _, files in os.walk(REPOSITORY / "dicomferry", followlinks=True)
        for name in files
        if not name.endswith((".pyc", ".so"))
    }


def test_the_wheel_installs_dicomferry_and_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert tops == {"dicomferry", f"dicomferry-{dicomferry.__version__}.dist-info"}


def test_the_wheel_holds_every_file_of_the_package(wheel):
    packaged = {name for name in names(wheel) if name.startswith("dicomferry/")}
    source_only = {name for name in tree() if name.endswith(".c")}
    compiled = {name for name in packaged if name.endswith((".so", ".pyd"))}
    assert packaged - compiled == tree() - source_only
    assert {"dicomferry/py.typed", "dicomferry/pipelines/import_dicom.py"} <= packaged
    assert {"dicomferry/transforms/ingest.py", "dicomferry/console/static/style.css"} <= packaged
    assert "dicomferry/api/proto/dicom_service.proto" in packaged
    assert "dicomferry/api/proto/dataset_service.proto" in packaged


def test_the_sdist_makes_the_same_wheel(wheel, wheel_of_sdist):
    assert names(wheel_of_sdist) == names(wheel)


def test_the_version_has_one_place(wheel):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert metadata.version("dicomferry") == dicomferry.__version__
    assert wheel.name.startswith(f"dicomferry-{dicomferry.__version__}-")


# A user's own folder.

CLI = "from dicomferry.cli.main import main; main()"


@pytest.fixture
def users_folder(tmp_path):
    """A working folder with DICOM files, and modules of the user's own that say so if imported."""
    for name in GENERIC:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('user code: {name}')\n")
    (tmp_path / "records.py").write_text("raise SystemExit('user code: records')\n")
    (tmp_path / "in").mkdir()
    for number in range(3):
        content = dicom_bytes(sop=f"1.2.1.1.{number + 1}")
        (tmp_path / "in" / f"{number}.dcm").write_bytes(content)
    return tmp_path


def run(folder, site, *arguments):
    """Run Python in a folder, with what is installed in `site`."""
    environment = {**os.environ, "PYTHONPATH": str(site), "DICOMFERRY_ROOT": str(folder / "root")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_modules_of_the_users_own_change_nothing_for_an_import(users_folder, site):
    run(users_folder, site, "-c", CLI, "stores", "create", "trial")
    pipeline = "dicomferry.pipelines.import_dicom"
    assert "--source" in run(users_folder, site, "-m", pipeline, "--help")
    flags = ["--store=trial", f"--source={users_folder}/in/**", "--workers=2"]
    run(users_folder, site, "-m", pipeline, *flags)
    metrics = run(users_folder, site, "-c", CLI, "stores", "metrics", "trial")
    assert "3" in metrics


LOADED = """
import runpy, sys
module, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as exit:
    assert not exit.code, exit.code
import dicomferry
print(dicomferry.__file__)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_after_an_import_no_module_of_a_generic_name_is_loaded(site, tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom_bytes())
    run(tmp_path, site, "-c", CLI, "stores", "create", "trial")
    flags = ["--store=trial", f"--source={tmp_path}/a.dcm", "--workers=0"]
    shown = run(tmp_path, site, "-c", LOADED, "dicomferry.pipelines.import_dicom", *flags)
    file, loaded = shown.splitlines()[-2:]
    assert Path(file).is_relative_to(site)
    assert {"apache_beam", "deltalake", "dicomferry"} <= set(loaded.split())
    assert not set(loaded.split()) & set(GENERIC)


# A checkout.


@pytest.mark.parametrize("pipeline", ["import_dicom", "export_dicom"])
def test_pipelines_run_by_their_short_names_in_a_checkout(pipeline, tmp_path):
    folder = copy_checkout(tmp_path)
    shown = run(folder, "", "-m", f"pipelines.{pipeline}", "--help")
    assert "--store" in shown


@pytest.mark.parametrize(
    "line",
    [
        "import transforms.ingest",
        "from transforms.ingest import read_header",
        "from pipelines import import_dicom",
        "import pipelines",
    ],
)
def test_the_linter_refuses_imports_of_the_folders_at_the_top(line):
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "-"]
    where = ["--stdin-filename", "dicomferry/cli/main.py"]
    done = subprocess.run(
        [*command, *where],
        input=f'"""A module."""\n\n{line}\n',
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TID251" in done.stdout
