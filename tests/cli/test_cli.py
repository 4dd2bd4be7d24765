"""The command line as a user meets it: wrong requests first."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pydicom.data
import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from dicomferry.cli import import_export, operations, stores, tokens
from dicomferry.cli.lazy_commands import LazyCommand
from dicomferry.cli.main import app
from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from tests.factories import dicom_bytes

_PROGRAM = Path(sys.executable).with_name("dicomferry")


@pytest.fixture
def dicomferry(tmp_path):
    """Run the program on an empty root; return (exit code, standard output, standard error)."""

    def run(*arguments, **environment):
        env = {**os.environ, "DICOMFERRY_ROOT": str(tmp_path / "root"), "COLUMNS": "200"}
        done = subprocess.run(
            [str(_PROGRAM), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**env, **environment},
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        name = folder / f"{number}.dcm"
        name.write_bytes(dicom_bytes(sop=f"1.2.3.{number}", PatientName="SECRET^NAME"))
    return folder


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["import", "none", "/tmp/x"], "dicomferry stores create none"),
        (["stores", "describe", "none"], "dicomferry stores create none"),
        (["stores", "create", "a/b"], "use an id without '/'"),
        (["operations", "describe", "none"], "dicomferry operations list"),
        (["export", "files", "none", "s3://x"], "gs://bucket/prefix"),
        (["export", "files", "none", "out", "--mime-type", "image/gif"], "image/png"),
        (["export", "files", "none", "out", "--jpeg-quality", "0"], "1..100"),
        (["export", "table", "none", "mysql:x"], "duckdb:"),
        (["import", "none", "http://x/y"], "gs://"),
        (["stores", "create", "x", "--stream-to", "mysql:x"], "duckdb:"),
    ],
)
def test_a_wrong_request_is_refused_with_its_remedy(dicomferry, arguments, remedy):
    code, _, stderr = dicomferry(*arguments)
    assert code == 2
    assert remedy in stderr
    assert "Traceback" not in stderr


def test_a_bare_folder_and_an_expanded_pattern_get_the_hint_that_helps(dicomferry, files):
    dicomferry("stores", "create", "trial")
    code, _, stderr = dicomferry("import", "trial", files)
    assert code == 2
    assert f"{files}/**" in stderr
    code, _, stderr = dicomferry("import", "trial", *sorted(files.iterdir()))
    assert code == 2
    assert "quotes" in stderr
    assert dicomferry("operations", "list")[1].count("import") == 0


def test_from_files_to_a_store_and_back(dicomferry, files, tmp_path):
    assert dicomferry("stores", "create", "trial")[0] == 0
    code, stdout, _ = dicomferry("import", "trial", f"{files}/**")
    assert code == 0
    assert re.search(r"imported\W+3\b", stdout)
    assert "next: dicomferry export files trial ./out" in stdout
    assert re.search(r"outcome\W+files\b", stdout)
    code, stdout, _ = dicomferry("export", "files", "trial", "out")
    assert code == 0
    assert re.search(r"outcome\W+instances\b", stdout)
    exported = sorted(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm"))
    assert exported == sorted(path.read_bytes() for path in files.iterdir())
    metrics = json.loads(dicomferry("stores", "metrics", "trial", "--format", "json")[1])
    assert metrics["instanceCount"] == "3"
    assert dicomferry("stores", "verify", "trial")[1].strip() == "3 instances, 0 damaged"


def test_a_failed_file_costs_the_exit_code_and_is_explained(dicomferry, files):
    whole = dicom_bytes(sop="1.2.9", PatientName="SECRET^NAME")
    (files / "cut.dcm").write_bytes(whole[:-4])
    dicomferry("stores", "create", "trial")
    code, stdout, stderr = dicomferry("import", "trial", f"{files}/**")
    assert code == 1
    assert "1 × TRUNCATED" in stdout
    operation = re.search(r"--retry-failed (\S+)", stdout)[1]
    assert dicomferry("import", "trial", f"{files}/**", "--max-failures", "1")[0] == 0
    (files / "cut.dcm").write_bytes(whole)
    code, stdout, stderr2 = dicomferry("import", "trial", "--retry-failed", operation)
    assert code == 0
    assert re.search(r"imported\W+1\b", stdout)
    described = dicomferry("operations", "describe", operation)[1]
    assert "TRUNCATED" in described
    assert "SECRET" not in stdout + stderr + stderr2 + described


def test_damage_is_found(dicomferry, files, tmp_path):
    dicomferry("stores", "create", "trial")
    dicomferry("import", "trial", f"{files}/**")
    first, second, _ = sorted((tmp_path / "root").rglob("instances/**/*.dcm"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"!")
    code, stdout, stderr = dicomferry("stores", "verify", "trial")
    assert code == 1
    assert "3 instances, 2 damaged" in stdout
    assert "missing" in stderr
    assert "wrong checksum" in stderr


def test_a_deleted_store_is_gone(dicomferry):
    dicomferry("stores", "create", "trial")
    assert "trial" in dicomferry("stores", "list")[1]
    assert dicomferry("stores", "delete", "trial", "--yes")[0] == 0
    assert "trial" not in dicomferry("stores", "list")[1].replace("stores create", "")


def test_the_version_is_that_of_the_package(dicomferry):
    code, stdout, _ = dicomferry("--version")
    assert (code, stdout.strip()) == (0, f"dicomferry {metadata.version('dicomferry')}")


def test_help_shows_examples(dicomferry):
    for command in (["import"], ["export", "files"], ["export", "table"], ["stores", "create"]):
        code, stdout, _ = dicomferry(*command, "--help")
        assert code == 0
        assert "Example" in stdout


def test_a_preview_is_one_page_without_patient_data(dicomferry, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("CT_small.dcm", "rtplan.dcm", "examples_palette.dcm"):
        shutil.copy(Path(pydicom.data.__file__).parent / "test_files" / name, source)
    dicomferry("stores", "create", "trial")
    dicomferry("import", "trial", f"{source}/**")
    code, stdout, _ = dicomferry("preview", "trial", "-o", "page.html", "--limit", "2")
    assert (code, (tmp_path / "page.html").read_text().count("<figure>")) == (0, 2)
    assert "2 of 3 series are shown" in " ".join(stdout.split())
    assert dicomferry("preview", "trial", "-o", "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure>") == 3
    assert not re.search(r"\b0\.0 |\b1 frame\b|are shown", page)
    assert page.count("data:image/jpeg;base64,") == 2
    assert "has no pixel data" in page
    assert "CompressedSamples" not in page  # the patient's name in CT_small.dcm
    assert not re.search(r"(src|href)=['\"]?(http|/)", page)
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: the page was not looked at in a browser")
    shot = tmp_path / "page.png"
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    subprocess.run(
        [
            chromium,
            *flags,
            f"--user-data-dir={tmp_path / 'chromium'}",
            f"--screenshot={shot}",
            f"file://{tmp_path / 'page.html'}",
        ],
        timeout=60,
        capture_output=True,
        check=True,
    )
    from PIL import Image

    colors = Image.open(shot).convert("RGB").getcolors(maxcolors=1 << 24)
    assert len(colors) > 100  # pictures, not an error page


def test_the_formats_have_their_uids_whole_on_a_narrow_terminal(dicomferry):
    code, shown, _ = dicomferry("formats", COLUMNS="80")
    assert code == 0
    written = {f"transfer-syntax={uid}" for uid, syntax in SYNTAXES.items() if syntax.written}
    assert written | set(SYNTAXES) <= set(shown.split())


def test_the_help_of_a_group_says_what_its_commands_say():
    """The names and first sentences that help shows without importing a command are its own."""
    root = typer.main.get_command(app)
    groups = [group for group in root.commands.values() if isinstance(group, TyperGroup)]
    for group in (root, *groups):
        for command in group.commands.values():
            if isinstance(command, LazyCommand):
                assert command.load().help.partition("\n\n")[0] == command.help
    # A group lists each of its commands.
    for module, attribute in (
        (stores, "stores_app"),
        (import_export, "export_app"),
        (operations, "operations_app"),
        (tokens, "tokens_app"),
    ):
        real = typer.main.get_group(getattr(module, attribute))
        listed = root.commands[attribute.removesuffix("_app")]
        assert list(listed.commands) == list(real.commands)
        assert listed.help == real.help


@pytest.mark.parametrize("path", [[], ["stores"], ["import"], ["stores", "vacuum"]])
def test_help_shows_no_value_of_options_that_take_none(path):
    shown = CliRunner().invoke(app, [*path, "-h"]).output
    assert "--help" in shown
    assert "bool" not in shown


def test_help_and_completion_import_no_command():
    heavy = "'pydicom', 'pyarrow', 'apache_beam', 'deltalake'"
    code = (
        "import sys; from dicomferry.cli.main import app\n"
        "try: app(['stores', '--help'])\n"
        f"except SystemExit: print({{each.split('.')[0] for each in sys.modules}} & {{{heavy}}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_workers_of_a_job_start_before_its_command_imports_beam():
    code = "import dicomferry.cli.import_export, sys; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_beam_for_the_local_runner_is_imported_without_clients_of_google_cloud():
    code = (
        "import sys; from dicomferry.cli.import_export import _import_beam; _import_beam([])\n"
        "print([each for each in sys.modules if each.startswith('google.cloud.')])\n"
        "import google.cloud.storage, apache_beam.io.gcp.gcsfilesystem"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_a_bucket_without_credentials_is_refused_at_once(dicomferry, tmp_path):
    nobody = {"HOME": str(tmp_path), "NO_GCE_CHECK": "true", "STORAGE_EMULATOR_HOST": ""}
    nobody |= {"GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": ""}
    dicomferry("stores", "create", "trial")
    for command in (
        ("stores", "list", "--root", "gs://bucket/stores"),
        ("import", "trial", "gs://bucket/in/**"),
    ):
        code, _, stderr = dicomferry(*command, **nobody)
        assert code == 3
        assert "gcloud auth application-default login" in stderr
        assert stderr.count("\n") == 1
    assert dicomferry("operations", "list")[1].count("\n") == 1  # its head: none began
