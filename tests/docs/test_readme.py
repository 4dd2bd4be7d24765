"""The README is short, and its quickstart does what it shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom.data
import pytest

from tests.docs.pages import REPOSITORY, Block, command_lines

README = REPOSITORY / "README.md"
_FILES = ("CT_small", "MR_small", "JPEG2000", "examples_ybr_color", "rtplan", "MR_truncated")


def block(before: str, number: int = 0) -> str:
    """A code block of the README by the heading that it follows."""
    section = README.read_text().partition(f"# {before}\n")[2]
    return re.findall(r"^```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[number]


def test_it_is_short():
    assert len(README.read_text().split()) < 1200


def test_two_commands_set_everything_up():
    assert [words[:2] for words in command_lines(block("Install")) if words] == [
        ["make", "demo"],
        ["make", "test"],
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the quickstart: five instances, a copy of one, and a truncated file."""
    packaged = Path(pydicom.data.__file__).parent / "test_files"
    folder = tmp_path_factory.mktemp("quickstart")
    incoming = folder / "incoming"
    incoming.mkdir()
    for name in _FILES:
        shutil.copy(packaged / f"{name}.dcm", incoming)
    shutil.copy(packaged / "CT_small.dcm", incoming / "copy_of_CT.dcm")
    return folder


def run(words: list[str], folder: Path) -> tuple[int, str]:
    """Run a command of the README, with its folder of data in place of /data."""
    words = [word.replace("/data/", f"{folder}/") for word in words]
    assert words[0] == "dicomferry"
    program = [sys.executable, "-c", "from dicomferry.cli.main import main; main()", *words[1:]]
    done = subprocess.run(
        program,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
    )
    return done.returncode, (done.stdout + done.stderr).replace(str(folder), "/data")


@pytest.mark.slow
def test_its_commands_and_programs_print_what_it_shows(folder, monkeypatch):
    create, imports = (words for words in command_lines(block("A folder")) if words)
    assert run(create, folder)[0] == 0
    code, printed = run(imports, folder)
    assert code == 1
    # Operations have names of their own.
    without_id = re.compile(r"\d{14}-[0-9a-f]{8}")
    shown = without_id.sub("ID", block("A folder", 1))
    assert shown in without_id.sub("ID", printed)
    codes = [run(words, folder)[0] for words in command_lines(block("Export")) if words]
    assert codes == [0, 1, 0, 1, 0]  # the RT Plan has no pixel data
    monkeypatch.chdir(folder)
    query = Block(README, "python", block("Query"))
    done = subprocess.run(
        [sys.executable, "-c", query.text], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == block("Query", 1).strip()
    script = block("From Python").replace("/data/", f"{folder}/")
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert f"this prints `{done.stdout.strip()}`" in README.read_text()
