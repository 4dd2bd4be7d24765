"""Good files of the worst names: nothing is lost, nothing is taken for something else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    exported,
    new_store,
    rows,
    run_export,
    run_import,
    tree,
    write_files,
)

REPOSITORY = Path(__file__).parents[2]
NAMES = [
    "a\nb",
    "a\r\nerror: b",
    "\x1b[31mred",
    "\x9b31m",
    "\x01\x7f",
    "\udcff\udcfe",
    "x" * 255,
    "é" * 127,
    "e\u0301",
    "--root=elsewhere",
    "-rf",
    "-",
    " ",
    "a ",
    "%2e%2e%2fetc%00",
    "%zz%",
    "*?[a]**",
    "[/red][bold]",
    ":warning:",
    "a#1?generation=2",
    "\\..\\..",
    "'\"`$(id)`;&|",
    "{0}{name}%s%(x)s",
    "\u202egpj.dcm",
    "\u2028",
    "\ufeff",
    "file:",
    "gs:",
    "\U0001f4a9",
    "...",
    "~",
    "x.dcm.partial",
]


def dicomferry(root, cwd, *arguments):
    """Run the program in a folder."""
    return subprocess.run(
        [sys.executable, "-c", "from dicomferry.cli.main import main; main()", *arguments],
        check=False,
        cwd=cwd,
        env=os.environ | {"DICOMFERRY_ROOT": root.root, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=100,
    )


@pytest.mark.timeout(200)
def test_files_of_any_name_are_taken_in_once_and_come_out_again(root, tmp_path):
    new_store(root)
    files = {name: dicom_bytes(sop=f"1.2.1.1.{n}") for n, name in enumerate(NAMES)}
    files |= {f"{name}/in": content for name, content in files.items() if name != "..."}
    files = {f"deep/{name}": content for name, content in files.items() if name.endswith("/in")} | {
        f"flat/{name}": content for name, content in files.items() if not name.endswith("/in")
    }
    job = run_import(root, write_files(tmp_path / "in", files))
    assert job.kinds == {"imported": len(NAMES), "duplicate": len(NAMES) - 1}
    assert set(rows(root)) == {f"1.2.1.1.{n}" for n in range(len(NAMES))}
    assert run_import(root, f"{tmp_path}/in/**").kinds == {"skipped": 2 * len(NAMES) - 1}
    assert run_export(root, tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == exported(root)
    done = dicomferry(root, tmp_path, "stores", "verify", STORE.id)
    assert done.stdout.strip() == f"{len(NAMES)} instances, 0 damaged"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["[/x]", "a\nb", "--x", "\x1b[31m", "\udcff", "%2e%2e", "$(id)"])
def test_what_is_written_has_the_name_that_was_asked_for(root, tmp_path, name):
    new_store(root)
    run_import(root, write_files(tmp_path / "in", {"a.dcm": dicom_bytes()}))
    commands = {
        "files": ("export", "files", STORE.id, f"./{name}-files"),
        "table": ("export", "table", STORE.id, f"duckdb:./{name}-table#s.t"),
        "delta": ("export", "table", STORE.id, f"delta:./{name}-delta"),
        "page": ("preview", STORE.id, "-o", f"./{name}-page"),
    }
    for kind, command in commands.items():
        before = set(os.listdir(os.fsencode(tmp_path)))
        done = dicomferry(root, tmp_path, *command)
        made = set(os.listdir(os.fsencode(tmp_path))) - before
        told = done.stdout + done.stderr
        assert "Traceback" not in told
        assert not {"\x1b", "\udcff"} & set(told)
        if done.returncode:
            assert done.returncode == 2, told
            assert not made, told
        else:
            asked = os.fsencode(f"{name}-{kind}")
            assert made <= {asked.partition(b"/")[0]}, told
            assert os.path.exists(os.path.join(os.fsencode(tmp_path), asked)), told
