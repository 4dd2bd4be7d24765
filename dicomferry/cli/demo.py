"""`dicomferry demo`: the first commands of a user, one after the other."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pydicom.data
import typer

_FOLDER = Path("demo")
_PROGRAM = (sys.executable, "-c", "from dicomferry.cli.main import main; main()")


def demo(
    source: Annotated[
        str,
        typer.Argument(
            help="Files, as for `dicomferry import`; default: the test files of pydicom."
        ),
    ] = "",
) -> None:
    """Import real DICOM files into a store, export them again, and show the results.

    Everything is written into the folder demo/.

    Examples:
    [bold]dicomferry demo[/bold]
    [bold]dicomferry demo '/data/**.dcm'[/bold]
    """
    packaged = Path(pydicom.data.__file__).parent / "test_files"
    root = f"--root={_FOLDER}"
    if not (_FOLDER / "projects").exists():
        _run("stores", "create", "demo", root)
    # Some of pydicom's files are broken on purpose: each fails on its own, with a reason.
    imported = _run("import", "demo", source or f"{packaged}/**", root, "--max-failures=1000000")
    exported = imported or _run("export", "files", "demo", str(_FOLDER / "out"), root)
    _run("stores", "metrics", "demo", root)
    if exported:
        raise typer.Exit(exported)
    print(f"\nThe store is in {_FOLDER}/projects, the exported files are in {_FOLDER}/out.")
    print("Next, with your own files:     dicomferry demo '/data/**.dcm'")
    print(f"or by hand:                    dicomferry --help   ({root})")


def _run(*arguments: str) -> int:
    print(f"\n$ dicomferry {shlex.join(arguments)}", flush=True)
    return subprocess.run([*_PROGRAM, *arguments], check=False).returncode
