"""`make demo`: import real DICOM files into a store, export them again, show the results."""

import shlex
import subprocess
import sys
from pathlib import Path

import pydicom.data

_FOLDER = Path("demo")


def main() -> int:
    """Run the first commands of a user, one after the other, and show each."""
    packaged = Path(pydicom.data.__file__).parent / "test_files"
    source = sys.argv[1] if len(sys.argv) > 1 else f"{packaged}/**"
    root = f"--root={_FOLDER}"
    if not (_FOLDER / "projects").exists():
        _run("stores", "create", "demo", root)
    # Some of pydicom's files are broken on purpose: each fails on its own, with a reason.
    imported = _run("import", "demo", source, root, "--max-failures=1000000")
    exported = imported or _run("export", "files", "demo", str(_FOLDER / "out"), root)
    _run("stores", "metrics", "demo", root)
    if exported:
        return exported
    print(f"\nThe store is in {_FOLDER}/projects, the exported files are in {_FOLDER}/out.")
    print("Next, with your own files:     make demo SOURCE='/data/**.dcm'")
    print(f"or by hand:                    source .venv/bin/activate; dicomferry --help   ({root})")
    return 0


def _run(*arguments: str) -> int:
    print(f"\n$ dicomferry {shlex.join(arguments)}", flush=True)
    command = [str(Path(sys.executable).with_name("dicomferry")), *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
