"""The unit of systemd: its directives, its command and its flags are right."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dicomferry.cli.main import load_command
from tests.checkout import REPOSITORY

UNIT = REPOSITORY / "deploy/systemd/dicomferry.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
def test_systemd_takes_it(tmp_path):
    program = Path(sys.executable).with_name("dicomferry")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/dicomferry/bin/dicomferry", str(program)))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_flags_are_those_of_the_command():
    [line] = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    flags = [word for word in line.split() if word.startswith("--")]
    known = {name for parameter in load_command("serve").params for name in parameter.opts}
    assert flags and set(flags) <= known
